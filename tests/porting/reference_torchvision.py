"""The video ResNets of torchvision by their published layout: names, kernels, strides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

Convolution = Callable[..., nn.Module]


def full(inputs: int, outputs: int, middle: int, stride: int = 1) -> nn.Conv3d:
    """3x3x3."""
    return nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)


def flat(inputs: int, outputs: int, middle: int, stride: int = 1) -> nn.Conv3d:
    """1x3x3, which leaves time alone."""
    return nn.Conv3d(inputs, outputs, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)


def factorised(inputs: int, outputs: int, middle: int, stride: int = 1) -> nn.Sequential:
    """1x3x3, then 3x1x1."""
    return nn.Sequential(
        nn.Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(),
        nn.Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


class Block(nn.Module):
    """conv1, conv2 and the shortcut."""

    def __init__(self, convolution: Convolution, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        middle = (inputs * outputs * 27) // (inputs * 9 + 3 * outputs)
        self.conv1 = nn.Sequential(convolution(inputs, outputs, middle, stride), nn.BatchNorm3d(outputs), nn.ReLU())
        self.conv2 = nn.Sequential(convolution(outputs, outputs, middle), nn.BatchNorm3d(outputs))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            strides = (1, stride, stride) if convolution is flat else stride
            self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, strides, bias=False), nn.BatchNorm3d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.conv2(self.conv1(x)) + shortcut)


class VideoResNet(nn.Module):
    """stem, layer1 to layer4, fc."""

    def __init__(
        self, stem: nn.Sequential, convolutions: Sequence[Convolution], width: int, num_classes: int, depth: int = 2
    ) -> None:
        super().__init__()
        self.stem = stem
        inputs = width
        for number, convolution in enumerate(convolutions, start=1):
            outputs = width * 2 ** (number - 1)
            blocks = [Block(convolution, inputs, outputs, 1 if number == 1 else 2)]
            blocks += [Block(convolution, outputs, outputs, 1) for _ in range(depth - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            inputs = outputs
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.fc(x.mean((2, 3, 4)))


def basic_stem(width: int) -> nn.Sequential:
    """3x7x7."""
    return nn.Sequential(
        nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(width), nn.ReLU()
    )


def factorised_stem(width: int, middle: int = 45) -> nn.Sequential:
    """1x7x7, then 3x1x1."""
    return nn.Sequential(
        nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(),
        nn.Conv3d(middle, width, (3, 1, 1), 1, (1, 0, 0), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(),
    )


def r3d_18(num_classes: int = 400, width: int = 64, depth: int = 2) -> nn.Module:
    """3x3x3 everywhere."""
    return VideoResNet(basic_stem(width), [full] * 4, width, num_classes, depth)


def mc3_18(num_classes: int = 400, width: int = 64) -> nn.Module:
    """3x3x3 in the first stage, 1x3x3 in the others."""
    return VideoResNet(basic_stem(width), [full, flat, flat, flat], width, num_classes)


def r2plus1d_18(num_classes: int = 400, width: int = 64) -> nn.Module:
    """(2+1)D everywhere."""
    return VideoResNet(factorised_stem(width), [factorised] * 4, width, num_classes)
