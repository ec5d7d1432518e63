"""Operations on single values of uint8 clips: a table per channel, which all pixels are looked up in."""

from __future__ import annotations

import cv2
import numpy as np


def histograms(frames: np.ndarray) -> np.ndarray:
    """Count the values of each channel over all frames.

    Args:
        frames: uint8 (T, H, W, C).

    Returns:
        int64 (256, C).
    """
    tall = _tall(frames)
    # OpenCV's counts are float32, which are whole numbers to 2^24: hence not more pixels than that at once.
    rows = max(1, 2**24 // tall.shape[1])
    counts = np.zeros((256, tall.shape[2]), np.int64)
    for start in range(0, len(tall), rows):
        part = tall[start : start + rows]
        for channel in range(tall.shape[2]):
            counts[:, channel] += cv2.calcHist([part], [channel], None, [256], [0, 256])[:, 0].astype(np.int64)
    return counts


def look_up(frames: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace each value by its entry of the table.

    Args:
        frames: uint8 (T, H, W, C).
        table: uint8 (256,) for all channels alike, or (256, C).

    Returns:
        uint8 (T, H, W, C).
    """
    if table.ndim == 2:
        table = table[None]  # OpenCV's form of a table per channel: an image of one row
    return cv2.LUT(_tall(frames), np.ascontiguousarray(table)).reshape(frames.shape)


def _tall(frames: np.ndarray) -> np.ndarray:
    """Return all frames as one image, one above the other: (T x H, W, C)."""
    return np.ascontiguousarray(frames).reshape(-1, *frames.shape[2:])
