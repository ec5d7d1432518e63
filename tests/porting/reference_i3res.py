"""The layout of pytorch-resnet3d: an inflated ResNet-50, with and without non-local blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import max_pool3d

KERNELS = ((3,), (3, 1), (3, 1), (1, 3))


class NonLocal(nn.Module):
    """Embedded Gaussian with scaled products; keys and values see a map of half the height and width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width // 2
        self.theta, self.phi, self.g = (nn.Conv3d(width, inner, 1) for _ in range(3))
        self.out = nn.Conv3d(inner, width, 1)
        self.bn = nn.BatchNorm3d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = max_pool3d(x, (1, 2, 2), (1, 2, 2))
        queries, keys, values = (part.flatten(2) for part in (self.theta(x), self.phi(pooled), self.g(pooled)))
        scores = torch.softmax(queries.transpose(1, 2) @ keys * queries.shape[1] ** -0.5, dim=-1)
        gathered = (values @ scores.transpose(1, 2)).reshape(x.shape[0], -1, *x.shape[2:])
        return x + self.bn(self.out(gathered))


class Bottleneck(nn.Module):
    """Three convolutions; the stride is on the second."""

    def __init__(self, inputs: int, inner: int, frames: int, stride: int, attends: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, inner, (frames, 1, 1), 1, (frames // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(inner, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, 4 * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * inner)
        self.downsample = None
        if stride != 1 or inputs != 4 * inner:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, 4 * inner, 1, (1, stride, stride), bias=False), nn.BatchNorm3d(4 * inner)
            )
        self.nl = NonLocal(4 * inner) if attends else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = torch.relu(self.bn3(self.conv3(x)) + shortcut)
        return x if self.nl is None else self.nl(x)


class I3Res50(nn.Module):
    """conv1 with stride 2 in time, two poolings over time without padding, layer1 to layer4, fc."""

    def __init__(self, num_classes: int, width: int, use_nl: bool, depths: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, (5, 7, 7), 2, (2, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        inputs = width
        for stage, depth in enumerate(depths):
            inner, blocks = width * 2**stage, []
            for number in range(depth):
                frames = KERNELS[stage][number % len(KERNELS[stage])]
                attends = use_nl and stage in (1, 2) and number % 2 == 1
                blocks.append(Bottleneck(inputs, inner, frames, 2 if stage and not number else 1, attends))
                inputs = 4 * inner
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = max_pool3d(torch.relu(self.bn1(self.conv1(x))), (2, 3, 3), 2)
        x = max_pool3d(self.layer1(x), (2, 1, 1), (2, 1, 1))
        return self.fc(self.layer4(self.layer3(self.layer2(x))).mean((2, 3, 4)))


def i3res50(
    num_classes: int = 400, width: int = 64, use_nl: bool = False, depths: Sequence[int] = (3, 4, 6, 3)
) -> nn.Module:
    """With `use_nl`, a non-local block behind every second block of the second and third stage."""
    return I3Res50(num_classes, width, use_nl, depths)
