"""How a person looks: colours, widths, and the shapes that stand for the limbs."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np

from keras_actrec.data.synthetic.body import SIDES, Body, Joints
from keras_actrec.data.synthetic.levels import Level
from keras_actrec.data.synthetic.shapes import Colour, Disc, Polygon, Shape, Stroke, shade

_SKIN = ((255, 219, 190), (241, 194, 155), (224, 172, 120), (198, 134, 85), (141, 88, 52), (92, 58, 38))
_HAIR = ((35, 28, 25), (80, 50, 30), (140, 90, 45), (200, 160, 90), (120, 120, 125), (150, 60, 35))
_LIMBS = (
    ("thigh", "hip", "knee", 0.078),
    ("shin", "knee", "ankle", 0.062),
    ("foot", "ankle", "toes", 0.05),
    ("upper", "shoulder", "elbow", 0.06),
    ("fore", "elbow", "hand", 0.048),
)


@dataclasses.dataclass(frozen=True)
class Person:
    """One actor.

    Attributes:
        body: lengths.
        colours: part of the body -> colour.
        girth: factor on all widths.
        sleeves: "long" or "short"; bare limbs have the colour of the skin.
        outline: brightness of a dark rim around the whole figure, relative to its own; None draws none.
    """

    body: Body
    colours: dict[str, Colour]
    girth: float
    sleeves: str
    outline: float | None

    @classmethod
    def random(cls, rng: np.random.Generator, level: Level, wall: Colour) -> Person:
        """Draw a person whose clothes differ in brightness from the wall by at least the level's contrast."""
        colours = {
            "skin": _SKIN[rng.integers(len(_SKIN))],
            "hair": _HAIR[rng.integers(len(_HAIR))],
            "shirt": clothing(rng, wall, level.clothes, level.contrast),
            "trousers": clothing(rng, wall, level.clothes, level.contrast * 0.8),
            "shoes": shade(clothing(rng, wall, level.clothes, level.contrast * 0.8), 0.6),
        }
        sleeves = "long" if rng.random() < 0.6 else "short"
        outline = 0.35 if rng.random() < 0.5 else None
        return cls(Body.random(rng, level.body_spread), colours, rng.uniform(0.88, 1.25), sleeves, outline)

    def shapes(self, placed: Joints) -> list[Shape]:
        """Dress the joints: every limb becomes a shape."""
        return [shape for side in SIDES for shape in self._limbs(placed, side)] + self._trunk(placed)

    def width(self, base: float) -> float:
        """Return the width of a limb, in body heights."""
        return base * self.girth

    def _limbs(self, placed: Joints, side: str) -> list[Shape]:
        clothes = {"thigh": "trousers", "shin": "trousers", "foot": "shoes", "upper": "shirt", "fore": "shirt"}
        if self.sleeves == "short":
            clothes |= {"fore": "skin"}
        tone = 1.0 if side == "l" else 0.84
        parts: list[Shape] = []
        for name, start, end, width in _LIMBS:
            colour = shade(self.colours[clothes[name]], tone * (0.93 if name in ("shin", "fore") else 1.0))
            parts.append(Stroke(placed[f"{side}_{start}"], placed[f"{side}_{end}"], self.width(width), colour))
        return [*parts, Disc(placed[f"{side}_hand"], self.width(0.03), shade(self.colours["skin"], tone))]

    def _trunk(self, placed: Joints) -> list[Shape]:
        corners = [placed[name] for name in ("l_shoulder", "r_shoulder", "r_hip", "l_hip")]
        shirt = self.colours["shirt"]
        hips = Stroke(placed["l_hip"], placed["r_hip"], self.width(0.085), self.colours["trousers"])
        edges = zip(("l_shoulder", "r_shoulder", "l_shoulder"), ("l_hip", "r_hip", "r_shoulder"), strict=True)
        seams = [Stroke(placed[start], placed[end], self.width(0.062), shirt) for start, end in edges]
        throat = Stroke(placed["neck"], placed["head"], self.width(0.05), shade(self.colours["skin"], 0.85))
        head = Disc(placed["head"], self.body.head, self.colours["skin"])
        back = np.array([0.0, 0.25, -0.45]) * self.body.head
        hair = Disc(placed["head"] + back, self.body.head * 0.95, self.colours["hair"])
        return [hips, Polygon(np.stack(corners, axis=1), shirt), *seams, throat, hair, head]


def rims(parts: list[Shape], factor: float, behind: np.ndarray) -> list[Shape]:
    """Return wider, darker copies that lie behind the whole person.

    Args:
        parts: the person, in scene coordinates.
        factor: brightness of the copies.
        behind: displacement away from the viewer, float (3,).
    """
    copies: list[Shape] = []
    for part in parts:
        colour = shade(part.colour, factor)
        if isinstance(part, Stroke):
            copies.append(Stroke(part.start + behind, part.end + behind, part.width + 0.028, colour))
        elif isinstance(part, Disc):
            copies.append(Disc(part.centre + behind, part.radius + 0.014, colour))
    return copies


def clothing(rng: np.random.Generator, wall: Colour, value: tuple[float, float], contrast: float) -> Colour:
    """Draw a colour that stands out from the wall; the best of a dozen when none is far enough from it."""
    drawn = [_vivid(rng, value) for _ in range(12)]
    far = [abs(brightness(colour) - brightness(wall)) for colour in drawn]
    return next((colour for colour, gap in zip(drawn, far, strict=True) if gap >= contrast), drawn[int(np.argmax(far))])


def brightness(colour: Colour) -> float:
    """Return the luma (BT.601) of a colour, in [0, 255]."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _vivid(rng: np.random.Generator, value: tuple[float, float]) -> Colour:
    hue, saturation = rng.random(), rng.uniform(0.1, 0.9)
    return shade([255.0 * part for part in colorsys.hsv_to_rgb(hue, saturation, rng.uniform(*value))], 1.0)
