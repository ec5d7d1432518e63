"""Dropout of patches: a share of the squares of a grid is blanked, the same ones in all frames of a clip.

What lies under a patch is gone for the whole clip (a "tube"), so that it cannot be read from a neighbouring frame. The
draw is a grid of booleans and knows no pixels: clips of any size and number of frames lose the same places.
"""

from __future__ import annotations

import numpy as np

Patches = tuple[tuple[bool, ...], ...]
"""Rows of a square grid, from the top; True: blanked. Empty: nothing is."""


def draw(rng: np.random.Generator, share: float, grid: int) -> Patches:
    """Draw round(`share` x `grid`^2) patches of a grid, each as probable as any other.

    Args:
        rng: source of all randomness.
        share: of the patches that are blanked, in [0, 1].
        grid: patches per side.
    """
    count = round(share * grid**2)
    if not count:
        return ()
    blanked = np.zeros(grid**2, bool)
    blanked[rng.choice(grid**2, count, replace=False)] = True
    return tuple(tuple(row) for row in blanked.reshape(grid, grid).tolist())


def apply(frames: np.ndarray, patches: Patches, value: int) -> np.ndarray:
    """Blank the drawn patches.

    A pixel belongs to the patch in which its centre lies, so that patches are equally large up to one pixel.

    Args:
        frames: uint8 (T, H, W, C); is not changed.
        patches: as `draw` gave them.
        value: what is written there, in all channels.

    Returns:
        uint8 (T, H, W, C), `frames` itself where there is nothing to blank.
    """
    if not patches:
        return frames
    grid = np.array(patches)
    rows, columns = (_patch_of(side, len(grid)) for side in frames.shape[1:3])
    result = frames.copy()
    result[:, grid[np.ix_(rows, columns)]] = value
    return result


def _patch_of(side: int, grid: int) -> np.ndarray:
    """Return in which patch each pixel along a side lies: int64 (side,)."""
    return (2 * np.arange(side) + 1) * grid // (2 * side)
