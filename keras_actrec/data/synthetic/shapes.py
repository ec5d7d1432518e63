"""What can be drawn: strokes, discs and polygons in three dimensions, one position per frame.

Positions are in body heights: x to the right of the picture once the scene is turned, y up, z towards the viewer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 255]."""


@dataclasses.dataclass(frozen=True)
class Stroke:
    """A straight limb with round ends: `start` and `end` are float (T, 3), `width` in body heights."""

    start: np.ndarray
    end: np.ndarray
    width: float
    colour: Colour

    @property
    def points(self) -> np.ndarray:
        """Both ends, float (T, 2, 3)."""
        return np.stack([self.start, self.end], axis=1)


@dataclasses.dataclass(frozen=True)
class Disc:
    """A ball: `centre` is float (T, 3), `radius` in body heights."""

    centre: np.ndarray
    radius: float
    colour: Colour

    @property
    def points(self) -> np.ndarray:
        """The centre, float (T, 1, 3)."""
        return self.centre[:, None]


@dataclasses.dataclass(frozen=True)
class Polygon:
    """A flat convex surface: `points` is float (T, P, 3)."""

    points: np.ndarray
    colour: Colour


Shape = Stroke | Disc | Polygon


def shade(colour: Iterable[float], factor: float) -> Colour:
    """Return a brighter (factor above 1) or darker colour."""
    red, green, blue = (float(min(255.0, max(0.0, part * factor))) for part in colour)
    return red, green, blue


def still(points: np.ndarray | list, frames: int) -> np.ndarray:
    """Repeat a constant position, float (..., 3), for every frame: float (T, ..., 3)."""
    points = np.asarray(points, dtype=np.float64)
    return np.broadcast_to(points, (frames, *points.shape))


def cuboid(centre: np.ndarray, half: tuple[float, float, float], colour: Colour) -> list[Shape]:
    """Return the six faces of an upright box around `centre`, float (T, 3); the top is lightest."""
    corner = np.array(half)
    faces: list[Shape] = []
    for axis, brightness in ((0, 0.8), (1, 1.15), (2, 1.0)):
        others = [index for index in range(3) if index != axis]
        for sign in (-1.0, 1.0):
            offsets = np.zeros((4, 3))
            offsets[:, axis] = sign * corner[axis]
            offsets[:, others[0]] = np.array([-1, 1, 1, -1]) * corner[others[0]]
            offsets[:, others[1]] = np.array([-1, -1, 1, 1]) * corner[others[1]]
            faces.append(Polygon(centre[:, None] + offsets, shade(colour, brightness)))
    return faces
