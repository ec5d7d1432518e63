"""Single-frame baseline: what one frame tells, without any sense of time.

No paper behind it. Backbone and head are those of the PSO-ConvNet Transformer, so that the difference between the two
is what the Transformer gets out of the order of frames. In training the frame is drawn anew from the clip for each
step, which makes the baseline as strong as its view allows; in inference it is the middle one.
"""

from __future__ import annotations

import dataclasses

import keras
from keras import layers

from keras_actrec.layers import PickFrame
from keras_actrec.models.frames import PSOHeadConfig, classify, clip_input, frame_features


@dataclasses.dataclass(frozen=True)
class SingleFrameConfig(PSOHeadConfig):
    """Baseline that sees one frame of the clip."""


def build_single_frame(config: SingleFrameConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    clip = clip_input(config)
    # Picked before the backbone, which then costs one frame per clip; `split_at_features` relies on the name.
    x = PickFrame(name="pick_frame")(clip)
    x = frame_features(config, x)
    x = layers.Flatten(name="drop_time")(x)
    return keras.Model([clip], classify(config, x), name="single_frame")
