"""Moves of pixels along one axis: what TensorFlow's `ImageProjectiveTransformV3` computes for them, bit for bit.

TensorFlow computes a position and reads four pixels for every value of every channel of every frame. Where all pixels
move along one axis, a position needs two pixels, and it is the same in all frames and channels. The arithmetic
(float32, in this order) is TensorFlow's, so that the results are equal to the last bit; a test compares them.
"""

from __future__ import annotations

import cv2
import numpy as np


def move(frames: np.ndarray, axis: int, offsets: np.ndarray) -> np.ndarray:
    """Read each pixel from beside it, linearly interpolated, frames continued by their mirror image.

    Args:
        frames: uint8 (T, H, W, C), H and W at most 32767.
        axis: along which pixels move: 1 (columns, up and down) or 2 (rows, left and right).
        offsets: float32 (W,) for axis 1 or (H,) for axis 2: how much further along it each line's pixels are read, in
            pixels; or (1,) for all lines alike.

    Returns:
        uint8 (T, H, W, C), rounded to even.
    """
    height, width, channels = frames.shape[1:]
    length = frames.shape[axis]
    along, across = ((-1, 1), (1, -1)) if axis == 1 else ((1, -1), (-1, 1))
    places = np.arange(length, dtype=np.float32).reshape(along) + offsets.astype(np.float32).reshape(across)
    places = np.broadcast_to(_mirrored(places, length), (height, width))
    below = np.floor(places)
    first, second = (_maps(np.minimum(part, length - 1), axis) for part in (below, below + 1))
    weights = [np.repeat(part[..., None], channels, axis=-1) for part in (below + 1 - places, places - below)]
    result = np.empty(frames.shape, np.uint8)
    for source, target in zip(frames, result, strict=True):
        parts = []
        for maps, weight in zip((first, second), weights, strict=True):
            read = cv2.remap(source, maps, None, cv2.INTER_NEAREST).reshape(source.shape)
            parts.append(cv2.multiply(read, weight, dtype=cv2.CV_32F))
        target[...] = cv2.add(*parts, dtype=cv2.CV_8U).reshape(target.shape)
    return result


def _mirrored(places: np.ndarray, length: int) -> np.ndarray:
    """Return where places beyond 0..length - 1 lie in the mirror image: float32, as TensorFlow's mode REFLECT."""
    period = np.float32(2 * length)
    under = np.where(places < period, period * np.trunc(-places / period) + places, places)
    under = np.where(under < -length, under + period, -under - 1)
    over = places - period * np.trunc(places / period)
    over = np.where(over >= length, period - over - 1, over)
    inside = np.where(places < 0, under, np.where(places > length - 1, over, places))
    return np.clip(inside, np.float32(0), np.float32(length - 1))


def _maps(places: np.ndarray, axis: int) -> np.ndarray:
    """Return which pixel (x, y) is read: int16 (H, W, 2), whole `places` along the axis and the same line across."""
    height, width = places.shape
    maps = np.empty((height, width, 2), np.int16)
    maps[..., 0] = places if axis == 2 else np.arange(width)
    maps[..., 1] = places if axis == 1 else np.arange(height)[:, None]
    return maps
