"""PyTorchVideo's slow_r50 and i3d_r50 by their published layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Stem(nn.Module):
    """conv, norm, ReLU, pooling."""

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, width, (frames, 7, 7), (1, 2, 2), (frames // 2, 3, 3), bias=False)
        self.norm = nn.BatchNorm3d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool3d(torch.relu(self.norm(self.conv(x))), (1, 3, 3), (1, 2, 2), (0, 1, 1))


class Branch(nn.Module):
    """conv_a over time, conv_b over space with the stride, conv_c."""

    def __init__(self, inputs: int, inner: int, frames: int, stride: int) -> None:
        super().__init__()
        self.conv_a = nn.Conv3d(inputs, inner, (frames, 1, 1), 1, (frames // 2, 0, 0), bias=False)
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.norm_b = nn.BatchNorm3d(inner)
        self.conv_c = nn.Conv3d(inner, 4 * inner, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(4 * inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm_a(self.conv_a(x)))
        x = torch.relu(self.norm_b(self.conv_b(x)))
        return self.norm_c(self.conv_c(x))


class Block(nn.Module):
    """branch2 and, where the shape changes, branch1."""

    def __init__(self, inputs: int, inner: int, frames: int, stride: int) -> None:
        super().__init__()
        self.branch1_conv = None
        if stride != 1 or inputs != 4 * inner:
            self.branch1_conv = nn.Conv3d(inputs, 4 * inner, 1, (1, stride, stride), bias=False)
            self.branch1_norm = nn.BatchNorm3d(4 * inner)
        self.branch2 = Branch(inputs, inner, frames, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.branch1_conv is None else self.branch1_norm(self.branch1_conv(x))
        return torch.relu(shortcut + self.branch2(x))


class Stage(nn.Module):
    """res_blocks."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.res_blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.res_blocks:
            x = block(x)
        return x


class Head(nn.Module):
    """proj of each place of a pooled map, then their mean."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x.mean((2, 3, 4)))


class Net(nn.Module):
    """blocks."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def resnet(
    width: int,
    num_classes: int,
    stem_frames: int,
    kernels: Sequence[Sequence[int]],
    pooled: bool,
    depths: Sequence[int],
) -> nn.Module:
    """Build a network; `kernels` are the frames of conv_a in each stage, repeated over its blocks."""
    blocks: list[nn.Module] = [Stem(width, stem_frames)]
    inputs = width
    for stage, depth in enumerate(depths):
        inner = width * 2**stage
        frames = [kernels[stage][number % len(kernels[stage])] for number in range(depth)]
        stage_blocks = [Block(inputs, inner, frames[0], 1 if stage == 0 else 2)]
        stage_blocks += [Block(4 * inner, inner, size, 1) for size in frames[1:]]
        blocks.append(Stage(stage_blocks))
        if stage == 0 and pooled:
            blocks.append(nn.MaxPool3d((2, 1, 1), (2, 1, 1)))
        inputs = 4 * inner
    return Net([*blocks, Head(inputs, num_classes)])


def slow_r50(num_classes: int = 400, width: int = 64, depths: Sequence[int] = (3, 4, 6, 3)) -> nn.Module:
    """No time in the stem and the first two stages."""
    return resnet(width, num_classes, 1, [[1], [1], [3], [3]], pooled=False, depths=depths)


def i3d_r50(num_classes: int = 400, width: int = 64, depths: Sequence[int] = (3, 4, 6, 3)) -> nn.Module:
    """Every other block sees three frames; pooling over time after the first stage."""
    return resnet(width, num_classes, 5, [[3], [3, 1], [3, 1], [1, 3]], pooled=True, depths=depths)
