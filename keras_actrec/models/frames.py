"""What the models that look at frames one by one share: input, backbone, and the head that several of them have."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import keras
from keras import layers
from pydantic import Field

from keras_actrec import backbones
from keras_actrec.layers import TimeDistributed

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tensor = Any


@dataclasses.dataclass(frozen=True)
class FrameModelConfig:
    """The fields of every frame-wise model; frames, size and backbone are those of the PSO-ConvNet Transformer."""

    num_classes: Count
    """Number of classes, the width of the logits."""
    frames: Count = 4
    """Frames per clip, T (NBFRAME)."""
    size: Annotated[int, Field(ge=16)] = 224
    """Height and width of the frames, in pixels (SIZE)."""
    backbone: backbones.FrameBackboneName = "densenet201"
    """The ConvNet that turns each frame into features."""
    weights: str = "imagenet"
    """Weights of the backbone: imagenet, none, or the path of a .weights.h5, .h5 or .keras file without top."""
    widths: tuple[Count, ...] | None = None
    """Channels of the blocks of the backbone `tiny`; for no other one."""

    def __post_init__(self) -> None:
        backbones.check(self.backbone, self.size, self.widths)

    @property
    def normalization(self) -> str:
        """How the input must be normalised (`keras_actrec.data.views.Normalization`)."""
        return backbones.normalization(self.backbone)


@dataclasses.dataclass(frozen=True)
class PSOHeadConfig(FrameModelConfig):
    """A frame-wise model with the head of the PSO-ConvNet Transformer, with the values of its Table 2."""

    noise: NonNegative = 0.1
    """Standard deviation of the Gaussian noise before the classifier (GaussianNoise)."""
    head_units: Count = 1024
    """Neurons of the classifier's hidden layer (Dense)."""
    head_dropout: Rate = 0.4
    """Dropout before the logits (Dropout)."""


def clip_input(config: FrameModelConfig) -> keras.KerasTensor:
    """Return the input `rgb`: float32 (B, T, H, W, 3).

    Models are made of a list of such inputs: then Keras takes the pipeline's dictionaries, by name, without a warning.
    """
    return keras.Input((config.frames, config.size, config.size, 3), name="rgb")


def frame_features(config: FrameModelConfig, clip: keras.KerasTensor) -> keras.KerasTensor:
    """Apply the backbone with global average pooling to each frame: (B, T, H, W, 3) -> (B, T, D)."""
    backbone = backbones.build_frame_backbone(
        config.backbone, config.size, weights=config.weights, widths=config.widths
    )
    return TimeDistributed(backbone, name="frame_features")(clip)


def classify(config: PSOHeadConfig, features: keras.KerasTensor) -> keras.KerasTensor:
    """Apply the head of the PSO-ConvNet Transformer (Sec. 2.2.4): noise, dense, dropout, logits.

    (..., D) -> float32 (..., num_classes).
    """
    x = layers.GaussianNoise(config.noise, name="noise")(features)
    x = layers.Dense(config.head_units, activation="relu", name="hidden")(x)
    x = layers.Dropout(config.head_dropout, name="dropout")(x)
    return layers.Dense(config.num_classes, dtype="float32", name="logits")(x)
