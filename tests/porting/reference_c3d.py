"""C3D by its published layouts: with the layers' own names, and as a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

WIDTHS = (64, 128, 256, 512, 512)
NAMES = (("conv1",), ("conv2",), ("conv3a", "conv3b"), ("conv4a", "conv4b"), ("conv5a", "conv5b"))


def pool(number: int) -> nn.MaxPool3d:
    """1x2x2 first, then 2x2x2; the last one is padded."""
    size = (1, 2, 2) if number == 1 else 2
    return nn.MaxPool3d(size, size, (0, 1, 1) if number == 5 else 0)


class C3D(nn.Module):
    """conv1 to conv5b, fc6 to fc8, for clips of 16 x 112 x 112."""

    def __init__(self, num_classes: int, widths: Sequence[int], units: int) -> None:
        super().__init__()
        inputs = 3
        for width, names in zip(widths, NAMES, strict=True):
            for name in names:
                setattr(self, name, nn.Conv3d(inputs, width, 3, padding=1))
                inputs = width
        self.fc6 = nn.Linear(16 * inputs, units)
        self.fc7 = nn.Linear(units, units)
        self.fc8 = nn.Linear(units, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, names in enumerate(NAMES, start=1):
            for name in names:
                x = torch.relu(getattr(self, name)(x))
            x = pool(number)(x)
        x = torch.relu(self.fc6(x.flatten(1)))
        return self.fc8(torch.relu(self.fc7(x)))


class Sequence3D(nn.Module):
    """features and classifier."""

    def __init__(self, num_classes: int, widths: Sequence[int], units: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for number, (width, names) in enumerate(zip(widths, NAMES, strict=True), start=1):
            for _ in names:
                layers += [nn.Conv3d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
            layers.append(pool(number))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Linear(16 * inputs, units), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(units, units), nn.ReLU(), nn.Dropout()),
            nn.Linear(units, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


def c3d(num_classes: int = 487, widths: Sequence[int] = WIDTHS, units: int = 4096) -> nn.Module:
    """Names as the layers have."""
    return C3D(num_classes, widths, units)


def c3d_sequential(num_classes: int = 487, widths: Sequence[int] = WIDTHS, units: int = 4096) -> nn.Module:
    """Names by position."""
    return Sequence3D(num_classes, widths, units)
