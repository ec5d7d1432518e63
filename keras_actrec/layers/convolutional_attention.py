"""Self-attention whose queries, keys and values see the tokens' neighbours: CTN, Sec. 4.3.4, Eq. (4.6) and Fig. 4.4.

    z^{q,k,v} = Flatten(Conv2d(Reshape2d(z), s));   Conv2d: depth-wise s x s -> batch normalisation -> point-wise 1 x 1

What was ambiguous, and how it was settled:
- Clips have a time axis, "Conv2d" and "Reshaped 2d" have none: each step of time is a map of its own (H, W).
- The class token has no place on a map. It goes through the point-wise map alone, with the same weights.
- The point-wise maps are `query`, `key` and `value` as in plain self-attention, of the same shapes, so that weights of
  an image Transformer fit ("projected into the initial dimension" is read as this step, not as a further one).
- Depth-wise kernels have no bias: the batch normalisation, or without it the point-wise map, has one.
- They start from a Gaussian of deviation 1 / s, so that the variance of a map stays what it was. (Keras' own start
  takes the channels for inputs of each kernel, which has one; it would shrink the signal by the root of the width.)
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor
from keras_actrec.layers.self_attention import SelfAttention, Shape


@keras.saving.register_keras_serializable(package="keras_actrec")
class ConvolutionalAttention(SelfAttention):
    """Self-attention over a grid of tokens, T x H x W, with convolutional mappings: (B, N, D) -> (B, N, D).

    The last T*H*W of the N tokens are the grid's, row by row: T, then H, then W. Those before them, as a class token,
    are in no convolution.

    Sub-layers: for each of `query`, `key` and `value`, besides the dense layer of that name (the point-wise map),
    `query_depthwise` with weight `kernel` (s, s, D, 1) and, if there is one, `query_norm`, a batch normalisation; and
    `output`.

    Args:
        num_heads: number of heads.
        grid: tokens along T, H and W.
        kernel_size: rows and columns of the depth-wise kernels, s; outside of the map are zeros.
        batch_norm: whether a batch normalisation follows the depth-wise convolution.
        momentum, epsilon: of the batch normalisation.
        **kwargs: the other arguments of `SelfAttention`; name, dtype and so on.

    Raises:
        UserError: a number is out of range, or there are fewer tokens than places on the grid.
    """

    def __init__(
        self,
        num_heads: int,
        grid: tuple[int, int, int],
        kernel_size: int = 3,
        batch_norm: bool = True,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_heads, **kwargs)
        if len(grid) != 3 or min(grid) < 1:
            raise UserError(f"grid of a convolutional attention: expected T, H and W, each at least 1; got {grid}.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(f"kernel_size of a convolutional attention must be odd, such as 3 or 5; got {kernel_size}.")
        self.grid, self.kernel_size, self.batch_norm = tuple(grid), kernel_size, batch_norm
        self.momentum, self.epsilon = momentum, epsilon

    def build_projections(self, input_shape: Shape, inner: int) -> None:
        """Create the convolutions, the normalisations and the point-wise maps."""
        if input_shape[1] is None or input_shape[1] < math.prod(self.grid):
            raise UserError(f"expected at least the {self.grid} tokens of the grid, got {input_shape[1]} tokens.")
        super().build_projections(input_shape, inner)
        self.query_depthwise, self.key_depthwise, self.value_depthwise = (
            self._depthwise(name, input_shape[-1]) for name in ("query", "key", "value")
        )
        if self.batch_norm:
            self.query_norm, self.key_norm, self.value_norm = (
                self._norm(name, input_shape[-1]) for name in ("query", "key", "value")
            )

    def project(self, inputs: Tensor, training: bool | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each (B, N, h d)."""
        aside = inputs.shape[1] - math.prod(self.grid)
        _, height, width = self.grid
        maps = ops.reshape(inputs[:, aside:], (-1, height, width, inputs.shape[-1]))
        return tuple(
            getattr(self, name)(self._join(inputs[:, :aside], self._convolve(name, maps, training)))
            for name in ("query", "key", "value")
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("grid", "kernel_size", "batch_norm", "momentum", "epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _convolve(self, name: str, maps: Tensor, training: bool | None) -> Tensor:
        """Convolve each step of time by itself: (B*T, H, W, D) -> the same."""
        convolved = getattr(self, f"{name}_depthwise")(maps)
        if not self.batch_norm:
            return convolved
        return getattr(self, f"{name}_norm")(convolved, training=training)

    def _join(self, aside: Tensor, maps: Tensor) -> Tensor:
        """Flatten the maps and put what was left aside before them: (B, N, D)."""
        tokens = ops.reshape(maps, (-1, math.prod(self.grid), maps.shape[-1]))
        return ops.concatenate([aside, tokens], axis=1) if aside.shape[1] else tokens

    def _depthwise(self, name: str, width: int) -> keras.layers.DepthwiseConv2D:
        layer = keras.layers.DepthwiseConv2D(
            self.kernel_size,
            padding="same",
            use_bias=False,
            depthwise_initializer=keras.initializers.RandomNormal(stddev=1 / self.kernel_size),
            name=f"{name}_depthwise",
            dtype=self.dtype_policy,
        )
        layer.build((None, *self.grid[1:], width))
        return layer

    def _norm(self, name: str, width: int) -> keras.layers.BatchNormalization:
        layer = keras.layers.BatchNormalization(
            momentum=self.momentum, epsilon=self.epsilon, name=f"{name}_norm", dtype=self.dtype_policy
        )
        layer.build((None, *self.grid[1:], width))
        return layer
