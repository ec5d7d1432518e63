"""How well known actions are told from unknown ones: by the network's probabilities, by energy, by distance.

Scores are the higher the more a clip looks known. Clips of the split "unknown" are of classes that the network was not
trained on; nothing is chosen by them. N known clips, U unknown ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_actrec.evaluation.codes import Codes
from keras_actrec.evaluation.repository import Repository

BINS = 30
CURVE_POINTS = 101


def max_softmax(codes: Codes) -> np.ndarray:
    """Return float64 (N,): the probability of the most probable class, averaged over views before."""
    return codes.probabilities().max(axis=1)


def energy(codes: Codes) -> np.ndarray:
    """Return float64 (N,): log sum exp of the logits, the negative energy (Liu 2020, Eq. 4), mean over views."""
    logits = codes.logits.astype(np.float64)
    most = logits.max(axis=-1, keepdims=True)
    return (np.log(np.exp(logits - most).sum(axis=-1)) + most[..., 0]).mean(axis=1)


def auroc(known: np.ndarray, unknown: np.ndarray) -> float | None:
    """Return how often a known clip scores higher than an unknown one (Mann and Whitney); ties count 1/2.

    None without known or without unknown clips.
    """
    return oscr(known, np.ones(len(known), bool), unknown)


def oscr(known: np.ndarray, right: np.ndarray, unknown: np.ndarray) -> float | None:
    """Return the area under correct classification rate against false positive rate (Dhamija 2018, Section 4).

    That is the share of all pairs of a known and an unknown clip in which the known one is classified correctly and
    scores higher; ties count 1/2. It is at most the accuracy, and at most the AUROC.

    Args:
        known: scores (N,).
        right: bool (N,): whether the clip is classified correctly.
        unknown: scores (U,).
    """
    known, unknown = _finite(known), np.sort(_finite(unknown))
    if not len(known) or not len(unknown):
        return None
    below = np.searchsorted(unknown, known, "left") + np.searchsorted(unknown, known, "right")
    return float((below * np.asarray(right, bool)).sum() / (2 * len(known) * len(unknown)))


def oscr_curve(known: np.ndarray, right: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false positive rates and correct classification rates, rising, from (0, 0) to (1, accuracy).

    One point per distinct score: what is accepted when the threshold stands there. With `right` all true it is the ROC
    curve. The area below (trapezoids) is `oscr`.
    """
    known, unknown = _finite(known), _finite(unknown)
    thresholds = np.unique(np.concatenate([known, unknown]))[::-1]
    correct = known[np.asarray(right, bool)]
    return _share_from(unknown, thresholds, len(unknown)), _share_from(correct, thresholds, len(known))


