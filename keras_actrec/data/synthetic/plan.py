"""What is rendered: takes, clips, groups and folds, all fixed by the settings before the first frame is drawn."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from keras_actrec.config import StickActions
from keras_actrec.data.manifest import Clip
from keras_actrec.data.synthetic.classes import HELD_OUT, KNOWN, Action, verb_and_noun
from keras_actrec.data.synthetic.recording import DEPTH_FORMAT, FORMAT_DECK, RATES, SIZES, Recording
from keras_actrec.errors import UserError

FOLDS = 3
CLIPS_PER_GROUP = 2
SMALLEST_SET = 4
_CAST, _TAKE, _DECK, _SHUFFLE = range(4)


@dataclasses.dataclass(frozen=True)
class Output:
    """One clip's files.

    Attributes:
        path, depth, boxes: files, relative to the root.
        label: what it shows, also when the manifest keeps it hidden.
        backwards: it holds the take's frames in reversed order.
    """

    path: str
    depth: str
    boxes: str
    label: str
    backwards: bool


@dataclasses.dataclass(frozen=True)
class Shot:
    """One rendering, which gives one clip or, of a temporal pair, two.

    Attributes:
        index: position in the plan.
        action: what is played.
        group: person and scene, counted from 1 over the whole data set.
        number: of the shot within its group and action, from 1.
        part: "labelled", "unlabelled" or "unknown".
        recording: how it is stored.
        outputs: the clips.
    """

    index: int
    action: Action
    group: int
    number: int
    part: str
    recording: Recording
    outputs: tuple[Output, ...]


@dataclasses.dataclass(frozen=True)
class _Slot:
    """A shot that has no recording yet."""

    action: Action
    group: int
    number: int
    part: str


def plan(settings: StickActions) -> tuple[Shot, ...]:
    """Return every shot of a data set, in a fixed order."""
    slots = _slots(settings)
    recordings = _recordings(settings.seed, len(slots))
    numbers = iter(_hidden_numbers(settings.seed, slots))
    shots = []
    for index, (slot, recording) in enumerate(zip(slots, recordings, strict=True)):
        outputs = _outputs(slot, recording, [next(numbers) for _ in slot.action.labels])
        shots.append(Shot(index, slot.action, slot.group, slot.number, slot.part, recording, outputs))
    return tuple(shots)


def take_rng(seed: int, shot: Shot) -> np.random.Generator:
    """Return the source of what differs between the takes of a group."""
    kind = (KNOWN + HELD_OUT).index(shot.action)
    return np.random.default_rng([seed, _TAKE, kind, shot.group, shot.number])


def group_rng(seed: int, group: int) -> np.random.Generator:
    """Return the source of a group's person and scene."""
    return np.random.default_rng([seed, _CAST, group])


