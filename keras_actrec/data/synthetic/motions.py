"""What the figure does: each movement maps a body and a clock to joints and props.

A movement is a function of a `Cue`. The clock runs from 0 to 1 over the clip; a pause of random length stands at its
beginning and its end, so that neither tells the class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_actrec.data.synthetic import props
from keras_actrec.data.synthetic.body import FIELDS, Body, Joints, joints, pose, reach
from keras_actrec.data.synthetic.shapes import Colour, Shape


@dataclasses.dataclass(frozen=True)
class Cue:
    """What a movement is made from.

    Attributes:
        body: lengths of the figure.
        rng: source of everything random in it.
        clock: float (T,), from 0 to 1.
        seconds: length of the clip.
        sway: spread of the random offsets of all angles, in degrees.
        colours: of the props.
    """

    body: Body
    rng: np.random.Generator
    clock: np.ndarray
    seconds: float
    sway: float
    colours: tuple[Colour, ...]

    def colour(self) -> Colour:
        """Draw one of the scene's colours for a prop."""
        return self.colours[self.rng.integers(len(self.colours))]


Performance = tuple[Joints, list[Shape]]


def sit(cue: Cue) -> Performance:
    """From standing to sitting on a chair."""
    knees = cue.rng.uniform(0.6, 1.1)
    arms = {"upper_pitch": 38.0 * knees, "fore_pitch": 62.0 * knees}
    lean = pose(torso_pitch=38, thigh_pitch=55, shin_pitch=-14, upper_pitch=25, fore_pitch=45)
    seated = pose(torso_pitch=4, thigh_pitch=86, shin_pitch=2, **arms)
    placed = _act(cue, _eased(cue), ((0.0, pose()), (0.5, lean), (1.0, seated)))
    spot = joints(cue.body, seated[None], planted=True)["pelvis"][0] - np.array([0.0, 0.045, -0.03])
    backrest = cue.rng.choice([0.0, 0.22, 0.3])
    return placed, props.chair(spot, cue.colour(), len(cue.clock), backrest)


def raise_arms(cue: Cue) -> Performance:
    """Both arms from hanging to above the head, by the side or by the front."""
    if cue.rng.random() < 0.5:
        halfway, top = pose(upper_side=90, fore_side=90), pose(upper_side=160, fore_side=168, fore_pitch=0)
    else:
        halfway, top = pose(upper_pitch=90, fore_pitch=95), pose(upper_pitch=165, fore_pitch=172, upper_side=12)
    return _act(cue, _eased(cue), ((0.0, pose()), (0.5, halfway), (1.0, top))), []


def pick_up(cue: Cue) -> Performance:
    """Bend down to a box on the floor and lift it to the chest."""
    bent = pose(torso_pitch=cue.rng.uniform(62, 80), thigh_pitch=42, shin_pitch=-30, upper_pitch=25, fore_pitch=20)
    held = pose(upper_pitch=20, fore_pitch=80, upper_side=14)
    progress = _eased(cue)
    placed = _act(cue, progress, ((0.0, pose()), (0.45, bent), (1.0, held)))
    half, height = cue.rng.uniform(0.075, 0.1), cue.rng.uniform(0.55, 0.75)
    lifted = _smooth((progress - 0.45) / 0.55)[:, None]
    low, high = np.array([0.0, 0.8 * half, 0.3]), np.array([0.0, height, 0.24])
    centre = low + lifted * (high - low)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        reach(cue.body, placed, side, centre + np.array([sign * half, 0.0, 0.0]), _smooth((progress - 0.2) / 0.25))
    return placed, props.box(centre, half, cue.colour())


def open_door(cue: Cue) -> Performance:
    """Take the handle of a closed door at one's side and swing it open."""
    side, sign = ("l", 1.0) if cue.rng.random() < 0.5 else ("r", -1.0)
    progress = _eased(cue)
    stance = pose(sideways=-0.17 * sign, torso_side=0)
    pulling = pose(sideways=-0.1 * sign, torso_side=9 * sign, head_pitch=5, forward=0.05)
    placed = _act(cue, progress, ((0.0, stance), (0.25, stance), (1.0, pulling)))
    angle = _smooth((progress - 0.2) / 0.8) * cue.rng.uniform(75, 100)
    shapes, handle = props.door(0.12 * sign, 0.54 * sign, -0.22, angle, cue.colour())
    reach(cue.body, placed, side, handle, _smooth(progress / 0.2))
    return placed, shapes


