"""Keep the frames whose attention is focused: Top-K pooling by standard deviation, RPE-STDT, Sec. 3.3.5."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor
from keras_actrec.layers.transformer_block import TransformerBlock

Shape = tuple[int | None, ...]


def deviation(scores: Tensor) -> Tensor:
    """Return how unevenly each token attends: float32 (B, N), from scores (B, h, N, M), whose rows sum to 1.

    The standard deviation of a row over its M keys (Eq. 3.13, 3.14), averaged over the heads. The equation's factor 1/T
    stands before the root; here it is within, which changes no rank.
    """
    scores = ops.cast(scores, "float32")
    spread = scores - ops.mean(scores, axis=-1, keepdims=True)
    return ops.mean(ops.sqrt(ops.mean(ops.square(spread), axis=-1)), axis=1)


def top_std(scores: Tensor, kept: int, class_token: bool = True) -> Tensor:
    """Return which tokens are kept (Eq. 3.12): int32 (B, K), rising, from scores (B, h, N, M).

    Args:
        scores: softmax of the attention.
        kept: number of tokens with the largest deviation that are kept.
        class_token: whether the first token is kept beside them, whatever its deviation; then K = kept + 1.
    """
    spread = deviation(scores)[:, int(class_token) :]
    chosen = ops.cast(ops.top_k(spread, kept)[1], "int32")
    rising = ops.sort(chosen, axis=-1)
    return ops.concatenate([ops.zeros_like(rising[:, :1]), rising + 1], axis=1) if class_token else rising


def keep(tokens: Tensor, chosen: Tensor) -> Tensor:
    """Return the chosen tokens: (B, N, D), int (B, K) -> (B, K, D). Gradients reach those alone."""
    return ops.take_along_axis(tokens, ops.expand_dims(chosen, -1), axis=1)


@keras.saving.register_keras_serializable(package="keras_actrec")
class TopStdBlock(TransformerBlock):
    """A `TransformerBlock` that leaves tokens out, those that attend most evenly: (B, N, D) -> (B, K, D).

    With `keep_after`, rows of the block's own attention are dropped (Eq. 3.12) before its feed-forward network sees
    them; as that treats tokens one by one, this is the same as leaving them out after the block, and cheaper. With
    `keep_before`, tokens are dropped by the block's attention over all of them, and the block runs on the rest.
    The tokens that are kept stay in their order. The attention must be able to return its scores.

    Args:
        attention: as of `TransformerBlock`.
        dense_dim: likewise.
        keep_before: tokens that are kept before the block; None: all.
        keep_after: tokens that are kept after its attention; None: all.
        class_token: whether the first token is a class token, which is kept beside those.
        **kwargs: as of `TransformerBlock`.

    Raises:
        UserError: more tokens are to be kept than there are, or none.
    """

    def __init__(
        self,
        attention: keras.Layer,
        dense_dim: int,
        keep_before: int | None = None,
        keep_after: int | None = None,
        class_token: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(attention, dense_dim, **kwargs)
        self.keep_before, self.keep_after, self.class_token = keep_before, keep_after, class_token

    def build(self, input_shape: Shape) -> None:
        """Create the sub-layers for inputs of width D."""
        tokens = input_shape[1] - self.class_token
        for kept in (self.keep_before, self.keep_after):
            if kept is not None and not 1 <= kept <= tokens:
                raise UserError(f"of {tokens} tokens, between 1 and {tokens} can be kept, not {kept}.")
            tokens = kept or tokens
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, K, D)."""
        kept = self.keep_after or self.keep_before
        tokens = input_shape[1] if kept is None else kept + self.class_token
        return (input_shape[0], tokens, input_shape[2])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("keep_before", "keep_after", "class_token")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _encode(self, x: Tensor, training: bool | None) -> Tensor:
        if self.keep_before is not None:
            x = self._keep(x, self._scored(x, training)[1], self.keep_before)
        if self.keep_after is None:
            return super()._encode(x, training)
        attended, scores = self._scored(x, training)
        attended = self.skip_attention(self.drop_attention(attended, training=training), training=training)
        x = self._keep(x + attended, scores, self.keep_after)
        if self.norm == "pre":
            return x + self._think(self.dense_norm(x), training)
        x = self.attention_norm(x)
        return self.dense_norm(x + self._think(x, training))

    def _scored(self, x: Tensor, training: bool | None) -> tuple[Tensor, Tensor]:
        x = self.attention_norm(x) if self.norm == "pre" else x
        return self.attention(x, training=training, return_attention_scores=True)

    def _keep(self, x: Tensor, scores: Tensor, kept: int) -> Tensor:
        return keep(x, top_std(scores, kept, self.class_token))
