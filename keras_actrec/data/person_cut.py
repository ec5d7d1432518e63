"""A clip cut towards its person: from frames of any size, with boxes that stay in place (see `data.tailor`)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from keras_actrec.data import augment, tailor
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import FrameSource
from keras_actrec.data.views import Tailor, View


@dataclasses.dataclass(frozen=True)
class PersonCut:
    """What is cut out of all frames of a clip.

    Attributes:
        boxes: float64 (n, 4), smoothed and without gaps, a row per frame of the clip's stretch; shares of the frame.
        region: left, top, width and height of the cut, shares of the frame.
    """

    boxes: np.ndarray
    region: tuple[float, float, float, float]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of what is cut out of a frame so large, in pixels."""
        rows, columns = self._pixels(height, width)
        return rows.stop - rows.start, columns.stop - columns.start

    def short_side(self, height: int, width: int, short: int) -> int:
        """Return the shorter side of a decoded frame whose cut has `short` pixels on its own shorter side.

        Args:
            height: of the original frame, in pixels.
            width: of the original frame, in pixels.
            short: in pixels.
        """
        return max(1, math.ceil(short * min(height, width) / min(self.size(height, width)) - 1e-6))

    def cut(self, frames: np.ndarray) -> np.ndarray:
        """Cut the region out of frames (T, H, W, C), at whole pixels; nothing is copied."""
        rows, columns = self._pixels(*frames.shape[1:3])
        return frames[:, rows, columns]

    def paint(self, cut: np.ndarray, numbers: np.ndarray, view: View, height: int, width: int) -> np.ndarray:
        """Apply Eq. (7) and (8) to frames that were cut out: rings are as wide as the view's plain picture has them.

        Args:
            cut: uint8 (T, h, w, C).
            numbers: int (T,), which frames of the clip they are.
            view: what they are made for.
            height: of the frames that they were cut from, in pixels.
            width: of those frames.
        """
        rows, columns = self._pixels(height, width)
        start = np.array([columns.start, rows.start] * 2)
        extent = np.array([columns.stop - columns.start, rows.stop - rows.start] * 2)
        boxes = (self.boxes[numbers] * [width, height, width, height] - start) / extent
        plain = augment.short_side(*cut.shape[1:3], augment.IDENTITY, view.size, view.fit)
        return tailor.apply(cut, boxes, view.tailor, min(cut.shape[1:3]) / plain)

    def _pixels(self, height: int, width: int) -> tuple[slice, slice]:
        left, top, across, down = self.region
        return _whole(top, down, height), _whole(left, across, width)


def find(clip: Clip, wish: Tailor | None, source: FrameSource, info: VideoInfo) -> PersonCut | None:
    """Return what is cut out of a clip: the same for all frames, so that movement stays movement.

    Args:
        clip: which video.
        wish: of the views; None: no cut.
        source: gives the boxes.
        info: of the clip.

    Returns:
        None where nothing is to be done: nothing is wished, the clip has no boxes, or nobody is seen in it at all.

    Raises:
        UnreadableVideoError: the box file is damaged, or belongs to another video.
    """
    if wish is None or clip.boxes is None:
        return None
    boxes = source.boxes(clip)
    if not np.isfinite(boxes).all(axis=1).any():
        return None
    smooth = tailor.smooth(boxes, wish.smooth_frames)
    if not wish.crop:
        return PersonCut(smooth, (0.0, 0.0, 1.0, 1.0))
    return PersonCut(smooth, tailor.region(smooth, wish.margin, info.width / info.height))


def _whole(start: float, extent: float, pixels: int) -> slice:
    """Return a stretch of an axis in whole pixels, at least one."""
    first = min(math.floor(start * pixels + 0.5), pixels - 1)
    return slice(first, min(max(first + 1, math.floor((start + extent) * pixels + 0.5)), pixels))
