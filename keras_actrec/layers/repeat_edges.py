"""Padding of time that repeats the first and the last frame."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class RepeatEdges(keras.layers.Layer):
    """Repeats the first and the last frame `frames` times each: (B, T, ...) -> (B, T + 2 frames, ...).

    Before a convolution over time it keeps the edges of a clip as bright as its middle, where zeros darken them: a clip
    of one repeated frame stays one.

    Args:
        frames: copies at either end.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: if `frames` is negative.
    """

    def __init__(self, frames: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if frames < 0:
            raise UserError(f"RepeatEdges repeats a frame 0 times or more often, got {frames}.")
        self.frames = frames

    def call(self, inputs: Tensor) -> Tensor:
        """Return the clip with copies of its edges."""
        first, last = [inputs[:, :1]] * self.frames, [inputs[:, -1:]] * self.frames
        return ops.concatenate([*first, inputs, *last], axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with more frames."""
        batch, frames, *rest = input_shape
        return (batch, None if frames is None else frames + 2 * self.frames, *rest)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "frames": self.frames}
