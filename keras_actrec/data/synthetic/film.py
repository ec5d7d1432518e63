"""One take: an action is played by a person in a scene, and filmed."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from keras_actrec.data.synthetic.camera import Camera
from keras_actrec.data.synthetic.figure import Person, rims
from keras_actrec.data.synthetic.levels import Level
from keras_actrec.data.synthetic.motions import MOTIONS, Cue
from keras_actrec.data.synthetic.painter import boxes, paint
from keras_actrec.data.synthetic.scene import MARGIN, Scene
from keras_actrec.data.synthetic.shapes import Disc, Polygon, Shape, Stroke

_NOISE_FRAMES = 5


@dataclasses.dataclass(frozen=True)
class Take:
    """What was filmed.

    Attributes:
        frames: T pictures uint8 (H, W, 3), RGB.
        depth: T pictures uint8 (H, W), bright is near.
        boxes: the person's rectangle in every frame, float (T, 4): left, top, right, bottom in pixels.
    """

    frames: list[np.ndarray]
    depth: list[np.ndarray]
    boxes: np.ndarray


def cast(rng: np.random.Generator, level: Level) -> tuple[Person, Scene]:
    """Draw the person and the scene of a group."""
    scene = Scene.random(rng, level)
    return Person.random(rng, level, scene.wall), scene


def film(
    motion: str,
    person: Person,
    scene: Scene,
    level: Level,
    rng: np.random.Generator,
    *,
    frames: int,
    seconds: float,
    height: int,
    width: int,
) -> Take:
    """Film one movement.

    Args:
        motion: name in `motions.MOTIONS`.
        person: who does it.
        scene: where.
        level: how much varies.
        rng: source of everything that differs between takes of one group.
        frames: T.
        seconds: length of the take.
        height: of the picture as it is to be seen, in pixels.
        width: likewise.
    """
    clock = np.arange(frames) / max(frames - 1, 1)
    camera = Camera.random(rng, level, clock, height, width)
    placed, handled = MOTIONS[motion](Cue(person.body, rng, clock, seconds, level.sway_deg, scene.colours))
    actor = [_turned(shape, camera) for shape in person.shapes(placed)]
    things = [_turned(shape, camera) for shape in [*handled, *scene.furniture(rng, level, frames)]]
    outline = [] if person.outline is None else rims(actor, person.outline, camera.away(0.35))
    around = [*scene.clutter(rng, level, clock), *scene.occluders(rng, level, clock)]
    drift = rng.normal(0, level.pan * height, 2) * (clock[:, None] - 0.5)
    backdrop = _backdrop(scene, camera, height, width)
    pictures = paint([*things, *outline, *actor, *around], camera, backdrop, drift)
    depth = [cv2.extractChannel(picture, 3) for picture in pictures]
    colour = [cv2.cvtColor(picture, cv2.COLOR_RGBA2RGB) for picture in pictures]
    return Take(_exposed(colour, level, rng, seconds), depth, boxes(actor, camera, height, width))


def _turned(shape: Shape, camera: Camera) -> Shape:
    """Turn a shape from the figure's own coordinates into the scene's."""
    if isinstance(shape, Stroke):
        return dataclasses.replace(shape, start=camera.turn(shape.start), end=camera.turn(shape.end))
    if isinstance(shape, Disc):
        return dataclasses.replace(shape, centre=camera.turn(shape.centre))
    return Polygon(camera.turn(shape.points), shape.colour)


def _backdrop(scene: Scene, camera: Camera, height: int, width: int) -> np.ndarray:
    """Paint a backdrop whose floor begins behind the figure's feet."""
    tall, wide = round(height * MARGIN), round(width * MARGIN)
    horizon = camera.origin[1] - scene.horizon * camera.scale
    return scene.backdrop(tall, wide, horizon + (tall - height) / 2)


def _exposed(pictures: list[np.ndarray], level: Level, rng: np.random.Generator, seconds: float) -> list[np.ndarray]:
    """Add what a cheap camera adds: changing exposure and noise."""
    height, width = pictures[0].shape[:2]
    strength = rng.uniform(0.3, 1.0) * level.noise
    grain = rng.normal(0, strength, (_NOISE_FRAMES, height + 8, width + 8, 3)).clip(-127, 127).astype(np.int8)
    picked = rng.integers(0, [_NOISE_FRAMES, 8, 8], (len(pictures), 3)).tolist()
    gains = _gains(len(pictures), level.flicker, rng, seconds).tolist()
    exposed = []
    for picture, gain, (number, top, left) in zip(pictures, gains, picked, strict=True):
        lit = cv2.convertScaleAbs(picture, alpha=gain)
        exposed.append(cv2.add(lit, grain[number, top : top + height, left : left + width], dtype=cv2.CV_8U))
    return exposed


def _gains(frames: int, flicker: float, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Draw the relative brightness of every frame, float (T,): a slow swell and a fast flicker about a random level."""
    swell = np.sin(2 * np.pi * (rng.uniform(0.2, 1.0) * seconds * np.arange(frames) / frames + rng.random()))
    return (1.0 + rng.uniform(-1.5, 1.0) * flicker) * (1.0 + flicker * (0.6 * swell + 0.25 * rng.normal(size=frames)))
