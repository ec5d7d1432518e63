"""Which pairs of tokens share a relative-position embedding: RPE-STDT, Sec. 3.3.3. NumPy only.

A distance along one axis, in tokens, is mapped onto an integer in [-y, y]; y is called `reach`. The integers of all
axes together number a cluster: every pair of tokens of a cluster has the same trained vector.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from keras_actrec.errors import UserError, did_you_mean

Mapping = Literal["sectioned", "clip"]
MAPPINGS: tuple[str, ...] = get_args(Mapping)
_TIE = 1e-9
"""What lies so near below a half counts as one: in floating point, exact halves may come out on either side."""


def sectioned(distance: np.ndarray, reach: int, partition: float = 0.5, curvature: float = 4.0) -> np.ndarray:
    """Return s(x) of Eq. 3.8 and 3.9: exact near by, by the logarithm farther out; int64, the shape of `distance`.

        s(x) = [x]                                                     where |x| <= b
        s(x) = sign(x) min(y, [b + ln(|x| / b) / ln(a / b) (y - b)])   elsewhere

    [.] rounds, halves away from zero, so that s(-x) = -s(x). Where x reaches a, s reaches y.

    Args:
        distance: signed, x.
        reach: y.
        partition: b / y (paper: 1 / 2).
        curvature: a / y (paper: 8 / 2).
    """
    size, b, a = np.abs(np.asarray(distance, np.float64)), partition * reach, curvature * reach
    farther = b + np.log(np.maximum(size, b) / b) / math.log(a / b) * (reach - b)
    steps = np.where(size <= b, _rounded(size), np.minimum(reach, _rounded(farther)))
    return (np.sign(distance) * steps).astype(np.int64)


def clipped(distance: np.ndarray, reach: int) -> np.ndarray:
    """Return clip(x, y) = max(-y, min(y, x)), of whole numbers; int64."""
    return np.clip(np.rint(distance), -reach, reach).astype(np.int64)


def number_of_clusters(axes: int, reach: int, class_token: bool) -> int:
    """Return (2 y + 1)^axes, and one more for the class token."""
    return (2 * reach + 1) ** axes + class_token


def cluster_index(
    grid: tuple[int, ...],
    mapping: Mapping = "sectioned",
    reach: int = 3,
    partition: float = 0.5,
    curvature: float = 4.0,
    class_token: bool = True,
) -> np.ndarray:
    """Return the cluster of every pair of tokens (Eq. 3.10, per axis, and 3.11): int32 (N, N), [i, j] for i and j.

    Tokens are counted along the last axis first, behind the class token if there is one. The clusters are numbered
    alike: with axes y and x, (D_y + reach) (2 reach + 1) + D_x + reach, where D = s(position of i - position of j).
    The last cluster is that of every pair with the class token.

    Args:
        grid: tokens along each axis.
        mapping: "sectioned" or "clip".
        reach: largest integer that a distance is mapped onto.
        partition: b / y of the sectioned function.
        curvature: a / y of the sectioned function.
        class_token: whether a token that has no position stands before the others.

    Raises:
        UserError: an unknown mapping, or a number out of range.
    """
    check(mapping, reach, partition, curvature)
    positions = np.stack(np.unravel_index(np.arange(math.prod(grid)), grid))
    distances = positions[:, :, None] - positions[:, None, :]
    steps = sectioned(distances, reach, partition, curvature) if mapping == "sectioned" else clipped(distances, reach)
    index = np.zeros(steps.shape[1:], np.int64)
    for axis in steps:
        index = index * (2 * reach + 1) + axis + reach
    if class_token:
        index = np.pad(index, ((1, 0), (1, 0)), constant_values=number_of_clusters(len(grid), reach, False))
    return index.astype(np.int32)


def check(mapping: str, reach: int, partition: float, curvature: float) -> None:
    """Refuse what `cluster_index` cannot use.

    Raises:
        UserError: an unknown mapping, or a number out of range.
    """
    if mapping not in MAPPINGS:
        raise UserError(f"there is no mapping '{mapping}' of relative positions.{did_you_mean(mapping, MAPPINGS)}")
    if reach < 1:
        raise UserError(f"the reach of relative positions must be at least 1, got {reach}.")
    if not 0 < partition <= 1 < curvature:
        raise UserError(
            "of the sectioned function, partition must lie above 0 and at most at 1, and curvature above 1; got"
            f" {partition} and {curvature}."
        )


def _rounded(x: np.ndarray) -> np.ndarray:
    """Round numbers that are not negative, halves up."""
    return np.floor(x + 0.5 + _TIE)
