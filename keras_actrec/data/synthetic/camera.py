"""Where everything comes to lie in the picture: the turn of the scene and the moving camera."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_actrec.data.synthetic.levels import Level

REACH = 1.36
"""Height of an average figure with raised arms, in body heights."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera that looks slightly down and sways.

    Attributes:
        yaw: turn of the figure about the vertical axis, in radians.
        handedness: -1 mirrors the figure and its things, 1 does not.
        tilt: angle by which the camera looks down, in radians.
        matrices: float (T, 2, 3); maps scene pixels to picture pixels in every frame.
        origin: picture position of the point on the floor under the figure, in scene pixels (x, y).
        scale: scene pixels per body height.
    """

    yaw: float
    handedness: float
    tilt: float
    matrices: np.ndarray
    origin: tuple[float, float]
    scale: float

    @classmethod
    def random(cls, rng: np.random.Generator, level: Level, clock: np.ndarray, height: int, width: int) -> Camera:
        """Draw a camera for pictures of `height` x `width` pixels, with the figure about in the middle."""
        side = min(height, 1.15 * width)
        yaw = rng.choice([-1.0, 1.0]) * np.radians(rng.uniform(40 - level.yaw_deg, 40 + level.yaw_deg))
        scale = side * rng.uniform(*level.scale)
        offset = rng.uniform(-1, 1) * level.offset * side
        slack = max(0.0, height - REACH * scale)
        origin = (width / 2 + offset, height - slack * rng.uniform(0.3, 0.6) - 0.02 * height)
        matrices = _moves(rng, level, clock, height, width)
        return cls(yaw, rng.choice([-1.0, 1.0]), np.radians(rng.uniform(4, 14)), matrices, origin, scale)

    def turn(self, points: np.ndarray) -> np.ndarray:
        """Turn the figure's own coordinates, float (..., 3), into the scene's."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        x, y, z = self.handedness * points[..., 0], points[..., 1], points[..., 2]
        return np.stack([x * cos + z * sin, y, z * cos - x * sin], axis=-1)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map scene coordinates, float (T, P, 3), to pixels, float (T, P, 2), and nearness in body heights, (T, P)."""
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        down = -points[..., 1] * cos + points[..., 2] * sin
        flat = np.stack([points[..., 0], down], axis=-1) * self.scale + np.array(self.origin)
        moved = np.einsum("tij,tpj->tpi", self.matrices[:, :, :2], flat) + self.matrices[:, None, :, 2]
        return moved, points[..., 2] * cos + points[..., 1] * sin

    def away(self, distance: float) -> np.ndarray:
        """Return a displacement away from the viewer, float (3,), which moves nothing in the picture."""
        return -distance * np.array([0.0, np.sin(self.tilt), np.cos(self.tilt)])

    def zooms(self) -> np.ndarray:
        """Return the scale of every frame, float (T,)."""
        return np.sqrt(np.abs(np.linalg.det(self.matrices[:, :, :2])))


def _moves(rng: np.random.Generator, level: Level, clock: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draw a smooth hand-held movement: similarity transforms about the middle of the picture, float (T, 2, 3)."""
    zoom = 1.0 + level.zoom * _wander(rng, clock)
    roll = np.radians(level.roll_deg) * _wander(rng, clock)
    pan = np.stack([_wander(rng, clock) * level.pan * height, 0.4 * _wander(rng, clock) * level.pan * height], axis=-1)
    cos, sin = zoom * np.cos(roll), zoom * np.sin(roll)
    linear = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=1)
    middle = np.array([width / 2, height / 2])
    return np.concatenate([linear, (middle - linear @ middle + pan)[:, :, None]], axis=2)


def _wander(rng: np.random.Generator, clock: np.ndarray) -> np.ndarray:
    """Draw a slow random movement in [-1, 1], float (T,)."""
    phase, pace = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.1, 0.8, 2)
    return rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * pace * clock[:, None] + phase).mean(axis=1)
