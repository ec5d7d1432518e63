"""A small ConvNet of our own, for clips of 32 to 112 pixels on a CPU.

Design, no paper behind it: blocks of a 3x3 convolution with stride 2, batch normalisation and ReLU; plain convolutions,
because depth-wise ones are slow on CPUs. Global average pooling forgets places, so a network for actions must write
"where" into its channels first. Two coordinate channels are therefore joined to the input of each block (CoordConv,
Liu et al. 2018): a channel can then answer to "a limb, high up", and its average tells how much of that there is. A
figure fills a small part of the frame, so these averages hardly differ from frame to frame: a batch normalisation after
the pooling brings them to unit variance. In trials on `stick-actions` (medium, 528 clips) a Transformer behind the
network stayed at chance without either of the two, where with both it learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_actrec.errors import UserError

Shape = tuple[int | None, ...]
DEFAULT_WIDTHS = (16, 32, 64, 128)
# Small runs take few steps: the moving statistics must follow within dozens of them.
MOMENTUM = 0.95


@keras.saving.register_keras_serializable(package="keras_actrec")
class Coordinates(layers.Layer):
    """Joins each pixel's row and column, both in [-1, 1], to its channels: (B, H, W, C) -> (B, H, W, C + 2)."""

    def call(self, inputs: Any) -> Any:
        """Return the inputs with two more channels."""
        height, width = inputs.shape[1:3]
        rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        grid = ops.convert_to_tensor(np.stack([rows, columns], axis=-1)[None], dtype=inputs.dtype)
        return ops.concatenate([inputs, ops.broadcast_to(grid, (*ops.shape(inputs)[:3], 2))], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with two more channels."""
        return (*input_shape[:-1], input_shape[-1] + 2)


def build_tiny(size: int, widths: Sequence[int] = DEFAULT_WIDTHS, pooling: str | None = "avg") -> keras.Model:
    """Build the tiny network.

    Args:
        size: height and width of the frames, in pixels.
        widths: channels of the blocks; each block halves the resolution.
        pooling: "avg" for features (B, D), None for the last feature map (B, h, w, D). D is the last width.

    Raises:
        UserError: if a width is below 1 or there are more blocks than the size can be halved.
    """
    check_tiny(size, widths)
    frames = keras.Input((size, size, 3), name="frames")
    x = frames
    for number, width in enumerate(widths, start=1):
        x = Coordinates(name=f"block{number}_coordinates")(x)
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"block{number}_conv")(x)
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"block{number}_norm")(x)
        x = layers.ReLU(name=f"block{number}_relu")(x)
    if pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="average_pool")(x)
        x = layers.BatchNormalization(momentum=MOMENTUM, name="feature_norm")(x)
    return keras.Model(frames, x, name="tiny")


def check_tiny(size: int, widths: Sequence[int]) -> None:
    """Refuse widths below 1, and more blocks than the size can be halved."""
    if not widths or min(widths) < 1 or size < 2 ** len(widths):
        raise UserError(f"the backbone 'tiny' halves {size} pixels once per width; widths {tuple(widths)} do not fit.")
