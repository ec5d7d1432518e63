"""What the models that look at a whole clip at once share: the fields that each has, and the input."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import keras
from pydantic import Field

from keras_actrec.data.views import Normalization
from keras_actrec.models.frames import Count, Rate


@dataclasses.dataclass(frozen=True)
class ClipModelConfig:
    """The fields of every network over whole clips."""

    num_classes: Count
    """Number of classes, the width of the logits."""
    frames: Count = 16
    """Frames per clip, T."""
    size: Annotated[int, Field(ge=16)] = 112
    """Height and width of the frames, in pixels."""
    input_normalization: Normalization | None = None
    """How the input is normalised; not given: as the architecture's published weights expect it."""
    head_dropout: Rate = 0.5
    """Dropout before the logits."""

    EXPECTED: ClassVar[Normalization] = "imagenet"

    @property
    def normalization(self) -> str:
        """How the input must be normalised (`keras_actrec.data.views.Normalization`)."""
        return self.input_normalization or self.EXPECTED


def clip_input(config: ClipModelConfig) -> keras.KerasTensor:
    """Return the input `rgb`: float32 (B, T, H, W, 3)."""
    return keras.Input((config.frames, config.size, config.size, 3), name="rgb")
