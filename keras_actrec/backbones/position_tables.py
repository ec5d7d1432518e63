"""Position vectors for a grid of another size: a table that was trained on some places gives the vectors of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Resampling = Literal["linear", "nearest"]


def resample(grid: np.ndarray, extent: Sequence[int], how: Resampling = "linear") -> np.ndarray:
    """Give a grid of vectors another extent, each axis for itself: (n1, n2, ..., D) -> (m1, m2, ..., D).

    Places are the centres of equal cells, and beyond the outermost centres the outermost vector holds; "linear" over
    two axes is then what is called bilinear. Both agree with PyTorch's `interpolate` (`align_corners=False`).

    Args:
        grid: at least one axis of places, and the vectors.
        extent: the new number of places along each axis.
        how: mix the two neighbours, or take the nearest one as `floor(place * n / m)` has it.
    """
    for axis, places in enumerate(extent):
        grid = _along(grid, axis, places, how)
    return grid


def _along(grid: np.ndarray, axis: int, places: int, how: Resampling) -> np.ndarray:
    known = grid.shape[axis]
    if known == places:
        return grid
    if how == "nearest":
        return np.take(grid, np.arange(places) * known // places, axis)
    at = np.clip((np.arange(places) + 0.5) * known / places - 0.5, 0, known - 1)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, known - 1)
    share = (at - before).reshape(-1, *(1 for _ in grid.shape[axis + 1 :]))
    mixed = np.take(grid, before, axis) * (1 - share) + np.take(grid, after, axis) * share
    return mixed.astype(grid.dtype)