def labelled_groups(settings: StickActions) -> int:
    """Return the number of groups that hold the labelled clips; they have the numbers from 1."""
    return max(SMALLEST_SET, settings.clips_per_class // CLIPS_PER_GROUP)


def manifest_folds(settings: StickActions, shots: Sequence[Shot]) -> list[list[Clip]]:
    """Return the manifest's rows for every fold, sorted by path."""
    rows = sorted(((shot, output) for shot in shots for output in shot.outputs), key=lambda row: row[1].path)
    return [[_clip(settings, shot, output, fold) for shot, output in rows] for fold in range(1, FOLDS + 1)]


def _slots(settings: StickActions) -> list[_Slot]:
    if settings.clips_per_class < SMALLEST_SET:
        raise UserError(
            f"stick-actions needs at least {SMALLEST_SET} clips per class for its {FOLDS} folds, "
            f"found {settings.clips_per_class}; raise data.stick_actions.clips_per_class."
        )
    labelled, count = labelled_groups(settings), settings.clips_per_class
    fewer = max(2, count // 4)
    hidden = max(2, fewer // CLIPS_PER_GROUP)
    slots = _dealt(KNOWN, "labelled", count, range(1, labelled + 1))
    slots += _dealt(KNOWN, "unlabelled", fewer, range(labelled + 1, labelled + hidden + 1))
    return slots + _dealt(HELD_OUT, "unknown", fewer, range(labelled + hidden + 1, labelled + 2 * hidden + 1))


def _dealt(actions: Sequence[Action], part: str, count: int, groups: range) -> list[_Slot]:
    """Deal `count` shots of every action evenly to the groups."""
    cells = [(groups[number % len(groups)], number // len(groups) + 1) for number in range(count)]
    return [_Slot(action, group, number, part) for action in actions for group, number in sorted(cells)]


def _recordings(seed: int, count: int) -> list[Recording]:
    """Deal formats, sizes and rates independently of what is shown; draw the lengths."""
    rng = np.random.default_rng([seed, _DECK])
    formats, sizes, rates = (_dealt_from(rng, deck, count) for deck in (FORMAT_DECK, SIZES, RATES))
    lengths = 1.5 + 2.5 * rng.beta(1.4, 3.2, count)
    recordings = []
    for form, (width, height), fps, seconds in zip(formats, sizes, rates, lengths, strict=True):
        if form == "h264-portrait":
            width, height = height, width
        recordings.append(Recording(form, width, height, fps, math.ceil(seconds * fps)))
    return recordings


def _dealt_from(rng: np.random.Generator, deck: Sequence, count: int) -> list:
    """Shuffle whole decks one after the other, and take `count` cards."""
    cards: list = []
    while len(cards) < count:
        cards += [deck[index] for index in rng.permutation(len(deck))]
    return cards[:count]


def _hidden_numbers(seed: int, slots: Sequence[_Slot]) -> list[int]:
    """Number the clips that a shot gives; unlabelled ones are shuffled within their group, to give nothing away."""
    numbers = [slot.number for slot in slots for _ in slot.action.labels]
    parts = [(slot.part, slot.group) for slot in slots for _ in slot.action.labels]
    for part, group in sorted(set(parts)):
        if part == "unlabelled":
            members = [index for index, key in enumerate(parts) if key == (part, group)]
            drawn = np.random.default_rng([seed, _SHUFFLE, group]).permutation(len(members)) + 1
            for index, number in zip(members, drawn.tolist(), strict=True):
                numbers[index] = number
    return numbers


def _outputs(slot: _Slot, recording: Recording, numbers: Sequence[int]) -> tuple[Output, ...]:
    outputs = []
    for backwards, (label, number) in enumerate(zip(slot.action.labels, numbers, strict=True)):
        name = "Unlabelled" if slot.part == "unlabelled" else label
        stem = f"{name}/v_{name}_g{slot.group:02d}_c{number:02d}"
        folder = {"labelled": "videos/", "unlabelled": "", "unknown": "unknown/"}[slot.part]
        depth, boxes = f"depth/{stem}{DEPTH_FORMAT.suffix}", f"boxes/{stem}.json"
        outputs.append(Output(f"{folder}{stem}{recording.suffix}", depth, boxes, label, bool(backwards)))
    return tuple(outputs)


def _clip(settings: StickActions, shot: Shot, output: Output, fold: int) -> Clip:
    hidden = shot.part == "unlabelled"
    verb, noun = (None, None) if hidden else verb_and_noun(output.label)
    return Clip(
        path=output.path,
        label=None if hidden else output.label,
        split=_split(settings, shot, fold),
        group=f"g{shot.group:02d}",
        frames=shot.recording.frames,
        fps=round(float(shot.recording.fps), 3),
        verb=verb,
        noun=noun,
        depth=output.depth,
        boxes=output.boxes,
    )


def _split(settings: StickActions, shot: Shot, fold: int) -> str:
    """As in UCF-101, each fold tests on its own run of groups, a little more than a quarter of them."""
    if shot.part != "labelled":
        return shot.part
    held_out = max(1, round(0.28 * labelled_groups(settings)))
    return "test" if (fold - 1) * held_out < shot.group <= fold * held_out else "train"
