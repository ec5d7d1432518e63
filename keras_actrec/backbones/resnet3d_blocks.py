"""What 3-D ResNets are made of: convolutions with PyTorch's padding, the basic block and the bottleneck.

Padding is k // 2 on either side of each axis. Keras' "same" pads less at the start where the stride is 2 and the size
even, and weights that were trained elsewhere would then look half a pixel beside; it stands wherever both are equal.

Layers are named as in keras.applications, so that 2-D weights are found by name. In a (2+1)D convolution `X` (Tran et
al. 2018, Sec. 3.5) the spatial half is `X_spatial_conv`, `X_spatial_bn`, `X_spatial_relu`; the temporal one `X_conv`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import keras
from keras import layers

from keras_actrec.layers import Conv3D, RepeatEdges

Triple = tuple[int, int, int]
Tensor = keras.KerasTensor
TemporalPadding = Literal["zeros", "edge"]
StrideOn = Literal["1x1", "3x3"]

MOMENTUM, EPSILON = 0.9, 1e-5
POINT: Triple = (1, 1, 1)
EXPANSION = 4
"""Width of a bottleneck's output over that of its inside (He et al. 2016)."""


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution without bias, and its batch normalisation.

    Attributes:
        width: output channels.
        kernel: size in T, H, W; odd numbers.
        stride: in T, H, W.
        mid_width: channels between the spatial and the temporal half of a (2+1)D convolution; None: one full kernel.
        temporal_padding: "zeros" or "edge" (the first and last frame again).
    """

    width: int
    kernel: Triple
    stride: Triple = POINT
    mid_width: int | None = None
    temporal_padding: TemporalPadding = "zeros"


@dataclasses.dataclass(frozen=True)
class Block:
    """A residual block.

    Attributes:
        width: channels of its convolutions; a bottleneck gives `EXPANSION` times as many.
        temporal_kernels: of its first and second convolution.
        stride: in T, H, W.
        stride_on: the bottleneck's convolution that has the spatial stride.
        factorised: (2+1)D convolutions (basic block).
        temporal_padding: as in `Convolution`.
    """

    width: int
    temporal_kernels: tuple[int, int]
    stride: Triple = POINT
    stride_on: StrideOn = "3x3"
    factorised: bool = False
    temporal_padding: TemporalPadding = "zeros"


def basic_block(x: Tensor, name: str, block: Block) -> Tensor:
    """Two convolutions over 3x3 pixels and the shortcut: (B, T, H, W, D) -> (B, t, h, w, block.width).

    In a factorised block both convolutions have the same width between their halves, that of the first one: with D, the
    block's width N and temporal kernel k, floor(9 k D N / (9 D + k N)), which keeps the parameters of a full kernel.
    """
    first, second = (
        Convolution(
            block.width,
            (frames, 3, 3),
            stride,
            _mid_width(x.shape[-1], block.width, frames) if block.factorised else None,
            block.temporal_padding,
        )
        for frames, stride in zip(block.temporal_kernels, (block.stride, POINT), strict=True)
    )
    shortcut = _shortcut(x, name, block.width, block.stride)
    x = layers.ReLU(name=f"{name}_1_relu")(convolve(x, f"{name}_1", first))
    return _join(convolve(x, f"{name}_2", second), shortcut, name)


def bottleneck_block(x: Tensor, name: str, block: Block) -> Tensor:
    """Convolutions over 1, 3x3 and 1 pixels and the shortcut: (B, T, H, W, D) -> (B, t, h, w, EXPANSION * width)."""
    first_frames, second_frames = block.temporal_kernels
    temporal, spatial = (block.stride[0], 1, 1), (1, *block.stride[1:])
    first_stride, second_stride = (block.stride, POINT) if block.stride_on == "1x1" else (temporal, spatial)
    padding = {"temporal_padding": block.temporal_padding}
    first = Convolution(block.width, (first_frames, 1, 1), first_stride, **padding)
    second = Convolution(block.width, (second_frames, 3, 3), second_stride, **padding)
    third = Convolution(EXPANSION * block.width, POINT)
    shortcut = _shortcut(x, name, third.width, block.stride)
    x = layers.ReLU(name=f"{name}_1_relu")(convolve(x, f"{name}_1", first))
    x = layers.ReLU(name=f"{name}_2_relu")(convolve(x, f"{name}_2", second))
    return _join(convolve(x, f"{name}_3", third), shortcut, name)


def convolve(x: Tensor, name: str, convolution: Convolution) -> Tensor:
    """Convolve and normalise: (B, T, H, W, D) -> (B, t, h, w, width); the layers' names begin with `name`."""
    if convolution.mid_width is not None:
        x = _convolve(x, f"{name}_spatial", _spatial_half(convolution))
        x = layers.ReLU(name=f"{name}_spatial_relu")(x)
        convolution = _temporal_half(convolution)
    return _convolve(x, name, convolution)


def pad(x: Tensor, name: str, amounts: Triple, temporal_padding: TemporalPadding = "zeros") -> Tensor:
    """Pad T, H, W on either side: with zeros, and time as `temporal_padding` says."""
    if temporal_padding == "edge" and amounts[0]:
        x = RepeatEdges(amounts[0], name=f"{name}_repeat")(x)
        amounts = (0, *amounts[1:])
    return layers.ZeroPadding3D(amounts, name=name)(x) if any(amounts) else x


def _convolve(x: Tensor, name: str, convolution: Convolution) -> Tensor:
    padding = "same"
    if not _same_is_symmetric(x, convolution):
        amounts = tuple(size // 2 for size in convolution.kernel)
        x = pad(x, f"{name}_pad", amounts, convolution.temporal_padding)
        padding = "valid"
    x = Conv3D(
        convolution.width,
        convolution.kernel,
        convolution.stride,
        padding,
        use_bias=False,
        # He et al. 2015, over what goes out of the layer, as 3-D ResNets are published.
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_bn")(x)


def _same_is_symmetric(x: Tensor, convolution: Convolution) -> bool:
    """Whether Keras' "same" pads k // 2 zeros at the start of each axis."""
    if convolution.temporal_padding == "edge" and convolution.kernel[0] > 1:
        return False
    axes = zip(x.shape[1:4], convolution.kernel, convolution.stride, strict=True)
    return all(kernel == 1 or stride == 1 or (size - 1) % stride == 0 for size, kernel, stride in axes)


def _spatial_half(convolution: Convolution) -> Convolution:
    kernel, stride = (1, *convolution.kernel[1:]), (1, *convolution.stride[1:])
    return dataclasses.replace(convolution, width=convolution.mid_width, kernel=kernel, stride=stride, mid_width=None)


def _temporal_half(convolution: Convolution) -> Convolution:
    kernel, stride = (convolution.kernel[0], 1, 1), (convolution.stride[0], 1, 1)
    return dataclasses.replace(convolution, kernel=kernel, stride=stride, mid_width=None)


def _mid_width(inputs: int, outputs: int, frames: int) -> int:
    """Tran et al. 2018, Sec. 3.5, for kernels over 3x3 pixels."""
    return (9 * frames * inputs * outputs) // (9 * inputs + frames * outputs)


def _shortcut(x: Tensor, name: str, width: int, stride: Triple) -> Tensor:
    """The input itself, or a projection where its shape changes."""
    if x.shape[-1] == width and stride == POINT:
        return x
    return convolve(x, f"{name}_0", Convolution(width, POINT, stride))


def _join(x: Tensor, shortcut: Tensor, name: str) -> Tensor:
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))
