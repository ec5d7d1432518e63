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
        clutter_value: the same of the things that drift, stand about or are handled.
        clothes: the same of clothes.
        saturation: largest saturation of walls, and of those things.
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


_MEDIUM = Level(
    yaw_deg=15,
    body_spread=0.12,
    sway_deg=3,
    clutter=5,
    occluders=1,
    props=0.15,
    wall=(0.68, 0.97),
    clutter_value=(0.55, 0.92),
    clothes=(0.05, 0.5),
    saturation=(0.3, 0.5),
    contrast=65,
    texture=11,
    pan=0.03,
    roll_deg=2,
    zoom=0.04,
    scale=(0.68, 0.73),
    offset=0.04,
    noise=5,
    flicker=0.06,
)
_EASY = dataclasses.replace(
    _MEDIUM,
    yaw_deg=10,
    body_spread=0.08,
    sway_deg=2,
    clutter=3,
    occluders=0,
    props=0.1,
    wall=(0.75, 0.97),
    clutter_value=(0.6, 0.9),
    saturation=(0.25, 0.4),
    contrast=70,
    texture=8,
    pan=0.02,
    roll_deg=1,
    zoom=0.02,
    scale=(0.7, 0.73),
    offset=0.03,
    noise=3,
    flicker=0.03,
)
_HARD = Level(
    yaw_deg=40,
    body_spread=0.2,
    sway_deg=5,
    clutter=10,
    occluders=2,
    props=0.35,
    wall=(0.2, 0.95),
    clutter_value=(0.12, 0.98),
    clothes=(0.12, 0.98),
    saturation=(0.45, 0.85),
    contrast=25,
    texture=35,
    pan=0.1,
    roll_deg=6,
    zoom=0.12,
    scale=(0.48, 0.72),
    offset=0.12,
    noise=12,
    flicker=0.18,
)

LEVELS = {"easy": _EASY, "medium": _MEDIUM, "hard": _HARD}
"""Name of a difficulty -> its level."""
