"""Where it happens: a textured wall and floor, shapes that drift by, and things in front.

A backdrop is an RGBD picture: the fourth channel is the depth in grey levels, as everywhere in this package bright is
near. It is larger than the frames, so that the camera can move over it.
"""

from __future__ import annotations

import colorsys
import dataclasses

import cv2
import numpy as np

from keras_actrec.data.synthetic import props
from keras_actrec.data.synthetic.levels import Level
from keras_actrec.data.synthetic.shapes import Colour, Disc, Polygon, Shape, shade, still

WALL_DEPTH, NEAR_FLOOR_DEPTH = 35, 120
"""Grey levels of the depth of the wall and of the floor's front edge."""

MARGIN = 1.5
"""Size of a backdrop relative to the frame."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """One place.

    Attributes:
        wall, floor: main colours.
        colours: of props, clutter and occluders.
        pattern: name of the wall's pattern.
        seed: of the texture.
        texture: its strength in grey levels.
        horizon: where the floor meets the wall, in body heights behind the figure's feet.
    """

    wall: Colour
    floor: Colour
    colours: tuple[Colour, ...]
    pattern: str
    seed: int
    texture: float
    horizon: float

    @classmethod
    def random(cls, rng: np.random.Generator, level: Level) -> Scene:
        """Draw a place."""
        wall = _muted(rng, level.wall, level.saturation[0])
        colours = tuple(_muted(rng, level.clutter_value, level.saturation[1]) for _ in range(6))
        pattern = str(rng.choice(["plain", "stripes", "tiles", "bricks", "panels", "dots"]))
        texture = level.texture * rng.uniform(0.5, 1.0)
        return cls(
            wall,
            _muted(rng, level.wall, level.saturation[0]),
            colours,
            pattern,
            int(rng.integers(2**31)),
            texture,
            rng.uniform(0.1, 0.3),
        )

    def backdrop(self, height: int, width: int, floor_row: float) -> np.ndarray:
        """Paint wall and floor.

        Args:
            height: of the picture, in pixels.
            width: likewise.
            floor_row: row at which the floor begins.

        Returns:
            uint8 (height, width, 4): red, green, blue, depth.
        """
        rng = np.random.default_rng(self.seed)
        row = int(np.clip(floor_row, 1, height - 1))
        picture = np.empty((height, width, 4), np.float32)
        picture[:row, :, :3], picture[row:, :, :3] = self.wall, self.floor
        picture[:row, :, 3] = WALL_DEPTH
        picture[row:, :, 3] = np.linspace(WALL_DEPTH, NEAR_FLOOR_DEPTH, height - row)[:, None]
        relief = _pattern(self.pattern, rng, height, width)
        relief[row:] = _planks(rng, height - row, width)
        relief += _clouds(rng, height, width) + np.linspace(0.5, -0.5, height)[:, None] * rng.uniform(-1, 1.5)
        picture[:, :, :3] += self.texture * relief[:, :, None]
        picture[row : row + 2, :, :3] *= 0.7
        return np.clip(picture, 0, 255).astype(np.uint8)

    def clutter(self, rng: np.random.Generator, level: Level, clock: np.ndarray) -> list[Shape]:
        """Draw shapes that drift between the wall and the figure, and slowly turn."""
        return [self._drifting(rng, clock) for _ in range(rng.integers(level.clutter // 2, level.clutter + 1))]

    def occluders(self, rng: np.random.Generator, level: Level, clock: np.ndarray) -> list[Shape]:
        """Draw things in front of the figure: posts, a low wall, leaves that sway into the picture."""
        kinds = (_post, _ledge, _leaf)
        count = rng.integers(0, level.occluders + 1)
        return [kinds[rng.integers(len(kinds))](rng, self._colour(rng), clock) for _ in range(count)]

    def furniture(self, rng: np.random.Generator, level: Level, frames: int) -> list[Shape]:
        """Draw things that merely stand about, so that a chair or a door does not give the class away."""
        sign, parts = rng.choice([-1.0, 1.0]), []
        if rng.random() < level.props:
            spot = np.array([sign * rng.uniform(0.0, 0.45), rng.uniform(0.2, 0.26), rng.uniform(-0.38, -0.25)])
            parts += props.chair(spot, self._colour(rng), frames, rng.choice([0.0, 0.22, 0.3]))
        if rng.random() < level.props:
            half = rng.uniform(0.06, 0.1)
            spot = np.array([-sign * rng.uniform(0.1, 0.4), 0.8 * half, rng.uniform(0.0, 0.3)])
            parts += props.box(still(spot, frames), half, self._colour(rng))
        if rng.random() < level.props:
            spot = np.array([rng.uniform(-0.4, 0.4), 0.06, rng.uniform(0.1, 0.3)])
            parts += props.ball(still(spot, frames), 0.06, self._colour(rng))
        if rng.random() < level.props:
            angle = np.full(frames, rng.choice([0.0, rng.uniform(0.0, 100.0)]))
            parts += props.door(-sign * 0.28, -sign * 0.7, -0.3, angle, self._colour(rng))[0]
        return parts

    def _colour(self, rng: np.random.Generator) -> Colour:
        return self.colours[rng.integers(len(self.colours))]

    def _drifting(self, rng: np.random.Generator, clock: np.ndarray) -> Shape:
        start, drift = rng.uniform([-0.9, 0.0, -0.9], [0.9, 1.2, -0.6]), rng.normal(0, [0.35, 0.12, 0.0])
        bob = np.sin(2 * np.pi * (rng.uniform(0.3, 1.2) * clock + rng.random()))[:, None] * rng.normal(
            0, [0.05, 0.05, 0]
        )
        centre, colour = start + drift * (clock[:, None] - 0.5) + bob, self._colour(rng)
        if rng.random() < 0.35:
            return Disc(centre, rng.uniform(0.04, 0.14), colour)
        corners = rng.choice([3, 4, 4, 5, 6])
        angle = 2 * np.pi * np.arange(corners) / corners + rng.normal(0, 1.5) * clock[:, None] + rng.uniform(0, 6)
        outline = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=-1) * rng.uniform(0.05, 0.17)
        return Polygon(centre[:, None] + outline * [1.0, rng.uniform(0.5, 1.5), 0.0], colour)


def _post(rng: np.random.Generator, colour: Colour, clock: np.ndarray) -> Shape:
    middle = rng.uniform(-0.55, 0.55) + rng.normal(0, 0.1) * (clock - 0.5)
    half = rng.uniform(0.025, 0.06)
    return _upright(middle - half, middle + half, -0.3, 1.8, colour)


def _ledge(rng: np.random.Generator, colour: Colour, clock: np.ndarray) -> Shape:
    edge = rng.uniform(-0.6, 0.6) + rng.normal(0, 0.1) * (clock - 0.5)
    far = np.full_like(clock, -1.6 if rng.random() < 0.5 else 1.6)
    return _upright(np.minimum(edge, far), np.maximum(edge, far), -0.4, rng.uniform(0.08, 0.22), colour)


def _leaf(rng: np.random.Generator, colour: Colour, clock: np.ndarray) -> Shape:
    side = rng.choice([-1.0, 1.0])
    sway = 0.08 * np.sin(2 * np.pi * (rng.uniform(0.5, 2.0) * clock + rng.random()))
    x, y = side * rng.uniform(0.45, 0.65) + sway, rng.uniform(0.1, 1.1) + 0.4 * sway
    return Disc(np.stack([x, y, np.full_like(x, 0.7)], axis=-1), rng.uniform(0.1, 0.2), shade(colour, 0.8))


def _upright(left: np.ndarray, right: np.ndarray, bottom: float, top: float, colour: Colour) -> Shape:
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    points = [np.stack([x, np.full_like(x, y), np.full_like(x, 0.7)], axis=-1) for x, y in corners]
    return Polygon(np.stack(points, axis=1), colour)


def _muted(rng: np.random.Generator, value: tuple[float, float], saturation: float) -> Colour:
    parts = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.03, saturation), rng.uniform(*value))
    return shade([255.0 * part for part in parts], 1.0)


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth noise of two scales, about in [-1, 1]: float32 (height, width)."""
    coarse, fine = (rng.uniform(-1, 1, (cells, cells * 4 // 3)).astype(np.float32) for cells in (6, 24))
    size = (width, height)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) + 0.4 * cv2.resize(fine, size)


def _pattern(name: str, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Paint a wall pattern about in [-1, 1]: float32 (height, width)."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    period = height / rng.uniform(6, 14)
    if name == "stripes":
        return np.sign(np.sin(2 * np.pi * (columns + rng.choice([0.0, 0.7]) * rows) / period)).astype(np.float32)
    if name == "tiles":
        return np.where((rows % period < 1.5) | (columns % period < 1.5), -1.2, 0.2).astype(np.float32)
    if name == "bricks":
        shifted = columns + (rows // (period / 2) % 2) * period / 2
        return np.where((rows % (period / 2) < 1.2) | (shifted % period < 1.2), 1.0, -0.2).astype(np.float32)
    if name == "panels":
        tone = rng.uniform(-1, 1, (4, 7)).astype(np.float32)
        return cv2.resize(tone, (width, height), interpolation=cv2.INTER_NEAREST)
    if name == "dots":
        near = np.hypot(rows % period - period / 2, columns % period - period / 2) < period * 0.25
        return np.where(near, 1.0, -0.1).astype(np.float32)
    return np.zeros((height, width), np.float32)


def _planks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Paint floor boards that run towards the viewer: float32 (height, width)."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    spread = 1.0 + 1.5 * rows / max(height, 1)
    board = np.floor((columns - width / 2) / spread / (width / 30.0)).astype(int)
    tones = rng.uniform(-0.5, 0.5, 64).astype(np.float32)
    return tones[board % 64]
