"""The second decoder: OpenCV, which brings a build of FFmpeg of its own, for codecs that PyAV's lacks.

Frames are taken in order: skipped ones are grabbed without conversion. Seeking by OpenCV is not exact for every codec.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from keras_actrec.errors import UnreadableVideoError

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read by OpenCV when it opens its first video; -8 is "quiet"

_TOLERANCE_FRAMES = 2


def probe(path: str | os.PathLike[str]) -> tuple[int, float, int, int, int]:
    """Return frames (counted), fps, width, height and rotation; width and height are those after rotation.

    Raises:
        UnreadableVideoError: with the reason.
    """
    capture = _open(path)
    try:
        declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        rotation = -int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        ok, first = capture.read()
        if not ok:
            raise UnreadableVideoError(str(path), "no frames")
        frames = 1
        while capture.grab():
            frames += 1
    finally:
        capture.release()
    if declared - frames > _TOLERANCE_FRAMES:
        raise UnreadableVideoError(str(path), f"truncated: {frames} of {declared} frames can be decoded")
    return frames, fps, first.shape[1], first.shape[0], rotation


def frames(path: str | os.PathLike[str], wanted: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and picture, uint8 (H, W, 3) RGB, of each wanted frame once, in order.

    Raises:
        UnreadableVideoError: with the reason.
    """
    missing = set(wanted)
    capture = _open(path)
    try:
        for i in range(max(missing, default=-1) + 1):
            ok = capture.grab()
            if ok and i in missing:
                ok, picture = capture.retrieve()
                if ok:
                    yield i, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            if not ok:
                raise UnreadableVideoError(str(path), f"corrupt: frame {i} cannot be decoded")
    finally:
        capture.release()


def _open(path: str | os.PathLike[str]) -> cv2.VideoCapture:
    log = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging  # the latter since OpenCV 5
    level = log.getLogLevel()
    log.setLogLevel(0)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    log.setLogLevel(level)
    if not capture.isOpened():
        capture.release()
        raise UnreadableVideoError(str(path), "no decoder for its codec")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # off by default in some builds
    return capture
