"""One Transformer that sees a clip at several rates: the WMS-Trans block of MFST, Sec. 2.3.4.2 and Fig. 2.5.

What was ambiguous, and how it was settled:
- "We reshape the multi-scale spatial features into various temporal dimensions", T, T / 2 and T / 4 with one width.
  Here a coarser sequence is the mean of each two or four neighbouring frames, so that no frame is lost.
- How the scales come together again is not said. Here each frame of a coarser sequence is repeated until there are T
  again, and the scales are averaged: a next stage can follow, and the size of the numbers does not grow with the number
  of scales.
- Positions (Eq. 2.9 and 2.10) are counted in each sequence anew, 0, 1, 2, ...
- The encoder has no normalisation behind its last layer.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor
from keras_actrec.layers.position import SinusoidalPosition
from keras_actrec.layers.self_attention import SelfAttention
from keras_actrec.layers.transformer_block import TransformerBlock

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class MultiScaleTemporalEncoder(keras.layers.Layer):
    """Encodes a sequence at several rates with the same weights: (B, T, D) -> (B, T, D).

        y = 1/S sum_s repeat_s(Transformer(mean_s(x) + PE))

    with mean_s over each s neighbouring frames, (B, T, D) -> (B, T/s, D). With `scales=(1,)` it is an ordinary encoder
    with sinusoidal positions.

    Sub-layers: `block1`, `block2`, ... (pre-norm), or, where weights are not shared, `scale1_block1` and so on.

    Args:
        depth: number of Transformer layers L.
        num_heads: attention heads of each.
        dense_dim: width of their feed-forward networks.
        head_dim: width of a head; None: D / num_heads.
        scales: by what the length is divided; each must divide T.
        shared: whether all scales go through the same weights.
        dropout: of each layer.
        rematerialize: of each layer, see `TransformerBlock`.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: a number is out of range, or T is no multiple of a scale.
    """

    def __init__(
        self,
        depth: int,
        num_heads: int,
        dense_dim: int,
        head_dim: int | None = None,
        scales: tuple[int, ...] = (1, 2, 4),
        shared: bool = True,
        dropout: float = 0.0,
        rematerialize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if depth < 1:
            raise UserError(f"depth of a temporal encoder must be at least 1, got {depth}.")
        if not scales or min(scales) < 1 or len(set(scales)) < len(scales):
            raise UserError(f"scales of a temporal encoder are different numbers of at least 1, got {list(scales)}.")
        self.depth, self.num_heads, self.dense_dim, self.head_dim = depth, num_heads, dense_dim, head_dim
        self.scales, self.shared, self.dropout = tuple(scales), shared, dropout
        self.rematerialize = rematerialize

    def build(self, input_shape: Shape) -> None:
        """Create one stack of layers, or one for each scale."""
        frames = input_shape[1]
        if any(frames % scale for scale in self.scales):
            raise UserError(f"{frames} frames cannot be cut into sequences by the scales {list(self.scales)}.")
        self.position = SinusoidalPosition(name="position", dtype=self.dtype_policy)
        prefixes = [""] if self.shared else [f"scale{scale}_" for scale in self.scales]
        # One flat list: Keras leaves out of a file what lies in a list within a list.
        self.blocks = [self._block(f"{prefix}block{number + 1}") for prefix in prefixes for number in range(self.depth)]
        for block in self.blocks:
            block.build(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Encode (B, T, D).

        Args:
            inputs: (B, T, D), T a multiple of each scale.
            training: whether dropout is active.
        """
        scales = [self._encode(inputs, index, training) for index in range(len(self.scales))]
        return sum(scales[1:], start=scales[0]) / len(scales) if len(scales) > 1 else scales[0]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("depth", "num_heads", "dense_dim", "head_dim", "scales", "shared", "dropout", "rematerialize")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _block(self, name: str) -> TransformerBlock:
        attention = SelfAttention(self.num_heads, self.head_dim, name="attention", dtype=self.dtype_policy)
        return TransformerBlock(
            attention,
            self.dense_dim,
            dropout=self.dropout,
            rematerialize=self.rematerialize,
            name=name,
            dtype=self.dtype_policy,
        )

    def _encode(self, x: Tensor, index: int, training: bool | None) -> Tensor:
        """Return one scale's answer, at the full length."""
        scale, first = self.scales[index], 0 if self.shared else index * self.depth
        x = self.position(_coarser(x, scale))
        for block in self.blocks[first : first + self.depth]:
            x = block(x, training=training)
        return ops.repeat(x, scale, axis=1) if scale > 1 else x


def _coarser(x: Tensor, scale: int) -> Tensor:
    """Average each `scale` neighbouring frames: (B, T, D) -> (B, T / scale, D)."""
    _, frames, width = x.shape
    return ops.mean(ops.reshape(x, (-1, frames // scale, scale, width)), axis=2) if scale > 1 else x
