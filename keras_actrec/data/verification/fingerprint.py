"""Perceptual hashes of a video's frames: nearly equal for copies that were encoded, scaled or slightly cropped anew.

Each hashed frame is squashed to 32 x 32 grey values and gives two hashes of 64 bits: one of the picture, one of what
differs from the mean of the video's hashed frames. The first sees the scene, the second what moves in it: clips that
one fixed camera took share the first alone. A hash is the signs of the 8 x 8 lowest frequencies of a cosine transform,
but for the mean, against their median. A picture without contrast, or in which nothing moves, has none.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

SIDE_PX = 32
BITS = 64
STEP_SEC = 0.25
"""Between hashed frames when every frame is decoded; doubled until `MOST_FRAMES` suffice."""
MOST_FRAMES = 64
_LOWEST = 8
_FLAT = 2.0
"""Standard deviation of the grey values, as far as the lowest frequencies make it, below which there is no contrast."""
_STILL = 1.0
"""The same, below which nothing moves."""

_COSINES = np.cos(np.pi / SIDE_PX * (np.arange(SIDE_PX) + 0.5) * np.arange(_LOWEST)[:, None]).astype(np.float32)
_COSINES *= np.sqrt(np.float32(2 / SIDE_PX))
"""The first rows of the orthonormal cosine transform (DCT-II), (8, 32), but for the mean, which is left out anyhow."""


def halved(grey: np.ndarray) -> np.ndarray:
    """Return a copy of a picture, uint8 (H, W), with its sides halved as long as the shorter one keeps 64 pixels.

    To be done right after a frame was decoded, while it lies in the processor's cache; to hold the frame instead takes
    its memory from the decoder, which then writes the next ones to a new place.
    """
    small = grey
    while min(small.shape) >= 4 * SIDE_PX:
        height, width = small.shape[0] // 2, small.shape[1] // 2
        small = cv2.resize(small[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return small if small is not grey else grey.copy()


def thumbnails(grey: Sequence[np.ndarray]) -> np.ndarray:
    """Squash pictures of one size, uint8 (H, W) each, to uint8 (T, 32, 32): averages over areas, by halves first.

    The pictures are stacked to one high one, because a call costs more than the work: where one ends and the next one
    begins is between two rows of the result. The result is the same whether they were `halved` before or not.
    """
    pictures = np.concatenate([_even(picture) for picture in grey])
    height, width = pictures.shape[0] // len(grey), pictures.shape[1]
    while min(height, width) >= 2 * SIDE_PX:
        if height % 2 or width % 2:
            pictures = np.concatenate([_even(picture) for picture in np.split(pictures, len(grey))])
        height, width = height // 2, width // 2
        pictures = cv2.resize(pictures, (width, len(grey) * height), interpolation=cv2.INTER_AREA)
    small = cv2.resize(pictures, (SIDE_PX, len(grey) * SIDE_PX), interpolation=cv2.INTER_AREA)
    return small.reshape(len(grey), SIDE_PX, SIDE_PX)


def _even(picture: np.ndarray) -> np.ndarray:
    """Leave out the last row or column of an odd number, where the picture is going to be halved."""
    if min(picture.shape) < 2 * SIDE_PX:
        return picture
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]


def sampled(times_sec: np.ndarray) -> np.ndarray:
    """Return which frames are hashed when all are decoded: those nearest to every quarter (half, ...) of a second.

    Args:
        times_sec: when each frame is displayed, the first at 0.
    """
    step = STEP_SEC
    while times_sec[-1] / step >= MOST_FRAMES:
        step *= 2
    wanted = np.arange(0, times_sec[-1] + 1e-6, step)
    return np.unique(np.searchsorted(times_sec, wanted - 1e-6).clip(0, len(times_sec) - 1))


def spectra(thumbnails: np.ndarray) -> np.ndarray:
    """Return the lowest frequencies of pictures (T, 32, 32), without the mean: float32 (T, 64), the first 0."""
    low = (_COSINES @ thumbnails.astype(np.float32) @ _COSINES.T).reshape(len(thumbnails), -1)
    low[:, 0] = 0.0
    return low


def hashes(low: np.ndarray) -> list[list[str | None]]:
    """Return the hashes of the picture and of what moves, for each frame, as hexadecimal digits.

    Args:
        low: float32 (T, 64), the spectra of the frames. What moves has the spectrum that differs from their mean: the
            transform is linear.

    Returns:
        T pairs; None where there is no hash.
    """
    moving = low - low.mean(axis=0)
    return [list(pair) for pair in zip(_hashes(low, _FLAT), _hashes(moving, _STILL), strict=True)]


def _hashes(low: np.ndarray, least_contrast: float) -> list[str | None]:
    middle = (BITS - 1) // 2  # of 63 numbers
    bits = np.packbits(low > np.partition(low[:, 1:], middle, axis=1)[:, middle, None], axis=1)
    contrast = np.linalg.norm(low, axis=1) / SIDE_PX
    return [row.tobytes().hex() if there else None for row, there in zip(bits, contrast >= least_contrast, strict=True)]


def signs(pairs: Sequence[Sequence[str | None]]) -> np.ndarray:
    """Return hashes as numbers that a product of matrices compares: float32 (T, 128), +1 and -1, 0 for no hash."""
    out = np.zeros((len(pairs), 2, BITS), np.float32)
    for t, pair in enumerate(pairs):
        for kind, text in enumerate(pair):
            if text is not None:
                out[t, kind] = 2.0 * np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)) - 1.0
    return out.reshape(len(pairs), 2 * BITS)
