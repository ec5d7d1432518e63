"""How the stored pictures of a video are made upright, as its file says that they are shown."""

from __future__ import annotations

import math

import av
import numpy as np


class Orientation:
    """Turns and mirrors the pictures of one video.

    PyAV 18's side data and their frame refer to each other, so that a frame whose side data were looked at stays in
    memory until Python searches for cycles, and its place cannot be decoded into again. They are looked at once for
    each angle, which is told without them.
    """

    def __init__(self) -> None:
        self._known: dict[float, tuple[int, bool]] = {}

    def of(self, frame: av.VideoFrame) -> tuple[int, bool]:
        """Return how a stored picture is made upright: quarter turns counter-clockwise, after a mirror or not."""
        angle = frame.rotation
        if angle not in self._known:
            self._known[angle] = _looked_up(frame)
        return self._known[angle]

    def upright(self, picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
        """Return what was made of a stored frame, (H, W, ...), turned and mirrored as the file says."""
        return turned(picture, *self.of(frame))


def turned(picture: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Return a picture, (H, W, ...), after quarter turns counter-clockwise, which come after a mirror or not."""
    if not turns and not mirrored:
        return picture
    return np.rot90(picture[:, ::-1] if mirrored else picture, turns)


def _looked_up(frame: av.VideoFrame) -> tuple[int, bool]:
    """Read a frame's display matrix.

    It (ISO/IEC 14496-12, section 6.2.2) moves x to a x + c y and y to b x + d y. Selfie cameras write some that
    mirror, whose angle alone, as `frame.rotation` gives it, would even turn the picture upside down.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return round(frame.rotation / 90) % 4, False
    a, b, _, c, d = np.frombuffer(matrix, "=i4")[:5].tolist()
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(-math.degrees(math.atan2(b, a)) / 90) % 4, mirrored
