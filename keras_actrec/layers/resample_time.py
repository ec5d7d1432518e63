"""Bring clips of different lengths to one length, by linear interpolation between neighbouring frames."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class ResampleTime(keras.layers.Layer):
    """Resamples a clip to `frames` frames: (B, T, ...) -> (B, frames, ...).

    The new frames lie evenly from the first to the last old one, both of which are kept; between two old frames they
    are mixed linearly. A single new frame is the middle of the clip, a single old frame is repeated, and where the
    lengths agree nothing is changed. There is no low-pass filter: a clip that gets shorter skips part of its frames.

    Args:
        frames: new length.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: if `frames` is not positive.
    """

    def __init__(self, frames: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if frames < 1:
            raise UserError(f"a clip is resampled to at least 1 frame, got {frames}.")
        self.frames = frames

    def call(self, inputs: Tensor) -> Tensor:
        """Return the clip at its new length."""
        _, frames, *rest = inputs.shape
        if frames == self.frames:
            return inputs
        # One product of matrices, whose gradient is one too: picking frames adds up gradients in no fixed order.
        weights = ops.cast(interpolation(frames, self.frames), inputs.dtype)
        mixed = ops.matmul(weights, ops.reshape(inputs, (-1, frames, int(np.prod(rest)))))
        return ops.reshape(mixed, (-1, self.frames, *rest))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with the new length."""
        batch, _, *rest = input_shape
        return (batch, self.frames, *rest)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "frames": self.frames}


def interpolation(old: int, new: int) -> np.ndarray:
    """Return the share of each old frame in each new one, float32 (new, old); rows sum to 1."""
    places = np.linspace(0, old - 1, new) if new > 1 else np.array([(old - 1) / 2])
    distances = np.abs(places[:, None] - np.arange(old))
    return np.maximum(0, 1 - distances).astype("float32")
