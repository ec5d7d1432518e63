"""3-D ResNets by description: clip (B, T, H, W, 3) -> feature map (B, t, h, w, D).

One builder for the inflated ResNet-50 (Carreira and Zisserman 2017; Wang et al. 2018), the slow pathway of SlowFast
(Feichtenhofer et al. 2019) and the eighteen-layer networks of Tran et al. 2018. What they differ in is data.

Layers are named as in keras.applications: `conv1_conv`, `conv1_bn`, `conv1_relu`, `pool1_pool`, then for stage s from 2
and block b from 1 `conv{s}_block{b}_0_conv` (shortcut), `_1_conv` ... and `conv{s}_block{b}_out`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import keras
from keras import layers

from keras_actrec.backbones.resnet3d_blocks import (
    Block,
    Convolution,
    StrideOn,
    TemporalPadding,
    Triple,
    basic_block,
    bottleneck_block,
    convolve,
    pad,
)
from keras_actrec.errors import UserError
from keras_actrec.layers import MaxPooling3D

AfterBlock = Callable[[str, keras.KerasTensor], keras.KerasTensor]
BLOCKS = {"basic": basic_block, "bottleneck": bottleneck_block}
FIRST_STAGE = 2


@dataclasses.dataclass(frozen=True)
class Pool:
    """Max-pooling behind a ReLU.

    Attributes:
        kernel, stride: in T, H, W.
        padded: k // 2 zeros on either side of H and W, and of T; without, the rest that fills no window is dropped.
    """

    kernel: Triple = (1, 3, 3)
    stride: Triple = (1, 2, 2)
    padded: bool = True


@dataclasses.dataclass(frozen=True)
class Stem:
    """The first convolution.

    Attributes:
        kernel, stride: in T, H, W.
        pool: what follows it, or None.
        mid_width: channels between the halves of a (2+1)D stem; None: one full kernel.
    """

    kernel: Triple = (3, 7, 7)
    stride: Triple = (1, 2, 2)
    pool: Pool | None = Pool()
    mid_width: int | None = None


@dataclasses.dataclass(frozen=True)
class ResNet3D:
    """A 3-D ResNet.

    Attributes:
        block: "basic" (two convolutions over 3x3 pixels) or "bottleneck" (1, 3x3, 1).
        depths: blocks of each stage.
        base_width: channels of the stem and of the first stage's convolutions; each stage doubles them.
        stem: the first convolution.
        temporal_kernels: for each stage, the temporal kernels of its blocks, repeated until the stage is full: of a
            bottleneck's first convolution, of both convolutions of a basic block.
        middle_temporal_kernel: of the bottlenecks' second convolutions.
        temporal_strides: of each stage's first block.
        factorised: (2+1)D convolutions in basic blocks.
        stride_on: the convolution of a bottleneck that has the spatial stride: "1x1" as in keras.applications and
            Caffe2, "3x3" as in PyTorch.
        temporal_pool: what follows stage 2, or None.
        temporal_padding: what convolutions see beyond the first and last frame: "zeros", or the "edge" frame again.

    Raises:
        UserError: if the numbers do not fit each other.
    """

    block: Literal["basic", "bottleneck"] = "bottleneck"
    depths: tuple[int, ...] = (3, 4, 6, 3)
    base_width: int = 64
    stem: Stem = Stem()
    temporal_kernels: tuple[tuple[int, ...], ...] = ((1,), (1,), (3,), (3,))
    middle_temporal_kernel: int = 1
    temporal_strides: tuple[int, ...] = (1, 1, 1, 1)
    factorised: bool = False
    stride_on: StrideOn = "3x3"
    temporal_pool: Pool | None = None
    temporal_padding: TemporalPadding = "zeros"

    def __post_init__(self) -> None:
        stages = {"temporal_kernels": len(self.temporal_kernels), "temporal_strides": len(self.temporal_strides)}
        for name, number in stages.items():
            if number != len(self.depths):
                raise UserError(f"{name}: expected one for each of {len(self.depths)} stages (depths), got {number}.")
        kernels = [size for stage in self.temporal_kernels for size in stage]
        for size in (*kernels, self.middle_temporal_kernel, *self.stem.kernel):
            if size < 1 or size % 2 == 0:
                raise UserError(f"kernels of a 3-D ResNet have odd sizes, got {size}.")
        if not all(self.temporal_kernels):
            raise UserError("temporal_kernels of a 3-D ResNet: each stage needs at least one number.")

    def named_blocks(self) -> dict[str, Block]:
        """Return every residual block under its name, first to last."""
        return {
            f"conv{stage + FIRST_STAGE}_block{number + 1}": self._block(stage, number)
            for stage, depth in enumerate(self.depths)
            for number in range(depth)
        }

    def _block(self, stage: int, number: int) -> Block:
        frames = self.temporal_kernels[stage][number % len(self.temporal_kernels[stage])]
        second = frames if self.block == "basic" else self.middle_temporal_kernel
        side = 2 if stage > 0 else 1
        return Block(
            width=self.base_width * 2**stage,
            temporal_kernels=(frames, second),
            stride=(self.temporal_strides[stage], side, side) if number == 0 else (1, 1, 1),
            stride_on=self.stride_on,
            factorised=self.factorised,
            temporal_padding=self.temporal_padding,
        )


def resnet3d_features(
    clip: keras.KerasTensor, network: ResNet3D, after_block: AfterBlock | None = None
) -> keras.KerasTensor:
    """Apply a 3-D ResNet without its head: (B, T, H, W, 3) -> (B, t, h, w, D).

    D is the last stage's width, times `EXPANSION` for bottlenecks.

    Args:
        clip: the normalised clip.
        network: what is built.
        after_block: called as `after_block("conv3_block2", x)` with the output of each block; the next block gets what
            it returns.

    Raises:
        UserError: if poolings leave nothing of the clip.
    """
    x = _stem(clip, network)
    for name, block in network.named_blocks().items():
        if name == f"conv{FIRST_STAGE + 1}_block1" and network.temporal_pool is not None:
            x = _max_pool(x, f"pool{FIRST_STAGE}", network.temporal_pool)
        x = BLOCKS[network.block](x, name, block)
        if after_block is not None:
            x = after_block(name, x)
    return x


def _stem(clip: keras.KerasTensor, network: ResNet3D) -> keras.KerasTensor:
    stem = network.stem
    convolution = Convolution(network.base_width, stem.kernel, stem.stride, stem.mid_width, network.temporal_padding)
    x = layers.ReLU(name="conv1_relu")(convolve(clip, "conv1", convolution))
    return x if stem.pool is None else _max_pool(x, "pool1", stem.pool)


def _max_pool(x: keras.KerasTensor, name: str, pool: Pool) -> keras.KerasTensor:
    if pool.padded:
        # Zeros change no maximum behind a ReLU.
        x = pad(x, f"{name}_pad", tuple(size // 2 for size in pool.kernel))
    if any(size < kernel for size, kernel in zip(x.shape[1:4], pool.kernel, strict=True)):
        raise UserError(
            f"the clip is too small: '{name}' pools {pool.kernel} frames, rows and columns, but only "
            f"{x.shape[1:4]} are left; give more frames (data.frames), larger ones (data.size), or less pooling."
        )
    return MaxPooling3D(pool.kernel, pool.stride, name=f"{name}_pool")(x)
