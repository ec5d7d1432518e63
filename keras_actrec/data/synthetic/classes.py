"""The classes of `stick-actions`, their verbs and nouns, and the pairs that only time tells apart."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Action:
    """One thing that the figure can be seen doing.

    Attributes:
        motion: name of the movement in `motions.MOTIONS`.
        label: class name, also the name of the class folder.
        backwards: label of the same frames in reversed order; None when that is no class.
        verb, noun: the two parts of the label, as EPIC-Kitchens has them.
        backwards_verb: the verb of the reversed frames.
    """

    motion: str
    label: str
    verb: str
    noun: str
    backwards: str | None = None
    backwards_verb: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the clips that one rendering gives: forwards, and backwards where that is a class."""
        return (self.label,) if self.backwards is None else (self.label, self.backwards)


KNOWN = (
    Action("sit", "SitDown", "sit down on", "chair", "StandUp", "stand up from"),
    Action("raise_arms", "RaiseArms", "raise", "arms", "LowerArms", "lower"),
    Action("pick_up", "PickUpBox", "pick up", "box", "PutDownBox", "put down"),
    Action("open_door", "OpenDoor", "open", "door", "CloseDoor", "close"),
    Action("squat", "Squat", "squat", "none"),
    Action("wave", "WaveArms", "wave", "arms"),
    Action("jumping_jack", "JumpingJack", "jump", "none"),
    Action("kick", "KickBall", "kick", "ball"),
)
"""What the network is to tell apart."""

HELD_OUT = (
    Action("walk", "Walk", "walk", "none"),
    Action("bow", "Bow", "bow", "none"),
    Action("punch", "Punch", "punch", "none"),
)
"""What it has never seen; their clips have the split `unknown`."""

CLASSES = tuple(sorted(label for action in KNOWN for label in action.labels))
"""Labels of the known classes, sorted."""

UNKNOWN_CLASSES = tuple(sorted(label for action in HELD_OUT for label in action.labels))
"""Labels of the classes that are held out, sorted."""

TEMPORAL_PAIRS = tuple((action.label, action.backwards) for action in KNOWN if action.backwards is not None)
"""Pairs of classes that hold the same frames in opposite order, so that no single frame tells them apart."""


def verb_and_noun(label: str) -> tuple[str, str]:
    """Return the verb and the noun of a label."""
    for action in KNOWN + HELD_OUT:
        if label == action.label:
            return action.verb, action.noun
        if label == action.backwards and action.backwards_verb is not None:
            return action.backwards_verb, action.noun
    raise KeyError(label)
