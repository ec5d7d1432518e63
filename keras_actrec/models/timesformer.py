"""TimeSformer: Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?" (arXiv
2102.05095), Sec. 3 and Fig. 1.

Stages: patch embedding of each frame -> class token -> positions in space -> positions in time -> encoder layers ->
norm -> class token -> logits. `attention`: "divided" (over time, then over space; `keras_actrec.layers
.DividedSpaceTimeBlock`), "joint" (over all tokens) or "space" (frame by frame). TimeSformer-B, divided, has 121,258,752
parameters below the classifier, 121,566,352 with one of 400 classes. TimeSformer-S, which ActNetFormer takes, has
`width: 384` and `heads: 6`.

Deviations and ambiguities, and how they were settled:
- The paper prints 121.4 M parameters, which is what a classifier of Something-Something's 174 classes gives
  (121,392,558).
- The dense layer behind each attention over time starts at zero, in all layers, as in the authors' code: the network
  begins as one that treats frames one by one.
- The class token has a position in space (the table's first row) and none in time, as in the authors' code.
- "space" averages the tokens of all frames behind the encoder, before the norm, as in the authors' code. It has no
  positions in time, and cannot tell orders of frames apart.
- Stochastic depth leaves a sub-layer out for a whole clip, and is off by default. The authors' code, whose rate is 0.1,
  draws once per frame in the attention over space, and once per place in that over time, before the dense layer.
- Tokens lie frame by frame; in the authors' code they lie place by place. No result depends on that.
- The input is normalised as that of the published weights: each channel minus 0.45, divided by 0.225 ("slowfast").
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import keras
from keras import layers, ops

from keras_actrec.data.views import Normalization
from keras_actrec.layers import ClassToken, DividedSpaceTimeBlock, LearnedPosition, SelfAttention
from keras_actrec.models.clips import clip_inputs
from keras_actrec.models.frames import Count
from keras_actrec.models.transformers import (
    Tensor,
    TransformerConfig,
    block_options,
    embed_patches,
    encode,
    finish,
    normalize,
)

Attention = Literal["divided", "joint", "space"]
Position = Literal["space_time", "space", "none"]


@dataclasses.dataclass(frozen=True)
class TimeSformerConfig(TransformerConfig):
    """A Transformer that attends over time and over space in turn (Bertasius et al. 2021, TimeSformer)."""

    frames: Count = 8
    """Frames per clip, T."""
    attention: Attention = "divided"
    """divided: over time, then over space; joint: over all tokens; space: within each frame only."""
    position: Position = "space_time"
    """Which learned positions are added: of space and time, of space alone, or none."""

    EXPECTED: ClassVar[Normalization] = "slowfast"


def build_timesformer(config: TimeSformerConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, C) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    x = _tokens_of_frames(config, embed_patches(config, clip))
    if config.attention == "space":
        x = _mean_over_frames(config, encode(config, x, config.depth))
    else:
        x = _tokens_of_clip(config, x)
        x = _encode_divided(config, x) if config.attention == "divided" else encode(config, x, config.depth)
    return finish(config, inputs, normalize(config, x)[:, 0], "timesformer")


def _tokens_of_frames(config: TimeSformerConfig, patches: Tensor) -> Tensor:
    """Add class tokens and positions in space: (B, T, h, w, D) -> (B T, 1 + N, D)."""
    _, _, height, width, channels = patches.shape
    x = ClassToken(name="class_token")(ops.reshape(patches, (-1, height * width, channels)))
    if config.position != "none":
        x = LearnedPosition(1 + height * width, name="position")(x)
    return layers.Dropout(config.dropout, name="position_dropout")(x)


def _tokens_of_clip(config: TimeSformerConfig, x: Tensor) -> Tensor:
    """Keep one class token, and add positions in time to the others: (B T, 1 + N, D) -> (B, 1 + T N, D)."""
    tokens, width = x.shape[1:]
    x = ops.reshape(x, (-1, config.frames, tokens, width))
    # Class tokens of all frames are equal before the first layer, but for dropout.
    class_token, places = x[:, 0, :1], x[:, :, 1:]
    if config.position == "space_time":
        rows = ops.reshape(ops.transpose(places, (0, 2, 1, 3)), (-1, config.frames, width))
        rows = layers.Dropout(config.dropout, name="time_dropout")(
            LearnedPosition(config.frames, name="time_position")(rows)
        )
        places = ops.transpose(ops.reshape(rows, (-1, tokens - 1, config.frames, width)), (0, 2, 1, 3))
    places = ops.reshape(places, (-1, config.frames * (tokens - 1), width))
    return ops.concatenate([class_token, places], axis=1)


def _encode_divided(config: TimeSformerConfig, x: Tensor) -> Tensor:
    """(B, 1 + T N, D) -> (B, 1 + T N, D)."""
    for number in range(1, config.depth + 1):
        over_time, over_space = (
            SelfAttention(config.heads, dropout=config.attention_dropout, name=name)
            for name in ("time_attention", "attention")
        )
        options = block_options(config, number)
        x = DividedSpaceTimeBlock(over_time, over_space, config.frames, name=f"block{number}", **options)(x)
    return x


def _mean_over_frames(config: TimeSformerConfig, x: Tensor) -> Tensor:
    """(B T, 1 + N, D) -> (B, 1 + N, D)."""
    return ops.mean(ops.reshape(x, (-1, config.frames, *x.shape[1:])), axis=1)
