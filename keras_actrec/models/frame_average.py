"""Frame-averaging baseline: all frames are seen, their order is not.

No paper behind it; the late average is the oldest way to use an image classifier on video. Backbone and head are those
of the PSO-ConvNet Transformer. The output does not change when the frames of a clip are shuffled.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import keras
from keras import layers

from keras_actrec.models.frames import PSOHeadConfig, classify, clip_input, frame_features


@dataclasses.dataclass(frozen=True)
class FrameAverageConfig(PSOHeadConfig):
    """Baseline that averages over the frames."""

    average: Literal["logits", "features"] = "logits"
    """What is averaged: each frame's logits, or its features before the head."""


def build_frame_average(config: FrameAverageConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    clip = clip_input(config)
    x = frame_features(config, clip)
    if config.average == "features":
        x = classify(config, layers.GlobalAveragePooling1D(name="time_pool")(x))
    else:
        x = layers.GlobalAveragePooling1D(name="time_pool", dtype="float32")(classify(config, x))
    return keras.Model([clip], x, name="frame_average")
