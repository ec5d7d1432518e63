"""R3D-18, MC3-18 and R(2+1)D-18: Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action
Recognition" (arXiv 1711.11248), Sec. 3 and Table 1, in the layout of torchvision's video networks.

Stages: 7x7 stem over 3 frames -> residual stages conv2 to conv5 of two basic blocks each -> mean over time and space ->
dropout -> logits. The three differ in their convolutions: 3x3x3 everywhere (R3D); 3x3x3 in stem and conv2, 1x3x3 after
(MC3); 1x3x3 and 3x1x1 with normalisation and ReLU between (R(2+1)D). Trained parameters with 400 classes: 33,371,472,
11,695,440 and 31,505,325.

Deviations and ambiguities, and how they were settled:
- The paper's text has a max-pooling in none of these networks; neither has this.
- torchvision gives both convolutions of an R(2+1)D block the inner width of the first, the paper to each its own; and
  its stem has 45 channels inside, where the paper's formula gives 83. Here as in torchvision.
- Tran et al. put five stages at widths 64 to 512, as here; `base_width` narrows them.
- No dropout, as published; `head_dropout` adds it.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras

from keras_actrec.backbones import clip_weights
from keras_actrec.backbones.resnet3d import ResNet3D, Stem, TemporalPadding, resnet3d_features
from keras_actrec.data.views import Normalization
from keras_actrec.models.clips import ClipModelConfig, clip_inputs
from keras_actrec.models.frames import Count, Rate
from keras_actrec.models.resnet3d import classify_clip


@dataclasses.dataclass(frozen=True)
class R3D18Config(ClipModelConfig):
    """3-D ResNet-18 of full 3x3x3 convolutions (Tran et al. 2018, R3D)."""

    head_dropout: Rate = 0.0
    """Dropout before the logits."""
    weights: str = "none"
    """Initial weights: none, or the path of a .keras file of a 3-D network, taken by layer name."""
    depths: tuple[Count, ...] = (2, 2, 2, 2)
    """Residual blocks of each stage."""
    base_width: Count = 64
    """Channels of the stem and of the first stage; each stage doubles them."""
    stem_temporal_kernel: Count = 3
    """Frames that the first convolution spans."""
    temporal_kernels: tuple[tuple[Count, ...], ...] = ((3,), (3,), (3,), (3,))
    """For each stage the temporal kernels of its blocks, repeated until the stage is full."""
    temporal_strides: tuple[Count, ...] = (1, 2, 2, 2)
    """Temporal stride of each stage's first block."""
    temporal_padding: TemporalPadding = "zeros"
    """What convolutions see beyond the first and last frame: zeros, or the edge frame again."""

    EXPECTED: ClassVar[Normalization] = "kinetics"

    def __post_init__(self) -> None:
        self.network()

    def network(self) -> ResNet3D:
        """Return the network as `keras_actrec.backbones.resnet3d` describes it."""
        return ResNet3D(
            block="basic",
            depths=self.depths,
            base_width=self.base_width,
            stem=Stem((self.stem_temporal_kernel, 7, 7), (1, 2, 2), pool=None),
            temporal_kernels=self.temporal_kernels,
            temporal_strides=self.temporal_strides,
            temporal_padding=self.temporal_padding,
        )


@dataclasses.dataclass(frozen=True)
class MC318Config(R3D18Config):
    """3-D ResNet-18 with 3-D convolutions first and 2-D ones after (Tran et al. 2018, MC3)."""

    temporal_kernels: tuple[tuple[Count, ...], ...] = ((3,), (1,), (1,), (1,))
    """For each stage the temporal kernels of its blocks, repeated until the stage is full."""
    temporal_strides: tuple[Count, ...] = (1, 1, 1, 1)
    """Temporal stride of each stage's first block."""


@dataclasses.dataclass(frozen=True)
class R2Plus1D18Config(R3D18Config):
    """3-D ResNet-18 whose convolutions are split into space and time (Tran et al. 2018, R(2+1)D)."""

    stem_mid_width: Count = 45
    """Channels between the spatial and the temporal half of the first convolution."""

    def network(self) -> ResNet3D:
        """Return the network as `keras_actrec.backbones.resnet3d` describes it."""
        full = super().network()
        stem = dataclasses.replace(full.stem, mid_width=self.stem_mid_width)
        return dataclasses.replace(full, stem=stem, factorised=True)


def build_r3d_18(config: R3D18Config) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    return _build(config, "r3d_18")


def build_mc3_18(config: MC318Config) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    return _build(config, "mc3_18")


def build_r2plus1d_18(config: R2Plus1D18Config) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    return _build(config, "r2plus1d_18")


def _build(config: R3D18Config, name: str) -> keras.Model:
    inputs, clip = clip_inputs(config)
    x = resnet3d_features(clip, config.network())
    model = keras.Model(inputs, classify_clip(config, x), name=name)
    clip_weights.load(model, config.weights)
    return model
