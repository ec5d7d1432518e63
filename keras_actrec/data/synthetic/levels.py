"""The levels of difficulty: how much stands between the network and the figure."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Level:
    """How far everything may vary.

    Attributes:
        yaw_deg: largest turn of the figure to either side of a three-quarter view.
        body_spread: largest relative change of each length of the body.
        sway_deg: spread of the random offsets of all angles.
        clutter: largest number of shapes that drift behind the figure.
        occluders: largest number of shapes in front of it.
        props: probability of each thing that merely stands about.
        wall: darkest and brightest value (of hue, saturation, value) of walls, in [0, 1].
        clutter_value: the same of the things that drift or stand about.
        clothes: the same of clothes.
        saturation: largest saturation of walls and of drifting things.
        contrast: smallest difference in brightness between clothes and wall, in grey levels.
        texture: strength of the wall's pattern, in grey levels.
        pan: largest camera movement, as a share of the picture.
        roll_deg: largest roll of the camera.
        zoom: largest relative change of scale during the clip.
        scale: smallest and largest height of an average figure, as a share of the picture.
        offset: largest distance of the figure from the middle, as a share of the picture's height.
        noise: largest standard deviation of the pixel noise, in grey levels.
        flicker: largest relative change of the light.
    """

    yaw_deg: float
    body_spread: float
    sway_deg: float
    clutter: int
    occluders: int
    props: float
    wall: tuple[float, float]
    clutter_value: tuple[float, float]
    clothes: tuple[float, float]
    saturation: tuple[float, float]
    contrast: float
    texture: float
    pan: float
    roll_deg: float
    zoom: float
    scale: tuple[float, float]
    offset: float
    noise: float
    flicker: float


_ANY = (0.12, 0.98)

LEVELS = {
    "easy": Level(
        10,
        0.08,
        2,
        3,
        0,
        0.1,
        (0.75, 0.97),
        (0.6, 0.9),
        (0.05, 0.5),
        (0.25, 0.4),
        70,
        8,
        0.02,
        1,
        0.02,
        (0.7, 0.73),
        0.03,
        3,
        0.03,
    ),
    "medium": Level(
        20,
        0.14,
        3,
        6,
        1,
        0.2,
        (0.6, 0.97),
        (0.45, 0.95),
        (0.05, 0.6),
        (0.35, 0.6),
        60,
        14,
        0.04,
        2,
        0.05,
        (0.66, 0.73),
        0.05,
        6,
        0.07,
    ),
    "hard": Level(
        40,
        0.2,
        5,
        10,
        2,
        0.35,
        (0.2, 0.95),
        _ANY,
        _ANY,
        (0.45, 0.85),
        25,
        35,
        0.1,
        6,
        0.12,
        (0.48, 0.72),
        0.12,
        12,
        0.18,
    ),
}
"""Name of a difficulty -> its level."""
