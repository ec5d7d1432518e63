"""pytorch-i3d's InceptionI3d by its published layout, with TensorFlow's "same" padding in each unit."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import max_pool3d, pad

Triple = tuple[int, int, int]
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
POOLS = {"Mixed_3b": ((1, 3, 3), (1, 2, 2)), "Mixed_4b": ((3, 3, 3), (2, 2, 2)), "Mixed_5b": ((2, 2, 2), (2, 2, 2))}


def same(x: torch.Tensor, kernel: Triple, stride: Triple) -> torch.Tensor:
    """Pad so that each axis has ceil(size / stride) windows; the odd zero goes behind."""
    amounts: list[int] = []
    for size, width, step in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((-(-size // step) - 1) * step + width - size, 0)
        amounts = [total // 2, total - total // 2, *amounts]
    return pad(x, amounts)


def pool(x: torch.Tensor, kernel: Triple, stride: Triple) -> torch.Tensor:
    """Max-pool with that padding."""
    return max_pool3d(same(x, kernel, stride), kernel, stride)


class Unit(nn.Module):
    """conv3d, and bn with a ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, plain: bool = False) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, size, stride, bias=plain)
        self.bn = None if plain else nn.BatchNorm3d(outputs, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv3d(same(x, self.conv3d.kernel_size, self.conv3d.stride))
        return x if self.bn is None else torch.relu(self.bn(x))


class Inception(nn.Module):
    """b0, b1a, b1b, b2a, b2b, b3b."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = Unit(inputs, widths[0], 1)
        self.b1a, self.b1b = Unit(inputs, widths[1], 1), Unit(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit(inputs, widths[3], 1), Unit(widths[3], widths[4], 3)
        self.b3b = Unit(inputs, widths[5], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


class InceptionI3d(nn.Module):
    """Logits at each time of the pooled map, averaged."""

    def __init__(self, num_classes: int, factor: float) -> None:
        super().__init__()
        narrow = lambda widths: tuple(max(1, round(width * factor)) for width in widths)  # noqa: E731
        first, last = narrow((64, 192))
        self.Conv3d_1a_7x7 = Unit(3, first, 7, 2)
        self.Conv3d_2b_1x1 = Unit(first, first, 1)
        self.Conv3d_2c_3x3 = Unit(first, last, 3)
        inputs = last
        for name, widths in MODULES.items():
            one, _, two, _, three, four = narrow(widths)
            self.add_module(name, Inception(inputs, narrow(widths)))
            inputs = one + two + three + four
        self.logits = Unit(inputs, num_classes, 1, plain=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in MODULES:
            if name in POOLS:
                x = pool(x, *POOLS[name])
            x = getattr(self, name)(x)
        x = nn.functional.avg_pool3d(x, (2, 7, 7), 1)
        return self.logits(x).squeeze(4).squeeze(3).mean(2)


def inception_i3d(num_classes: int = 400, factor: float = 1.0) -> nn.Module:
    """Widths times `factor`."""
    return InceptionI3d(num_classes, factor)
