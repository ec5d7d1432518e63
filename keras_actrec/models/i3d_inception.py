"""I3D on Inception-v1: Carreira and Zisserman 2017, "Quo Vadis, Action Recognition? A New Model and the Kinetics
Dataset" (arXiv 1705.07750), Sec. 2.4 and Fig. 3; widths of Inception-v1 by Szegedy et al. 2015, Table 1.

Stages: 7x7x7 stem of stride 2 -> 1x1x1 and 3x3x3 convolution -> nine Inception modules in three groups, a max-pooling
before each -> average pooling 2x7x7 -> dropout -> logits at each position -> their mean. The first two poolings leave
time alone. Each convolution is followed by batch normalisation and ReLU; layers are named as in the original.

Deviations and ambiguities, and how they were settled:
- The original's batch normalisation has no scale, its PyTorch version by Piergiovanni has one. Here it has one.
- Batch normalisation: epsilon 1e-3 as in both; momentum 0.9, because the small runs of this package take few steps.
- The original names the second convolution of `Mixed_5b`'s third branch "Conv3d_0a_3x3"; here it is "0b" as elsewhere.
- The average pooling shrinks to the feature map where that is smaller than 2x7x7, so that small frames can be used.
- Weights start from Keras' default, Glorot's distribution.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import keras
from keras import layers
from pydantic import Field

from keras_actrec.data.views import Normalization
from keras_actrec.layers import MaxPooling3D
from keras_actrec.models.clips import ClipModelConfig, clip_inputs
from keras_actrec.models.frames import Count

Tensor = keras.KerasTensor
# Channels of a module: branch 0; branch 1's two convolutions; branch 2's two; branch 3.
MODULES = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Name, window and strides of the pooling before a module.
POOLS = {
    "Mixed_3b": ("MaxPool3d_3a_3x3", (1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ("MaxPool3d_4a_3x3", (3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ("MaxPool3d_5a_2x2", (2, 2, 2), (2, 2, 2)),
}
HEAD_WINDOW = (2, 7, 7)


@dataclasses.dataclass(frozen=True)
class I3DInceptionConfig(ClipModelConfig):
    """Inception-v1 with its kernels inflated into time (Carreira and Zisserman 2017, I3D)."""

    frames: Count = 64
    """Frames per clip, T."""
    size: Annotated[int, Field(ge=16)] = 224
    """Height and width of the frames, in pixels."""
    width_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Factor on the channels of every convolution, for smaller networks; rounded, at least one channel."""

    EXPECTED: ClassVar[Normalization] = "minus_one_one"


def build_i3d_inception(config: I3DInceptionConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    x = _stem(clip, config)
    for name, widths in MODULES.items():
        if name in POOLS:
            x = _max_pool(x, *POOLS[name])
        x = _inception(x, [_width(width, config) for width in widths], name)
    return keras.Model(inputs, _head(x, config), name="i3d_inception")


def _stem(clip: Tensor, config: I3DInceptionConfig) -> Tensor:
    """(B, T, H, W, 3) -> (B, T // 2, H // 4, W // 4, 192), rounded up."""
    x = _unit(clip, _width(64, config), 7, "Conv3d_1a_7x7", strides=2)
    x = _max_pool(x, "MaxPool3d_2a_3x3", (1, 3, 3), (1, 2, 2))
    x = _unit(x, _width(64, config), 1, "Conv3d_2b_1x1")
    return _unit(x, _width(192, config), 3, "Conv3d_2c_3x3")


def _inception(x: Tensor, widths: list[int], name: str) -> Tensor:
    """Join four branches: (B, t, h, w, C) -> (B, t, h, w, sum of the branches' last widths)."""
    first, reduce1, second, reduce2, third, fourth = widths
    branch1 = _unit(x, reduce1, 1, f"{name}_Branch_1_Conv3d_0a_1x1")
    branch2 = _unit(x, reduce2, 1, f"{name}_Branch_2_Conv3d_0a_1x1")
    branch3 = _max_pool(x, f"{name}_Branch_3_MaxPool3d_0a_3x3", 3, 1)
    branches = [
        _unit(x, first, 1, f"{name}_Branch_0_Conv3d_0a_1x1"),
        _unit(branch1, second, 3, f"{name}_Branch_1_Conv3d_0b_3x3"),
        _unit(branch2, third, 3, f"{name}_Branch_2_Conv3d_0b_3x3"),
        _unit(branch3, fourth, 1, f"{name}_Branch_3_Conv3d_0b_1x1"),
    ]
    return layers.Concatenate(name=name)(branches)


def _head(x: Tensor, config: I3DInceptionConfig) -> Tensor:
    """Classify each position and average the logits: (B, t, h, w, C) -> float32 (B, num_classes)."""
    window = tuple(min(most, size) for most, size in zip(HEAD_WINDOW, x.shape[1:4], strict=True))
    x = layers.AveragePooling3D(window, strides=1, name="average_pool")(x)
    x = layers.Dropout(config.head_dropout, name="dropout")(x)
    x = layers.Dense(config.num_classes, dtype="float32", name="logits")(x)
    return layers.GlobalAveragePooling3D(name="position_pool", dtype="float32")(x)


def _unit(x: Tensor, width: int, kernel: int, name: str, strides: int = 1) -> Tensor:
    """Convolve without bias, normalise and rectify."""
    x = layers.Conv3D(width, kernel, strides=strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _max_pool(x: Tensor, name: str, window: int | tuple[int, ...], strides: int | tuple[int, ...]) -> Tensor:
    return MaxPooling3D(window, strides=strides, padding="same", name=name)(x)


def _width(width: int, config: I3DInceptionConfig) -> int:
    return max(1, round(width * config.width_factor))
