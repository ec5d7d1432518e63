"""What an export says beside what its original says, on the same real clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_actrec.serving.export_clips import Clips, Inputs

BATCH_SIZE = 8
TOLERANCE = 1e-4
"""Largest difference of a probability that a float export may show."""
Runner = Callable[[Inputs], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far an export is from its original.

    Attributes:
        split: of the clips.
        clips: number of clips that could be read, which is what all numbers are of.
        expected: number that was to be compared.
        unreadable: paths of those that could not be read.
        probability: largest absolute difference of a probability.
        logit: of a logit.
        agreement: share of the clips (and heads) of which both say the same class.
        correct: "original" and "export" -> {head: share of clips whose class is right}; of clips that have one.
    """

    split: str
    clips: int
    expected: int
    unreadable: tuple[str, ...]
    probability: float
    logit: float
    agreement: float
    correct: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return dataclasses.asdict(self)

    def accuracy_change(self) -> dict[str, float]:
        """Return head -> accuracy of the export less that of the original, as a share."""
        before, after = self.correct["original"], self.correct["export"]
        return {head: after[head] - before[head] for head in before}


def compare(original: Runner, export: Runner, clips: Clips, outputs: Mapping[str, tuple[str, str]]) -> Comparison:
    """Run both on the clips, in batches of `BATCH_SIZE`; the export sees the first clip alone, too.

    Args:
        original: gives the outputs of the network.
        export: gives those of the export.
        clips: real ones.
        outputs: head -> names of its logits and its probabilities.
    """
    want, got = (_run(runner, clips) for runner in (original, export))
    alone = export({name: value[:1] for name, value in clips.inputs.items()})
    pairs = [(want[name], got[name]) for names in outputs.values() for name in names]
    pairs += [(want[name][:1], alone[name]) for names in outputs.values() for name in names]
    logit, probability = (max(_difference(*pair) for pair in pairs[kind::2]) for kind in (0, 1))
    said = {
        side: {head: found[names[1]].argmax(axis=1) for head, names in outputs.items()}
        for side, found in (("original", want), ("export", got))
    }
    agreement = np.mean([np.mean(said["original"][head] == said["export"][head]) for head in outputs])
    correct = {side: _accuracy(classes, clips.labels) for side, classes in said.items()}
    return Comparison(
        split=clips.split,
        clips=len(clips),
        expected=len(clips) + len(clips.unreadable),
        unreadable=clips.unreadable,
        probability=probability,
        logit=logit,
        agreement=float(agreement),
        correct=correct,
    )


def counted(found: Mapping[str, Any]) -> str:
    """Return how many clips a comparison is of: "24 test", or "8 of 24 test" where some could not be read."""
    some = "" if found["clips"] == found["expected"] else f" of {found['expected']}"
    return f"{found['clips']}{some} {found['split']}"


def lost(unreadable: Sequence[str], split: str) -> str:
    """Return a sentence about clips that could not be read; nothing where all could."""
    if not unreadable:
        return ""
    many = "s" if len(unreadable) > 1 else ""
    return f"{len(unreadable)} {split} clip{many} could not be read (such as {unreadable[0]})"


def _run(runner: Runner, clips: Clips) -> dict[str, np.ndarray]:
    parts = [runner(batch) for batch in clips.batches(BATCH_SIZE)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest absolute difference; infinite where one is no number."""
    difference = np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).max()
    return float(difference) if np.isfinite(difference) else float("inf")


def _accuracy(classes: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> dict[str, float]:
    found = {}
    for head, numbers in classes.items():
        known = labels[head] >= 0
        if known.any():
            found[head] = float(np.mean(numbers[known] == labels[head][known]))
    return found
