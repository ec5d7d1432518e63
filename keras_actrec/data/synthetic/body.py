"""The figure: a jointed body in three dimensions, posed by angles.

Lengths are in body heights (a person of average build is about 1 tall). Axes: x to the person's left, y up, z forward;
y = 0 is the floor. Angles are in degrees. A limb with pitch 0 and side 0 hangs down; pitch turns it forwards, side
turns it outwards, away from the body's middle.
"""

from __future__ import annotations

import dataclasses

import numpy as np

Joints = dict[str, np.ndarray]
"""Name of a joint -> its positions, float (T, 3)."""

SIDES = {"l": 1.0, "r": -1.0}
_LIMB_FIELDS = tuple(f"{limb}_{turn}" for limb in ("upper", "fore", "thigh", "shin") for turn in ("pitch", "side"))
_TRUNK_FIELDS = ("torso_pitch", "torso_side", "head_pitch", "forward", "sideways", "lift")
FIELDS = (*_TRUNK_FIELDS, *(f"{side}_{name}" for side in SIDES for name in _LIMB_FIELDS))
"""What a pose holds: angles, and the displacement and height of a jump in body heights."""

STANDING = {"upper_side": 9.0, "fore_pitch": 10.0, "fore_side": 4.0, "thigh_side": 5.0, "shin_side": 4.0}


@dataclasses.dataclass(frozen=True)
class Body:
    """Lengths of one person, in body heights."""

    torso: float = 0.31
    shoulder: float = 0.105
    hip: float = 0.055
    upper: float = 0.165
    fore: float = 0.16
    thigh: float = 0.235
    shin: float = 0.225
    foot: float = 0.085
    neck: float = 0.035
    head: float = 0.075
    girth: float = 1.0

    @classmethod
    def random(cls, rng: np.random.Generator, spread: float) -> Body:
        """Draw proportions that differ from the average by at most `spread`, and a size of the whole."""
        size = rng.uniform(1 - spread / 2, 1 + spread / 2)
        lengths = {field.name: field.default * rng.uniform(1 - spread, 1 + spread) for field in dataclasses.fields(cls)}
        girth = lengths.pop("girth")
        return cls(**{name: length * size for name, length in lengths.items()}, girth=girth)


def pose(**changes: float) -> np.ndarray:
    """Return a standing pose with some fields changed; a limb's name without "l_" or "r_" sets both sides.

    Returns:
        float (len(FIELDS),), in the order of `FIELDS`.
    """
    values = dict.fromkeys(FIELDS, 0.0)
    for name, value in (STANDING | changes).items():
        for field in (name,) if name in values else (f"l_{name}", f"r_{name}"):
            values[field] = value
    return np.array([values[field] for field in FIELDS])


def joints(body: Body, angles: np.ndarray, planted: bool) -> Joints:
    """Place the joints for a sequence of poses.

    Args:
        body: lengths.
        angles: float (T, len(FIELDS)).
        planted: keep the feet where they are, so that the pelvis moves; else the pelvis stays over its spot.

    Returns:
        Positions, float (T, 3) each. The lowest foot touches the floor unless the pose lifts it.
    """
    value = {field: angles[:, index] for index, field in enumerate(FIELDS)}
    placed = _upper_body(body, value) | _legs(body, value)
    feet = np.stack([placed["l_ankle"], placed["r_ankle"]])
    origin = feet.mean(axis=0) if planted else np.zeros_like(feet[0])
    shift = np.stack([value["sideways"], value["lift"] + 0.03, value["forward"]], axis=-1)
    shift[:, 0] -= origin[:, 0]
    shift[:, 1] -= feet[:, :, 1].min(axis=0)
    shift[:, 2] -= origin[:, 2]
    return {name: position + shift for name, position in placed.items()}


def reach(body: Body, placed: Joints, side: str, target: np.ndarray, weight: np.ndarray) -> None:
    """Bring a hand towards a target by bending the elbow (two-bone inverse kinematics); changes `placed`.

    Args:
        body: lengths.
        placed: what `joints` returned.
        side: "l" or "r".
        target: float (T, 3) or (3,); a hand that cannot reach it points towards it.
        weight: float (T,) in [0, 1]; 0 leaves the hand where the pose has it.
    """
    shoulder, hand = placed[f"{side}_shoulder"], placed[f"{side}_hand"]
    wanted = hand + weight[:, None] * (target - hand) - shoulder
    distance = np.linalg.norm(wanted, axis=1, keepdims=True)
    along = wanted / np.maximum(distance, 1e-6)
    distance = np.clip(distance, abs(body.upper - body.fore) + 1e-3, (body.upper + body.fore) * 0.999)
    share = (body.upper**2 - body.fore**2 + distance**2) / (2 * distance)
    hint = placed[f"{side}_elbow"] - shoulder + np.array([0.0, -0.05, -0.02])
    across = hint - (hint * along).sum(axis=1, keepdims=True) * along
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    height = np.sqrt(np.maximum(body.upper**2 - share**2, 0.0))
    placed[f"{side}_elbow"] = shoulder + share * along + height * across
    placed[f"{side}_hand"] = shoulder + distance * along


def _direction(pitch: np.ndarray, side: np.ndarray, sign: float = 1.0) -> np.ndarray:
    """Unit vectors (T, 3) of limbs that hang down at zero angles."""
    pitch, side = np.radians(pitch), np.radians(side)
    return np.stack([sign * np.sin(side), -np.cos(side) * np.cos(pitch), np.cos(side) * np.sin(pitch)], axis=-1)


def _upper_body(body: Body, value: dict[str, np.ndarray]) -> Joints:
    trunk = _direction(-value["torso_pitch"], -value["torso_side"]) * -1.0
    across = np.cross(trunk, [0.0, 0.0, 1.0])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    across *= np.where(across[:, :1] < 0, -1.0, 1.0)
    neck = trunk * body.torso
    skull = _direction(-value["torso_pitch"] * 0.6 - value["head_pitch"], -value["torso_side"]) * -1.0
    placed = {"pelvis": np.zeros_like(trunk), "neck": neck, "head": neck + skull * (body.neck + body.head)}
    for side, sign in SIDES.items():
        shoulder = neck - trunk * 0.03 + across * sign * body.shoulder
        elbow = shoulder + body.upper * _direction(value[f"{side}_upper_pitch"], value[f"{side}_upper_side"], sign)
        hand = elbow + body.fore * _direction(value[f"{side}_fore_pitch"], value[f"{side}_fore_side"], sign)
        placed |= {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_hand": hand}
    return placed


def _legs(body: Body, value: dict[str, np.ndarray]) -> Joints:
    placed: Joints = {}
    for side, sign in SIDES.items():
        hip = np.zeros((len(value["lift"]), 3)) + np.array([sign * body.hip, 0.0, 0.0])
        knee = hip + body.thigh * _direction(value[f"{side}_thigh_pitch"], value[f"{side}_thigh_side"], sign)
        ankle = knee + body.shin * _direction(value[f"{side}_shin_pitch"], value[f"{side}_shin_side"], sign)
        toes = ankle + body.foot * _direction(value[f"{side}_shin_pitch"] * 0.7 + 82.0, np.full(len(hip), 8.0), sign)
        placed |= {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle, f"{side}_toes": toes}
    return placed
