"""The overlay video: the clip, and the clip under its heat, side by side, at the speed of the video."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np

from keras_actrec.data.synthetic.recording import for_browsers, write_video
from keras_actrec.explain import pictures

SIDE = 256
"""Height and width of either half, in pixels."""
_LOWEST_RATE = 10
"""Frames per second below which browsers and players begin to stumble; slower clips repeat their frames."""
_LONGEST_SEC = 0.5
"""For how long a frame stands at most, where the clip's frames lie further apart."""


def write(path: str | os.PathLike[str], frames: np.ndarray, heat: np.ndarray, frames_per_sec: float) -> None:
    """Write an MP4 that browsers play (H.264, 4:2:0; MPEG-4 where FFmpeg has no H.264 encoder).

    Args:
        path: target.
        frames: uint8 (T, S, S, 3).
        heat: float32 (T, H, W).
        frames_per_sec: how fast the clip's frames follow each other in the video.
    """
    left = pictures.resized(frames, (SIDE, SIDE))
    both = np.concatenate([left, pictures.overlaid(left, heat)], axis=2)
    rate = max(frames_per_sec, 1 / _LONGEST_SEC)
    repeats = max(1, math.ceil(_LOWEST_RATE / rate))
    fps = Fraction(rate * repeats).limit_denominator(1000)
    write_video(Path(path), (picture for picture in both for _ in range(repeats)), for_browsers(), fps)


def speed(indices: np.ndarray, fps: float) -> float:
    """Return how many of the chosen frames pass in a second of the video.

    Args:
        indices: numbers of the frames in the video, (T,).
        fps: of the video.
    """
    steps = np.abs(np.diff(indices))
    return float(fps / steps.mean()) if steps.any() else float(fps)
