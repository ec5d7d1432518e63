"""MFST: Ma et al., "Multi-stage Factorized Spatio-Temporal Representation for RGB-D Action and Gesture Recognition"
(ACM Multimedia 2023), as chapter 2 of the thesis has it; Fig. 2.2, 2.4 and 2.5.

    stem of central differences -> stages, each: two Inception modules over space -> max pooling over space ->
    Transformer over the places of each frame (MSC-Trans) -> Transformer over the frames at each place (WMS-Trans)
    -> average pooling -> MLP

MFST-Base has `stages: 3`, MFST-Large 4. MFST-BM, the baseline without its three ideas: `stem_kind: vanilla`,
`residual: false`, `temporal_scales: [1]`.

Deviations and ambiguities, and how they were settled:
- The chapter names the parts and hardly any width. Stem and Inception modules have the widths of its predecessor's
  public code (Zhou et al. 2022, De+Recouple), which are those of I3D's modules 3b, 3c, 4b, 4c, 5b and 5c; the fourth
  stage repeats the third's. Transformers have the predecessor's 8 heads of 64 and hidden width 768. With its token
  width of 512 in every stage, Base alone would have nearly as many parameters as Large is said to have; the widths 192,
  256, 512, 512 were chosen so that the numbers come near Table 2.3. With 60 classes of RGB Base has 32,436,636
  parameters (Table 2.3: 32.6 M), Large 49,830,748 (49.7 M), MFST-BM 49,649,756 (not said).
- No operations are reported. With a multiplication and an addition counted as two, a clip of 32 frames costs Base
  369.5 GFLOPs, Large 442.5 and MFST-BM 371.7; with `stem_temporal_stride: 2` about half.
- The stem is "the first five layers of I3D": convolution 7x7x7, pooling, convolutions 1x1x1 and 3x3x3, pooling. The
  predecessor has kernels over one frame; there CDC-T would have no adjacent frames to take differences from. Eq. 2.2
  keeps all T frames, so time has the stride 1 where I3D has 2: `stem_temporal_stride`.
- Both convolutions over several places are central differences. The 1x1x1 one is plain: it has no surroundings, and a
  factor of 1 - theta would vanish in the batch normalisation behind it.
- `stem_kind: auto` is CDC-T for depth alone and CDC-ST wherever there is RGB. RGB and depth together are joined at the
  input, beyond the chapter; its "RGB+DEP" is the average of two networks' probabilities:
  `python -m keras_actrec evaluate --fuse RUN_RGB RUN_DEPTH`.
- MSC's pooling is 1x3x3. Stages 1 and 2 halve the map with it, to 7x7 as in I3D; in stages 3 and 4 it has the stride 1,
  or the fourth stage would attend over 2x2 places: `pool_strides`.
- A dense layer brings the modules' channels to the token width. Tokens of space have no position but what the padding
  of the convolutions tells them: the chapter adds positions in WMS-Trans alone.
- Eq. 2.8 leaves out the residuals within a Transformer layer; here each layer is the pre-norm one of
  `keras_actrec.layers.TransformerBlock`. Of the keys 70 % count (predecessor), at least one.
- The temporal Transformer runs at each place of the map, (B*h*w, T, D): a next stage needs a map, and the text's b is
  then B*h*w. How its scales are made and merged: `keras_actrec.layers.MultiScaleTemporalEncoder`.
- Residual connections lie "between consecutive stages": what enters stages 2, 3 and 4 is added to what leaves them, by
  a strided 1x1x1 convolution where map or width change (He et al. 2016).
- What MFST-BM keeps is not quite clear; here it lacks what its sentence lists, and keeps the k-NN attention
  (`spatial_keys_kept: 1.0` turns it off) and the four stages.
- The head: average over T, H, W, layer normalisation, one hidden layer (gelu) of 512, dropout, logits.
- Frames are scaled to [-1, 1], depth too. Batch normalisation as in `i3d_inception`; weights start from Keras' default.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import keras
from keras import layers
from pydantic import Field

from keras_actrec.data.views import Normalization
from keras_actrec.errors import UserError
from keras_actrec.layers import (
    CentralDifferenceConv3D,
    Conv3D,
    MaxPooling3D,
    MultiScaleTemporalEncoder,
    NearestKeysAttention,
    TimeDistributed,
    TransformerBlock,
)
from keras_actrec.models.clips import ClipModelConfig, clip_inputs
from keras_actrec.models.frames import Count, Rate

Tensor = keras.KerasTensor
# Channels of a module: branch 0; branch 1's two convolutions; branch 2's two; branch 3.
Module = tuple[Count, Count, Count, Count, Count, Count]
THIRD = ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128))
MODULES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    ((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64)),
    THIRD,
    THIRD,
)


@dataclasses.dataclass(frozen=True)
class MFSTConfig(ClipModelConfig):
    """Central differences, then stages of space and time apart, for RGB and depth (Ma et al. 2023, MFST-Large)."""

    frames: Count = 32
    """Frames per clip, T."""
    size: Annotated[int, Field(ge=16)] = 224
    """Height and width of the frames, in pixels."""
    stages: Count = 4
    """How many of the stages described below there are: 3 for MFST-Base, 4 for MFST-Large."""
    stem_kind: Literal["auto", "st", "t", "vanilla"] = "auto"
    """Central differences of the stem: over space and time, over time, or none; auto: t for depth alone, else st."""
    theta: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Share of the central difference; 0: a plain convolution."""
    stem_widths: tuple[Count, Count, Count] = (64, 64, 192)
    """Channels of the stem's three convolutions."""
    stem_temporal_kernels: tuple[Count, Count] = (7, 3)
    """Frames that the stem's first and last convolution span, odd numbers."""
    stem_temporal_stride: Count = 1
    """Temporal stride of the stem's first convolution (I3D: 2)."""
    inception_widths: tuple[tuple[Module, Module], ...] = MODULES
    """For each stage its two Inception modules: channels of branch 0, of both convolutions of branches 1 and 2, and of
    branch 3, which pools."""
    pool_strides: tuple[Count, ...] = (2, 2, 1, 1)
    """For each stage, by what its max-pooling divides height and width."""
    widths: tuple[Count, ...] = (192, 256, 512, 512)
    """For each stage the width of its tokens, D."""
    spatial_layers: Count = 4
    """Transformer layers over space in each stage."""
    temporal_layers: Count = 4
    """Transformer layers over time in each stage, L."""
    heads: Count = 8
    """Attention heads of each layer."""
    head_dim: Count = 64
    """Width of a head."""
    dense_dim: Count = 768
    """Width of each layer's feed-forward network."""
    spatial_keys_kept: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of the places that each place attends to, those with the largest scores; 1: plain attention."""
    temporal_scales: tuple[Count, ...] = (1, 2, 4)
    """By what the number of frames is divided in each sequence of the temporal Transformer; [1]: a plain one."""
    share_scales: bool = True
    """Whether all scales of the temporal Transformer have the same weights."""
    residual: bool = True
    """Whether what enters a stage, from the second on, is added to what leaves it."""
    dropout: Rate = 0.0
    """Share of each Transformer sub-layer's output that is dropped."""
    head_units: Count = 512
    """Neurons of the head's hidden layer."""
    rematerialize: bool = False
    """Compute each Transformer layer's inside again for the gradient in place of keeping it: slower, less memory."""

    EXPECTED: ClassVar[Normalization] = "minus_one_one"

    def __post_init__(self) -> None:
        self._check_stages()
        self._check_time()

    @property
    def difference(self) -> str:
        """The kind of the stem's convolutions: st, t or vanilla."""
        if self.stem_kind != "auto":
            return self.stem_kind
        return "st" if "rgb" in self.modalities else "t"

    @property
    def frames_behind_stem(self) -> int:
        """Frames that the stages see."""
        return -(-self.frames // self.stem_temporal_stride)

    def _check_stages(self) -> None:
        for name in ("inception_widths", "pool_strides", "widths"):
            described = len(getattr(self, name))
            if described < self.stages:
                raise UserError(f"{name} describes {described} stages, but there are {self.stages}; name each stage's.")

    def _check_time(self) -> None:
        if any(frames % 2 == 0 for frames in self.stem_temporal_kernels):
            raise UserError(f"stem_temporal_kernels must be odd, got {list(self.stem_temporal_kernels)}.")
        if self.difference == "t" and max(self.stem_temporal_kernels) == 1:
            raise UserError("stem_kind t takes differences between frames; give stem_temporal_kernels such as [7, 3].")
        if any(self.frames_behind_stem % scale for scale in self.temporal_scales):
            raise UserError(
                f"{self.frames_behind_stem} frames behind the stem cannot be divided by temporal_scales "
                f"{list(self.temporal_scales)}; change data.frames or the scales."
            )


def build_mfst(config: MFSTConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, C) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    x = _stem(clip, config)
    for index in range(config.stages):
        x = _stage(x, config, index)
    return keras.Model(inputs, _head(x, config), name="mfst")


def _stem(clip: Tensor, config: MFSTConfig) -> Tensor:
    """CDC-Stem (Eq. 2.2): (B, T, H, W, C) -> (B, t, H / 8, W / 8, D), rounded up."""
    first, middle, last = config.stem_widths
    kernels = [(frames, side, side) for frames, side in zip(config.stem_temporal_kernels, (7, 3), strict=True)]
    x = _difference_unit(clip, first, kernels[0], config, "stem_conv1", (config.stem_temporal_stride, 2, 2))
    x = _pool(x, 2, "stem_pool1")
    x = _unit(x, middle, 1, "stem_conv2")
    x = _difference_unit(x, last, kernels[1], config, "stem_conv3")
    return _pool(x, 2, "stem_pool2")


def _stage(x: Tensor, config: MFSTConfig, index: int) -> Tensor:
    """One stage (Eq. 2.1): (B, t, h, w, C) -> (B, t, h / s, w / s, D), rounded up."""
    name = f"stage{index + 1}"
    mapped = _spatial_block(x, config, index, name)
    mapped = _temporal_block(mapped, config, name)
    if not config.residual or index == 0:
        return mapped
    return layers.Add(name=f"{name}_add")([mapped, _shortcut(x, mapped, config.pool_strides[index], name)])


def _spatial_block(x: Tensor, config: MFSTConfig, index: int, name: str) -> Tensor:
    """MSC-Trans (Eq. 2.7 and 2.8): (B, t, h, w, C) -> (B, t, h', w', D)."""
    for letter, widths in zip("ab", config.inception_widths[index], strict=True):
        x = _inception(x, widths, f"{name}_{letter}")
    x = _pool(x, config.pool_strides[index], f"{name}_pool")
    x = layers.Dense(config.widths[index], name=f"{name}_tokens")(x)
    _, frames, height, width, channels = x.shape
    x = layers.Reshape((frames, height * width, channels), name=f"{name}_places")(x)
    for number in range(1, config.spatial_layers + 1):
        x = TimeDistributed(_nearest_keys_block(config), name=f"{name}_space{number}")(x)
    return layers.Reshape((frames, height, width, channels), name=f"{name}_map")(x)


def _nearest_keys_block(config: MFSTConfig) -> TransformerBlock:
    return TransformerBlock(
        NearestKeysAttention(
            config.heads, keys_kept=float(config.spatial_keys_kept), head_dim=config.head_dim, name="attention"
        ),
        config.dense_dim,
        dropout=config.dropout,
        rematerialize=config.rematerialize,
        name="block",
    )


def _temporal_block(x: Tensor, config: MFSTConfig, name: str) -> Tensor:
    """WMS-Trans, the frames at each place being one sequence: (B, t, h, w, D) -> (B, t, h, w, D)."""
    _, frames, height, width, channels = x.shape
    encoder = MultiScaleTemporalEncoder(
        depth=config.temporal_layers,
        num_heads=config.heads,
        dense_dim=config.dense_dim,
        head_dim=config.head_dim,
        scales=config.temporal_scales,
        shared=config.share_scales,
        dropout=config.dropout,
        rematerialize=config.rematerialize,
        name="encoder",
    )
    x = layers.Permute((2, 3, 1, 4), name=f"{name}_places_first")(x)
    x = layers.Reshape((height * width, frames, channels), name=f"{name}_sequences")(x)
    x = TimeDistributed(encoder, name=f"{name}_time")(x)
    x = layers.Reshape((height, width, frames, channels), name=f"{name}_encoded")(x)
    return layers.Permute((3, 1, 2, 4), name=f"{name}_frames_first")(x)


def _shortcut(x: Tensor, like: Tensor, stride: int, name: str) -> Tensor:
    """Bring what entered a stage to the shape of what leaves it."""
    if x.shape == like.shape:
        return x
    return Conv3D(like.shape[-1], 1, strides=(1, stride, stride), name=f"{name}_shortcut")(x)


def _inception(x: Tensor, widths: Module, name: str) -> Tensor:
    """Join four branches that see one frame at a time: (B, t, h, w, C) -> (B, t, h, w, sum of the last widths)."""
    first, reduce1, second, reduce2, third, fourth = widths
    branch1 = _unit(x, reduce1, 1, f"{name}_branch1_reduce")
    branch2 = _unit(x, reduce2, 1, f"{name}_branch2_reduce")
    branches = [
        _unit(x, first, 1, f"{name}_branch0"),
        _unit(branch1, second, (1, 3, 3), f"{name}_branch1"),
        _unit(branch2, third, (1, 3, 3), f"{name}_branch2"),
        _unit(_pool(x, 1, f"{name}_branch3_pool"), fourth, 1, f"{name}_branch3"),
    ]
    return layers.Concatenate(name=name)(branches)


def _head(x: Tensor, config: MFSTConfig) -> Tensor:
    """Average and classify: (B, t, h, w, D) -> float32 (B, num_classes)."""
    x = layers.GlobalAveragePooling3D(name="average_pool")(x)
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.Dense(config.head_units, activation="gelu", name="hidden")(x)
    x = layers.Dropout(config.head_dropout, name="dropout")(x)
    return layers.Dense(config.num_classes, dtype="float32", name="logits")(x)


def _difference_unit(
    x: Tensor, width: int, kernel: tuple[int, ...], config: MFSTConfig, name: str, strides: tuple[int, ...] = (1, 1, 1)
) -> Tensor:
    """Convolve by central differences, normalise and rectify."""
    convolution = CentralDifferenceConv3D(
        width,
        kernel,
        kind=config.difference,
        theta=config.theta,
        strides=strides,
        padding="same",
        use_bias=False,
        name=f"{name}_conv",
    )
    return _rectified(convolution(x), name)


def _unit(x: Tensor, width: int, kernel: int | tuple[int, ...], name: str) -> Tensor:
    """Convolve without bias, normalise and rectify."""
    return _rectified(Conv3D(width, kernel, padding="same", use_bias=False, name=f"{name}_conv")(x), name)


def _rectified(x: Tensor, name: str) -> Tensor:
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _pool(x: Tensor, stride: int, name: str) -> Tensor:
    return MaxPooling3D((1, 3, 3), strides=(1, stride, stride), padding="same", name=name)(x)