def squat(cue: Cue) -> Performance:
    """Down to a deep squat and up again, once or several times."""
    arms = {"upper_pitch": 85, "fore_pitch": 85} if cue.rng.random() < 0.5 else {"upper_pitch": 38, "fore_pitch": 60}
    deep = pose(torso_pitch=30, thigh_pitch=92, shin_pitch=-30, **arms)
    return _act(cue, _waves(cue, 0.45, 0.8), ((0.0, pose()), (1.0, deep))), []


def wave(cue: Cue) -> Performance:
    """Wave with one raised arm or with both."""
    sides = ("l", "r") if cue.rng.random() < 0.5 else (("l",) if cue.rng.random() < 0.5 else ("r",))
    inwards = {f"{side}_upper_side": 125.0 for side in sides} | {f"{side}_fore_side": 205.0 for side in sides}
    outwards = {f"{side}_upper_side": 110.0 for side in sides} | {f"{side}_fore_side": 115.0 for side in sides}
    raised = _smooth(np.minimum(cue.clock, 1 - cue.clock) / 0.15)
    swing = _swings(cue, cue.clock, 0.9, 1.6)
    angles = _follow(swing, ((0.0, pose(**inwards)), (1.0, pose(**outwards))))
    angles = pose() + raised[:, None] * (angles - pose())
    return _place(cue, angles, planted=True), []


def jumping_jack(cue: Cue) -> Performance:
    """Jump legs apart with the arms overhead, and back."""
    swing = _waves(cue, 0.9, 1.4)
    apart = pose(upper_side=155, fore_side=165, fore_pitch=0, thigh_side=24, shin_side=22)
    angles = _follow(swing, ((0.0, pose()), (1.0, apart)))
    angles[:, FIELDS.index("lift")] = 0.06 * np.abs(np.sin(np.pi * swing))
    return _place(cue, angles, planted=True), []


def kick(cue: Cue) -> Performance:
    """Swing a leg and kick a ball away."""
    side, sign = ("l", 1.0) if cue.rng.random() < 0.5 else ("r", -1.0)
    progress = _eased(cue)
    back = pose(**{f"{side}_thigh_pitch": -32, f"{side}_shin_pitch": -75, "torso_pitch": 8, "upper_side": 30})
    hit = pose(**{f"{side}_thigh_pitch": 28, f"{side}_shin_pitch": 5, "upper_side": 35})
    high = pose(**{f"{side}_thigh_pitch": 68, f"{side}_shin_pitch": 55, "torso_pitch": -8, "upper_side": 40})
    frames = ((0.0, pose()), (0.3, back), (0.5, hit), (0.65, high), (1.0, pose()))
    placed = _act(cue, progress, frames, planted=False)
    gone = np.maximum(progress - 0.5, 0.0)[:, None] * cue.rng.uniform(1.6, 2.6)
    rise = np.sin(np.minimum(gone, 1.0) * np.pi) * cue.rng.uniform(0.0, 0.4)
    radius = cue.rng.uniform(0.05, 0.07)
    centre = np.array([sign * 0.06, radius, 0.27]) + gone * np.array([0.0, 0.0, 1.0]) + rise * np.array([0.0, 1.0, 0.0])
    return placed, props.ball(centre, radius, cue.colour())


def walk(cue: Cue) -> Performance:
    """Walk across the scene."""
    phase = 2 * np.pi * (cue.rng.uniform(0.7, 1.1) * cue.seconds * cue.clock + cue.rng.random())
    angles = np.repeat(pose()[None], len(phase), axis=0)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        swing = sign * np.sin(phase)
        angles[:, FIELDS.index(f"{side}_thigh_pitch")] = 28 * swing
        angles[:, FIELDS.index(f"{side}_shin_pitch")] = 20 * swing - 22 - 22 * sign * np.cos(phase)
        angles[:, FIELDS.index(f"{side}_upper_pitch")] = -26 * swing
        angles[:, FIELDS.index(f"{side}_fore_pitch")] = 15 - 26 * swing
    angles[:, FIELDS.index("forward")] = (cue.clock - 0.5) * min(0.9, 0.35 * cue.seconds)
    return _place(cue, angles, planted=False), []


