"""Whether a network's confidence can be believed: calibration error, log likelihood, Brier score. Pure functions.

N clips, K classes. Confidence is the probability of the most probable class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 15


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """Return the reliability table: equally wide bins of confidence, with mean confidence and accuracy in each.

    Bins are (low, high], the first one includes 0; empty bins have None for confidence and accuracy (Guo et al. 2017,
    section 2).

    Args:
        probabilities: (N, K).
        labels: (N,).
        bins: number of bins.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    confidence = probabilities.max(axis=1, initial=0.0).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels if len(labels) else np.zeros(0, bool)
    member = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return [
        _bin(edges[index : index + 2], confidence[member == index], right[member == index]) for index in range(bins)
    ]


def expected_calibration_error(table: list[dict[str, Any]]) -> float | None:
    """Return the mean gap between confidence and accuracy, weighted by clips (Guo et al. 2017, equation 3)."""
    count = sum(row["clips"] for row in table)
    gaps = [row["clips"] * abs(row["accuracy"] - row["confidence"]) for row in table if row["clips"]]
    return sum(gaps) / count if count else None


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean of -ln p(label), in nats; a probability of zero counts as the smallest float32 above it."""
    if not len(labels):
        return None
    own = np.take_along_axis(probabilities, labels[:, None], axis=1).astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean squared distance to the one-hot label, summed over classes: 0 best, 2 worst (Brier 1950)."""
    if not len(labels):
        return None
    one_hot = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities.astype(np.float64) - one_hot) ** 2).sum(axis=1).mean())


def _bin(edges: np.ndarray, confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    filled = len(confidence) > 0
    return {
        "low": float(edges[0]),
        "high": float(edges[1]),
        "clips": len(confidence),
        "confidence": float(confidence.mean()) if filled else None,
        "accuracy": float(right.mean()) if filled else None,
    }