def fpr95(known: np.ndarray, unknown: np.ndarray) -> float | None:
    """Return the share of unknown clips that score no less than the threshold at which 95 % of the known ones pass."""
    known, unknown = _finite(known), _finite(unknown)
    if not len(known) or not len(unknown):
        return None
    needed = -(-95 * len(known) // 100)
    return float((unknown >= np.sort(known)[::-1][needed - 1]).mean())


def false_accepts(distances: np.ndarray, gammas: np.ndarray | float) -> float | None:
    """Return the share of clips nearer than gamma; None without clips.

    Args:
        distances: (U,), to the nearest centre.
        gammas: (U,), of that centre, or one for all.
    """
    return float((np.asarray(distances) < gammas).mean()) if len(distances) else None


def measure(
    known: Codes, unknown: Codes, classes: Sequence[str], repository: Repository | None = None
) -> dict[str, Any]:
    """Return all open-set numbers of a network as JSON can hold them.

    Args:
        known: of the test split.
        unknown: of the split "unknown". Clips of a class that has been added to the repository are left out.
        classes: class names, in the order of the logits.
        repository: adds the distance to its nearest centre, and what its gamma accepts.
    """
    if repository is not None:
        unknown = _rows(unknown, np.array([name not in repository.names for name in unknown.names], bool))
    answers = known.probabilities().argmax(axis=1)
    right = answers == known.labels
    scores = {
        "max_softmax": _numbers(max_softmax(known), right, max_softmax(unknown), unknown.names),
        "energy": _numbers(energy(known), right, energy(unknown), unknown.names),
    }
    document: dict[str, Any] = {
        "known": len(known.labels),
        "unknown": len(unknown.labels),
        "unknown_classes": {name: unknown.names.count(name) for name in sorted(set(unknown.names))},
        "top1": _mean(right),
        "scores": scores,
    }
    if repository is None:
        return document
    found, near = repository.nearest(known.mean())
    _, far = repository.nearest(unknown.mean())
    truth = np.array([classes[label] if label >= 0 else "" for label in known.labels], object)
    nearest_right = np.array(repository.names, object)[found] == truth
    scores["distance"] = _numbers(-near, nearest_right, -far, unknown.names)
    return document | {"repository": _at_gamma(known, unknown, truth, repository)}


def _at_gamma(known: Codes, unknown: Codes, truth: np.ndarray, repository: Repository) -> dict[str, Any]:
    """Return what the repository's gamma accepts, and what of it is right."""
    found, near = repository.nearest(known.mean())
    other, far = repository.nearest(unknown.mean())
    accepted = near < repository.gammas[found]
    right = np.array(repository.names, object)[found] == truth
    return {
        "actions": len(repository.names),
        "codes": len(repository.codes),
        "code_size": repository.code_size,
        "rule": repository.rule,
        "false_accepts_asked": repository.false_accepts,
        "gammas": {
            name: float(value) if np.isfinite(value) else None
            for name, value in zip(repository.names, repository.gammas, strict=True)
        },
        "false_accepts": false_accepts(far, repository.gammas[other]),
        "known_accepted": _mean(accepted),
        "known_right": _mean(accepted & right),
        "accepted_right": _mean(right[accepted]),
        "top1": _mean(right),
    }


def _numbers(known: np.ndarray, right: np.ndarray, unknown: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    of_class = np.array(names, object)
    return {
        "auroc": auroc(known, unknown),
        "oscr": oscr(known, right, unknown),
        "fpr95": fpr95(known, unknown),
        "top1": _mean(right),
        "per_class": {name: auroc(known, unknown[of_class == name]) for name in sorted(set(names))},
        "histogram": _histogram(known, unknown),
        "curve": _curve(known, right, unknown),
    }


def _histogram(known: np.ndarray, unknown: np.ndarray) -> dict[str, list[float]]:
    """Return equally wide bins over all scores, and how many clips each holds."""
    both = np.concatenate([known, unknown])
    if not len(both):
        return {"edges": [], "known": [], "unknown": []}
    low, high = float(both.min()), float(both.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # too near to each other for bins between them
        low, high = low - 0.5, high + 0.5
    edges = np.histogram_bin_edges(both, BINS, (low, high))
    counts = {name: np.histogram(part, edges)[0].tolist() for name, part in (("known", known), ("unknown", unknown))}
    return {"edges": edges.tolist(), **counts}


def _curve(known: np.ndarray, right: np.ndarray, unknown: np.ndarray) -> dict[str, list[float]]:
    """Return ROC and OSCR curve with at most `CURVE_POINTS` points, for the picture."""
    if not len(known) or not len(unknown):
        return {"fpr": [], "tpr": [], "ccr": []}
    fpr, tpr = oscr_curve(known, np.ones(len(known), bool), unknown)
    _, ccr = oscr_curve(known, right, unknown)
    chosen = np.unique(np.linspace(0, len(fpr) - 1, CURVE_POINTS).round().astype(int))
    return {name: part[chosen].tolist() for name, part in (("fpr", fpr), ("tpr", tpr), ("ccr", ccr))}


def _share_from(scores: np.ndarray, thresholds: np.ndarray, total: int) -> np.ndarray:
    """Return 0 and, for each threshold, the number of scores that reach it as a share of `total`."""
    passed = len(scores) - np.searchsorted(np.sort(scores), thresholds, "left")
    return np.concatenate([[0.0], passed / max(total, 1)])


def _rows(codes: Codes, chosen: np.ndarray) -> Codes:
    names = tuple(name for name, yes in zip(codes.names, chosen, strict=True) if yes)
    return Codes(codes.values[chosen], codes.logits[chosen], codes.indices[chosen], codes.labels[chosen], names)


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _finite(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: a score that is NaN is neither above nor below another one")
    return scores
