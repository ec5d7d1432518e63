"""ViViT: Arnab et al. 2021, "ViViT: A Video Vision Transformer" (arXiv 2103.15691), Sec. 3, models 1 and 2.

Stages of the joint encoder (model 1, `encoder: joint`): tubelet embedding -> class token -> positions -> encoder layers
over all tokens of the clip -> norm -> class token -> logits. Of the factorised encoder (model 2, `factorised`): tubelet
embedding -> for each slice of time: class token, positions, encoder layers, norm, class token -> over the slices: class
token, positions, `temporal_depth` encoder layers, norm, class token -> logits.

Deviations and ambiguities, and how they were settled:
- The defaults are ViViT-B/16x2 of 16 frames, with which the thesis of RPE-STDT and CTN compares (Tables 3.6 and 4.7).
  The publication's Kinetics network has 32 frames and, with 400 classes, 88,954,000 parameters, its "88.9 M"; with 16
  frames its table of positions is half as long: 87,749,776. The thesis prints 88.9 M for 16 frames, the publication's
  number.
- The authors' published weights have the approximation of GELU by a hyperbolic tangent: `activation: gelu_tanh`.
- `pool: mean` has no class token at all, as the authors' code for "gap": the mean over all tokens behind the norm.
- `position: none` leaves position information out (thesis, Table 4.3). Frames within a tubelet are still told apart.
- The factorised encoder's slices share one table of positions; where a slice lies in time is added behind the spatial
  encoder, to its class token alone. `depth` is the spatial encoder's, whose stochastic depth rises over its own layers;
  so does the temporal encoder's.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import keras
from keras import ops

from keras_actrec.models.clips import clip_inputs
from keras_actrec.models.frames import Count
from keras_actrec.models.transformers import (
    Pool,
    Position,
    Tensor,
    TransformerConfig,
    begin,
    embed_patches,
    encode,
    finish,
    flatten_places,
    normalize,
    pool_tokens,
)

Encoder = Literal["joint", "factorised"]


@dataclasses.dataclass(frozen=True)
class ViViTConfig(TransformerConfig):
    """A Transformer over tubelets of a clip, space and time joint or one after the other (Arnab et al. 2021, ViViT)."""

    tubelet_frames: Count = 2
    """Frames of a tubelet; its height and width are `patch`."""
    encoder: Encoder = "joint"
    """joint: every token sees the whole clip; factorised: a spatial encoder per slice of time, then a temporal one."""
    temporal_depth: Count = 4
    """Encoder layers over time of the factorised encoder."""
    position: Position = "learned"
    """How tokens are told their place: learned, sinusoidal, or none."""
    pool: Pool = "token"
    """What is classified: the class token, or the mean of all tokens, which then have no class token among them."""


def build_vivit(config: ViViTConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, C) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    patches = embed_patches(config, clip, config.tubelet_frames)
    features = _joint(config, patches) if config.encoder == "joint" else _factorised(config, patches)
    return finish(config, inputs, features, "vivit")


def _joint(config: ViViTConfig, patches: Tensor) -> Tensor:
    """(B, T', h, w, D) -> (B, D)."""
    return _encoded(config, flatten_places(patches), config.depth)


def _factorised(config: ViViTConfig, patches: Tensor) -> Tensor:
    """(B, T', h, w, D) -> (B, D)."""
    _, slices, height, width, channels = patches.shape
    x = ops.reshape(patches, (-1, height * width, channels))
    x = ops.reshape(_encoded(config, x, config.depth, "space_"), (-1, slices, channels))
    return _encoded(config, x, config.temporal_depth, "time_")


def _encoded(config: ViViTConfig, x: Tensor, depth: int, prefix: str = "") -> Tensor:
    """Encode tokens (B, N, D) and pool them: (B, D)."""
    x = begin(config, x, config.position, config.pool == "token", prefix)
    x = normalize(config, encode(config, x, depth, prefix), f"{prefix}norm")
    return pool_tokens(x, config.pool)
