"""CTN: Ma, Wang, Zong, Ji et al., "Convolutional transformer network for fine-grained action recognition"
(Neurocomputing 2023); chapter 4 of Yujun Ma's thesis (Fig. 4.2, Tables 4.1 to 4.7).

Stages: video-to-tokens (`stem`: 7x7x7 convolution with stride 2 and 32 channels; `stem_norm`; `stem_pool`: 3x3x3 with
stride 2; Eq. 4.5) -> `patches`, 4x4x2 of its feature map -> `class_token` -> `block1` to `block12`, normalised after
each residual sum (Eq. 4.1 and 4.2), whose queries, keys and values come from depth-wise separable convolutions over the
map of tokens (Eq. 4.6, `keras_actrec.layers.ConvolutionalAttention`) -> class token -> `logits`. No position embedding.
ViViT-B, with which the tables compare it, is the architecture `vivit`.

Deviations and ambiguities, and how they were settled:
- Read to the letter (a stem of s = 4 in time and space on 8 frames, patches of 4x4x2), all tokens lie in one step of
  time: 14 x 14 and the class token. That is what is built. It is the one reading in which the published ratio of FLOPs
  comes out: 358 / 325 = 1.10 between CTN and ViViT-B is here 38.69 / 35.42 = 1.092 at the same number of tokens
  (`keras_actrec.evaluation.flops`, 397 classes), 8.5 % of it in the stem; with 784 tokens it would be 1.041, with 1568
  1.014. Order in time is then seen by the stem's and the patches' kernels alone.
- The FLOPs themselves, 358 and 325 10^9, follow from no reading of the text for 8 frames. ViViT-B has 362.4 at 16
  frames (1568 tokens); the stem and patches without strides in time (`stem_temporal_stride: 1`,
  `stem_pool_temporal_stride: 1`, `patch_frames: 1`: as many tokens from 8 frames) come to 367.5. A position embedding,
  one addition per number, is given for 7 to 12 10^9; it costs 0.0002 here. The tubelets' row of Table 4.3 is 353 / 325
  = 1.086; the depth-wise kernels and their normalisation, all that it adds, cost 0.3 %.
- Parameters: 88.6 M are published, 86.54 M are built (397 classes: 97 verbs and 300 nouns), 55,360 of them moving
  statistics. ViViT-B's published 88.9 M are its 88.95 M with a position table for 32 frames (3137 x 768 = 2.41 M). That
  network with this stem and these patches in place of its tubelets has 88.59 M: the published number counts the
  position table, which CTN has not, and leaves out the depth-wise kernels and their normalisations (0.36 M).
- Eq. (4.8) has patches of 4x4x4, the text 4x4x2; the text's are built (`patch_frames`).
- The stem has no activation, as in Eq. (4.5); its padding is "same", which alone makes the sizes T/s, H/s, W/s.
- Rows of Table 4.4 without pooling have stride 4, 64 channels: `stem_stride: 4`, `stem_pool: false`,
  `stem_channels: 64`. Their strides over time are taken for 4 as well.
- Post-norm layers end with a normalisation of their own; before the classifier there is one more (`norm`) only where
  layers are pre-norm.
- "MLP classification head" is one dense layer on the class token, as ViT's where it is fine-tuned.
- Query and key are divided by the root of the width of a head (Eq. 4.3 has that of the tokens), as in ViT.
- Whether CTN keeps ViT's biases and the dropout rates is not stated: biases are kept, nothing is dropped by default.
- The paper starts from "a ViViT vanilla model pre-trained on ImageNet". `weights` takes an image Transformer's: layers
  and class token are copied, linear maps become the point-wise ones; stem, patches and depth-wise kernels have no
  counterpart and keep their random start (`keras_actrec.backbones.vit_weights`).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import keras
from keras import layers

from keras_actrec.errors import UserError
from keras_actrec.layers import Conv3D, ConvolutionalAttention, MaxPooling3D, TransformerBlock, TubeletEmbedding
from keras_actrec.models.clips import clip_inputs
from keras_actrec.models.frames import Count
from keras_actrec.models.transformers import (
    Tensor,
    TransformerConfig,
    begin,
    encoder_layer,
    finish,
    flatten_places,
    normalize,
)

MOMENTUM, EPSILON = 0.9, 1e-5
"""Of the batch normalisations."""


@dataclasses.dataclass(frozen=True)
class CTNConfig(TransformerConfig):
    """Convolutional stem, and attention with convolutional mappings, over a whole clip (CTN)."""

    frames: Count = 8
    """Frames per clip, T."""
    tokens: Literal["video_to_tokens", "tubelets"] = "video_to_tokens"
    """What tokens are cut from: the feature map of a convolutional stem, or the clip, as ViViT does (Table 4.3)."""
    patch_frames: Count = 2
    """Steps of time that a token spans: of the stem's feature map, or with `tubelets` frames."""
    stem_channels: Count = 32
    """Channels of the stem (Table 4.4)."""
    stem_kernel: Count = 7
    """Frames, rows and columns of the stem's kernel."""
    stem_stride: Count = 2
    """Stride of the stem's convolution over rows and columns."""
    stem_temporal_stride: Count | None = None
    """Its stride over frames; not given: as over rows and columns."""
    stem_pool: bool = True
    """Whether a max-pooling follows, 3x3x3 with stride 2."""
    stem_pool_temporal_stride: Count = 2
    """The pooling's stride over time."""
    stem_batch_norm: bool = True
    """Whether a batch normalisation follows the stem's convolution."""
    mapping: Literal["convolutional", "linear"] = "convolutional"
    """How queries, keys and values are made: by depth-wise separable convolutions, or linearly (Table 4.5)."""
    mapping_kernel: Count = 3
    """Rows and columns of the depth-wise kernels (Table 4.6)."""
    mapping_batch_norm: bool = True
    """Whether a batch normalisation follows them (Table 4.6)."""
    position: Literal["none", "learned"] = "none"
    """Whether a trained vector is added to each token for its place (Table 4.3)."""
    norm: Literal["post", "pre"] = "post"
    """Whether layers are normalised after the residual sum (Eq. 4.1 and 4.2), or before each sub-layer, as ViT's."""

    def __post_init__(self) -> None:
        if self.mapping == "convolutional" and self.mapping_kernel % 2 == 0:
            raise UserError(f"mapping_kernel must be odd, such as 3 or 5; got {self.mapping_kernel}.")
        if self.rematerialize and self.mapping == "convolutional" and self.mapping_batch_norm:
            raise UserError(
                "ctn cannot rematerialize layers with a batch normalisation, whose statistics would be counted twice; "
                "set rematerialize: false, or mapping_batch_norm: false."
            )
        for axis, size, reduction, part in self._cuts():
            if size % (reduction * part):
                raise UserError(
                    f"ctn: {size} {axis} are no whole number of tokens: the stem leaves one of {reduction}, and a "
                    f"token takes {part} of those; choose a multiple of {reduction * part}, or another stem or patch."
                )

    @property
    def reduction(self) -> tuple[int, int]:
        """By what the stem divides frames, and rows and columns (s in the text)."""
        if self.tokens == "tubelets":
            return 1, 1
        temporal, spatial = self.stem_temporal_stride or self.stem_stride, self.stem_stride
        return (temporal * self.stem_pool_temporal_stride, spatial * 2) if self.stem_pool else (temporal, spatial)

    @property
    def tubelet(self) -> tuple[int, int, int]:
        """Steps, rows and columns of the feature map, or of the clip, that make a token."""
        return self.patch_frames, self.patch // self.reduction[1], self.patch // self.reduction[1]

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along T, H and W."""
        return self.frames // self.reduction[0] // self.patch_frames, self.size // self.patch, self.size // self.patch

    def _cuts(self) -> tuple[tuple[str, int, int, int], ...]:
        frames, pixels = self.reduction
        if self.patch % pixels:
            raise UserError(f"patch must be a multiple of {pixels}, by which the stem divides; got {self.patch}.")
        return ("frames", self.frames, frames, self.patch_frames), ("pixels", self.size, pixels, self.tubelet[1])


def build_ctn(config: CTNConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, C) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    x = video_to_tokens(config, clip) if config.tokens == "video_to_tokens" else clip
    x = TubeletEmbedding(config.width, config.tubelet, name="patches")(x)
    x = begin(config, flatten_places(x), config.position, class_token=True)
    for number in range(1, config.depth + 1):
        x = convolutional_layer(config, number)(x)
    x = normalize(config, x) if config.norm == "pre" else x
    return finish(config, inputs, x[:, 0], "ctn")


def video_to_tokens(config: CTNConfig, clip: Tensor) -> Tensor:
    """MaxPool(BN(Conv(z))), Eq. (4.5): (B, T, H, W, C) -> (B, T/s, H/s, W/s, C')."""
    rows = config.stem_stride
    x = Conv3D(
        config.stem_channels,
        config.stem_kernel,
        strides=(config.stem_temporal_stride or rows, rows, rows),
        padding="same",
        use_bias=not config.stem_batch_norm,
        kernel_initializer="he_normal",
        name="stem",
    )(clip)
    if config.stem_batch_norm:
        x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name="stem_norm")(x)
    if config.stem_pool:
        x = MaxPooling3D(3, strides=(config.stem_pool_temporal_stride, 2, 2), padding="same", name="stem_pool")(x)
    return x


def convolutional_layer(config: CTNConfig, number: int) -> TransformerBlock:
    """Return encoder layer `number`, counted from 1, of Fig. 4.2 (b)."""
    attention = None
    if config.mapping == "convolutional":
        attention = ConvolutionalAttention(
            config.heads,
            config.grid,
            config.mapping_kernel,
            config.mapping_batch_norm,
            MOMENTUM,
            EPSILON,
            dropout=config.attention_dropout,
            name="attention",
        )
    return encoder_layer(config, f"block{number}", number, attention, config.norm)
