"""Answers of several heads put together, as a verb and a noun make an action (Damen et al. 2022, EPIC-KITCHENS-100).

An action is right when all of its parts are right. The heads are taken as independent: the score of a combination is
the product of its parts' probabilities, over all combinations, whether the data set has them or not.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

_CLIPS_AT_A_TIME = 256


def of_known_classes(parts: Sequence[np.ndarray], of_class: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the probabilities of the combinations that the data set has, scaled to the sum 1: float32 (N, K).

    Args:
        parts: probabilities of each head, (N, K of the head).
        of_class: for each head the number of its class in each of the K combinations.
    """
    factors = (np.asarray(part, np.float64)[:, list(columns)] for part, columns in zip(parts, of_class, strict=True))
    scores = np.maximum(functools.reduce(np.multiply, factors), np.finfo(np.float64).tiny)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def ranks(parts: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> np.ndarray:
    """Return how many combinations score higher than the true one, int64 (N,); 0: all parts are right.

    Ties go to the combination that comes first when they are counted in the order of the heads.

    Args:
        parts: probabilities of each head, (N, K of the head).
        labels: true class in each head, (N,).
    """
    found = [
        _ranks([part[rows] for part in parts], [label[rows] for label in labels])
        for rows in _slices(len(labels[0]), _CLIPS_AT_A_TIME)
    ]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _ranks(parts: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> np.ndarray:
    scores = functools.reduce(_outer, (np.asarray(part, np.float64) for part in parts))
    sizes = [part.shape[1] for part in parts]
    true = np.ravel_multi_index(tuple(labels), sizes)
    own = np.take_along_axis(scores, true[:, None], axis=1)
    earlier = np.arange(scores.shape[1])[None] < true[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(axis=1)


def _outer(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, A), (N, B) -> (N, A * B)."""
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
