"""The encoder of VideoMAE as a classifier: Tong et al. 2022, "VideoMAE" (arXiv 2203.12602), Sec. 3.1 and Table 8.

Stages: tubelet embedding -> fixed sinusoidal positions over all tokens -> encoder layers over all tokens of the clip,
whose queries and values have a bias and whose keys have none -> mean of all tokens -> norm -> logits. There is no class
token. With 400 classes ViT-B has 86,534,800 parameters. What is built is the network that is fine-tuned; the decoder of
its pre-training is not.

Deviations and ambiguities, and how they were settled:
- The authors' code adds 1e-6 to every variance, the default here. The published port of the weights to Hugging Face
  states 1e-12 in the encoder and 1e-5 in the last norm; `epsilon` and `head_epsilon` take these.
- `pool: token` normalises all tokens and classifies the first, as the authors' code does without mean pooling; as there
  is no class token, that is the token of the first tubelet.
- `position` learned and none are there to compare with; the authors' positions are sinusoidal, and not trained.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import keras
from keras import layers
from pydantic import Field

from keras_actrec.data.views import Normalization
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
    pool_tokens,
)


@dataclasses.dataclass(frozen=True)
class VideoMAEConfig(TransformerConfig):
    """A plain Transformer over tubelets, without class token: the encoder of VideoMAE (Tong et al. 2022)."""

    tubelet_frames: Count = 2
    """Frames of a tubelet; its height and width are `patch`."""
    position: Position = "sinusoidal"
    """How tokens are told their place: sinusoidal (fixed), learned, or none."""
    pool: Pool = "mean"
    """What is classified: the mean of all tokens, or the first token."""
    head_epsilon: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the variance in the last norm; `epsilon` is that of the encoder layers."""

    EXPECTED: ClassVar[Normalization] = "imagenet"


def build_videomae(config: VideoMAEConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, C) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    x = flatten_places(embed_patches(config, clip, config.tubelet_frames))
    x = begin(config, x, config.position, class_token=False)
    x = encode(config, x, config.depth, key_bias=False)
    return finish(config, inputs, _pooled(config, x), "videomae")


def _pooled(config: VideoMAEConfig, x: Tensor) -> Tensor:
    """(B, N, D) -> (B, D). The norm of the first token alone is the first of all tokens' norms."""
    return layers.LayerNormalization(epsilon=config.head_epsilon, name="norm")(pool_tokens(x, config.pool))