def bow(cue: Cue) -> Performance:
    """Bow from the hips and straighten up."""
    low = pose(torso_pitch=cue.rng.uniform(45, 75), head_pitch=15, upper_pitch=8)
    return _act(cue, _waves(cue, 0.3, 0.5), ((0.0, pose()), (1.0, low))), []


def punch(cue: Cue) -> Performance:
    """Box: the fists shoot forwards in turn."""
    guard = {"upper_pitch": 30.0, "fore_pitch": 135.0, "torso_pitch": 8.0}
    swing = _swings(cue, cue.clock, 1.0, 1.8)
    left = pose(**guard, l_upper_pitch=88, l_fore_pitch=90)
    right = pose(**guard, r_upper_pitch=88, r_fore_pitch=90)
    return _act(cue, swing, ((0.0, left), (0.35, pose(**guard)), (0.65, pose(**guard)), (1.0, right))), []


MOTIONS: dict[str, Callable[[Cue], Performance]] = {
    function.__name__: function
    for function in (sit, raise_arms, pick_up, open_door, squat, wave, jumping_jack, kick, walk, bow, punch)
}
"""Name -> movement."""


def _smooth(share: np.ndarray) -> np.ndarray:
    """Rise from 0 to 1 with a soft start and end."""
    share = np.clip(share, 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _paused(cue: Cue) -> np.ndarray:
    """Run from 0 to 1 between a pause at the beginning and one at the end."""
    start, end = cue.rng.uniform(0.03, 0.28, size=2)
    return np.clip((cue.clock - start) / (1.0 - start - end), 0.0, 1.0)


def _eased(cue: Cue) -> np.ndarray:
    """Run once from 0 to 1 at an uneven pace."""
    return _smooth(_paused(cue) ** cue.rng.uniform(0.8, 1.25))


def _swings(cue: Cue, clock: np.ndarray, slowest: float, fastest: float) -> np.ndarray:
    """Swing between 0 and 1 a whole number of times, at about so many swings a second (at least once)."""
    count = max(1, round(cue.rng.uniform(slowest, fastest) * cue.seconds))
    return 0.5 - 0.5 * np.cos(2 * np.pi * count * clock)


def _waves(cue: Cue, slowest: float, fastest: float) -> np.ndarray:
    """Swing between two pauses."""
    return _swings(cue, _paused(cue), slowest, fastest)


def _follow(progress: np.ndarray, frames: tuple[tuple[float, np.ndarray], ...]) -> np.ndarray:
    """Interpolate key poses: float (T,) -> float (T, len(FIELDS))."""
    times = [time for time, _ in frames]
    poses = np.stack([angles for _, angles in frames], axis=1)
    return np.stack([np.interp(progress, times, values) for values in poses], axis=1)


def _act(cue: Cue, progress: np.ndarray, frames: tuple[tuple[float, np.ndarray], ...], planted: bool = True) -> Joints:
    return _place(cue, _follow(progress, frames), planted)


def _place(cue: Cue, angles: np.ndarray, planted: bool) -> Joints:
    """Add this clip's own posture and a slow sway to the angles, and place the joints."""
    moving = np.array([field.endswith(("pitch", "side")) for field in FIELDS]) * cue.sway
    posture = cue.rng.normal(size=len(FIELDS)) * moving
    phase, pace = cue.rng.uniform(0, 2 * np.pi, len(FIELDS)), cue.rng.uniform(0.2, 0.6, len(FIELDS))
    drift = np.sin(2 * np.pi * pace * cue.seconds * cue.clock[:, None] + phase) * moving * 0.6
    return joints(cue.body, angles + posture + drift, planted)
