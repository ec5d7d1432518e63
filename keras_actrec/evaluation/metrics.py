"""Accuracy in its several senses: pure functions of arrays. N clips, K classes.

Accuracy counts the clips that could be read. Clips in quarantine are neither right nor wrong in it, they lower the
coverage; `top1_of_all` counts them as wrong. Where nothing was measured a number is None, never 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


def hits(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """Return bool (N,): whether the label is among the k most probable classes.

    Ties go to the lower class index, as in `argmax`, so a constant output is not called right.

    Args:
        probabilities: (N, K), finite.
        labels: (N,) integers below K.
        k: at least 1; more than K is K.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities must be finite")
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1])[None] < labels[:, None]
    rank = ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)
    return rank < k


def accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> float | None:
    """Return the share of clips whose label is among the k most probable classes."""
    return float(hits(probabilities, labels, k).mean()) if len(labels) else None


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return int64 (K, K): rows are true classes, columns predicted ones."""
    classes = probabilities.shape[1]
    matrix = np.zeros((classes, classes), np.int64)
    if len(labels):
        np.add.at(matrix, (labels, probabilities.argmax(axis=1)), 1)
    return matrix


def mean_class_accuracy(confusion: np.ndarray) -> float | None:
    """Return the mean recall over the classes that have clips: each class counts alike, however many clips it has."""
    support = confusion.sum(axis=1)
    present = support > 0
    return float((confusion.diagonal()[present] / support[present]).mean()) if present.any() else None


def per_class(confusion: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
    """Return class name -> precision, recall, f1, support (clips of that class).

    Precision of a class that was never predicted, and recall of a class without clips, are None.
    """
    right, support, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        name: {
            "precision": _ratio(right[index], predicted[index]),
            "recall": _ratio(right[index], support[index]),
            "f1": _ratio(2 * right[index], support[index] + predicted[index]),
            "support": int(support[index]),
        }
        for index, name in enumerate(classes)
    }


def groups(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], named: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return the accuracy within groups of classes, such as temporal pairs, that only a sense of time tells apart.

    Only clips of the group's classes count, and the answer is the most probable class of the group: chance is one over
    its size, whatever else the network confuses.

    Returns:
        {"mean": mean over the groups that have clips, "each": {name: {"accuracy", "chance", "clips", "classes"}}}.
    """
    position = {name: index for index, name in enumerate(classes)}
    each = {}
    for name, members in named.items():
        columns = np.array(sorted(position[member] for member in members))
        inside = np.isin(labels, columns)
        answers = columns[probabilities[inside][:, columns].argmax(axis=1)]
        right = int((answers == labels[inside]).sum())
        count = int(inside.sum())
        each[name] = {
            "accuracy": _ratio(right, count),
            "chance": 1 / len(columns),
            "clips": count,
            "classes": list(members),
        }
    measured = [entry["accuracy"] for entry in each.values() if entry["accuracy"] is not None]
    return {"mean": math.fsum(measured) / len(measured) if measured else None, "each": each}


def name_pairs(pairs: Sequence[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Name groups by their classes: ("sit", "stand") becomes "sit / stand"."""
    return {" / ".join(pair): tuple(pair) for pair in pairs}


def wilson_interval(right: int, count: int, z: float = Z_95) -> tuple[float, float] | None:
    """Return the Wilson score interval of a share (Wilson 1927; Brown, Cai and DasGupta 2001, equation 4).

    It takes the clips as independent draws, which clips of one group are not quite; and it says nothing of how the
    result changes with the training seed. So it is a lower bound of the uncertainty.
    """
    if not count:
        return None
    share = right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (0.0 if right == 0 else centre - half, 1.0 if right == count else centre + half)


def _ratio(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None
