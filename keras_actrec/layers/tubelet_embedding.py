"""Cut a clip into small boxes and make a token of each: tubelet embedding of Arnab et al. 2021, ViViT, Sec. 3.2."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class TubeletEmbedding(keras.layers.Layer):
    """One linear map of each t x p x p box of pixels: (B, T, H, W, C) -> (B, T/t, H/p, W/p, D).

    The same as a 3-D convolution whose stride is its kernel, `kernel` (t, p, p, C, D), and `bias` (D,); computed as
    one matrix product, as no pixel is read twice. With t = 1 it is the patch embedding of an image Transformer.

    Args:
        width: of the tokens, D.
        tubelet: frames, rows and columns of a box, (t, p, p).
        **kwargs: name, dtype and so on.

    Raises:
        UserError: a number is out of range, or the clip is no whole number of boxes.
    """

    def __init__(self, width: int, tubelet: tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if width < 1 or len(tubelet) != 3 or min(tubelet) < 1:
            raise UserError(f"tubelets need a width and three sizes of at least 1, got {width} and {tuple(tubelet)}.")
        self.width, self.tubelet = width, tuple(tubelet)

    def build(self, input_shape: Shape) -> None:
        """Create kernel and bias for inputs of C channels."""
        self._check(input_shape)
        shape = (*self.tubelet, input_shape[-1], self.width)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.width,), initializer="zeros")

    def call(self, inputs: Tensor) -> Tensor:
        """Return a map of tokens."""
        _, frames, height, width, channels = inputs.shape
        (t, p, q), volume = self.tubelet, math.prod(self.tubelet) * channels
        grid = (frames // t, height // p, width // q)
        # Two transpositions of four axes: LiteRT has no operation for one of eight.
        boxes = _swap_middle(ops.reshape(inputs, (-1, p, grid[2], q * channels)))
        if t > 1:
            boxes = _swap_middle(ops.reshape(boxes, (-1, t, grid[1] * grid[2], volume // t)))
        boxes = ops.reshape(boxes, (-1, *grid, volume))
        return ops.matmul(boxes, ops.reshape(self.kernel, (volume, self.width))) + self.bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, T/t, H/p, W/p, D)."""
        sizes = (size // part for size, part in zip(input_shape[1:4], self.tubelet, strict=True))
        return (input_shape[0], *sizes, self.width)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "width": self.width, "tubelet": self.tubelet}

    def _check(self, shape: Shape) -> None:
        for name, size, part in zip(("frames", "height", "width"), shape[1:4], self.tubelet, strict=True):
            if size % part:
                raise UserError(f"the clip's {name}, {size}, must be a multiple of the tubelet's, {part}.")


def _swap_middle(x: Tensor) -> Tensor:
    return ops.transpose(x, (0, 2, 1, 3))
