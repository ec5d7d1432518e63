"""What the models that look at a whole clip at once share: the fields that each has, and the inputs."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import keras
from keras import layers
from pydantic import Field

from keras_actrec.data.views import Normalization, tempo_names
from keras_actrec.errors import UserError
from keras_actrec.models.frames import Count, Rate

Modality = Literal["rgb", "depth"]
CHANNELS: dict[str, int] = {"rgb": 3, "depth": 1}


@dataclasses.dataclass(frozen=True)
class ClipModelConfig:
    """The fields of every network over whole clips."""

    num_classes: Count
    """Number of classes, the width of the logits."""
    frames: Count = 16
    """Frames per clip, T."""
    size: Annotated[int, Field(ge=16)] = 112
    """Height and width of the frames, in pixels."""
    modalities: tuple[Modality, ...] = ("rgb",)
    """What the network looks at: rgb, depth, or both, whose channels are then joined at the input."""
    input_normalization: Normalization | None = None
    """How the input is normalised; not given: as the architecture's published weights expect it."""
    head_dropout: Rate = 0.5
    """Dropout before the logits."""

    EXPECTED: ClassVar[Normalization] = "imagenet"

    @property
    def normalization(self) -> str:
        """How the input must be normalised (`keras_actrec.data.views.Normalization`)."""
        return self.input_normalization or self.EXPECTED

    @property
    def channels(self) -> int:
        """Channels of a frame, over all modalities."""
        return sum(CHANNELS[name] for name in self.modalities)


def clip_inputs(config: ClipModelConfig) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """Return the inputs, one for each modality and named after it, and the clip that they make.

    Returns:
        Inputs float32 (B, T, H, W, 3) for `rgb` and (B, T, H, W, 1) for `depth`; and (B, T, H, W, C): the input, or
        both joined along their channels (early fusion).

    Raises:
        UserError: no modality, or one twice.
    """
    names = config.modalities
    if not names or len(set(names)) < len(names):
        raise UserError(f"modalities: expected rgb, depth or both, each once; got {list(names)}.")
    inputs = [
        keras.Input((config.frames, config.size, config.size, CHANNELS[name]), name=name) for name in config.modalities
    ]
    return inputs, inputs[0] if len(inputs) == 1 else layers.Concatenate(axis=-1, name="modalities")(inputs)


def tempo_inputs(tempos: tuple[int, ...], size: int, modality: Modality) -> list[keras.KerasTensor]:
    """Return an input for each tempo at which a network looks at the same video, named tempo1, tempo2, ...

    Args:
        tempos: frames of each.
        size: height and width of the frames, in pixels.
        modality: what all of them show.

    Returns:
        float32 (B, T, H, W, 3) for `rgb`, (B, T, H, W, 1) for `depth`, with the T of each tempo.
    """
    names = tempo_names(len(tempos))
    shapes = [(frames, size, size, CHANNELS[modality]) for frames in tempos]
    return [keras.Input(shape, name=name) for name, shape in zip(names, shapes, strict=True)]
