"""Where a video moves: the variance rate of MS3D.

Man, Zou and Li, "The Action Recognition with Multi-Clue Sparse 3-Dimensional Convolutional Networks", Eq. (1), with n
frames F, and both sums over all pixels (x, y):

    p(z) = sum |F_{z+1}(x, y) - F_z(x, y)|  /  sum over i of sum |F_{i+1}(x, y) - F_i(x, y)|,   z = 0 .. n - 2

Frames are grey and at most `CELLS` x `CELLS` pixels, averages over areas, so that the noise of compression averages
out: between two pictures of a still scene, too, an H.264 file changes thousands of pixels by a grey value or two. They
are averaged in whole numbers from frames four times as wide and high, since rounding to 8 bits would bring noise back.

All frames of a clip are decoded for it, once: what was found is kept in memory, and on disk where the
source names a place for it (see `data.motion_store`). It is kept as whole numbers, so that the rates are bit by bit the
same whether they were computed now or read. From a prepared cache they differ a little, as JPEGs are other pictures.
"""

from __future__ import annotations

import collections
import itertools
import threading
import weakref
from collections.abc import Hashable

import numpy as np

from keras_actrec.data import motion_store
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import FrameSource

CELLS = 16
"""Most pixels of a small frame along either side."""
_FINER = 4
"""So many pixels are decoded, at most, along either side of one of those."""
_CHUNK = 1024
"""Decoded frames that are in memory at a time, 12 MB."""
_LUMA = np.array([299, 587, 114], np.int32)
"""Thousandths of red, green and blue in grey (ITU-R BT.601)."""
_KEPT = 8_000_000
"""Differences that are kept in memory at most, 64 MB."""


class _Recent:
    """The differences of recent clips, up to a number of them in all; safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._known: collections.OrderedDict[Hashable, np.ndarray] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> np.ndarray | None:
        with self._lock:
            if (found := self._known.get(key)) is not None:
                self._known.move_to_end(key)
            return found

    def put(self, key: Hashable, changes: np.ndarray) -> None:
        with self._lock:
            if key not in self._known:
                self._held += len(changes) + 1  # the key takes room, too
            self._known[key] = changes
            self._known.move_to_end(key)
            while self._held > self._most and len(self._known) > 1:
                self._held -= len(self._known.popitem(last=False)[1]) + 1

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._held = 0


_recent = _Recent(_KEPT)
_numbers: weakref.WeakKeyDictionary[FrameSource, int] = weakref.WeakKeyDictionary()
"""Sources that name no place -> a number of their own, never used again."""
_count = itertools.count()
_lock = threading.Lock()


def rates(source: FrameSource, clip: Clip) -> np.ndarray:
    """Return the share of a clip's movement that lies between each frame and the next, Eq. (1).

    Args:
        source: gives the frames. If it has a method `motion_place`, the result is kept there on disk, too.
        clip: its RGB video counts, also for views of its depth.

    Returns:
        float64 (n - 1,), read-only, with the sum 1; equal shares where nothing moves at all; empty for one frame.

    Raises:
        UnreadableVideoError: some frame of the clip cannot be read.
    """
    place = _place(source, clip)
    changes = _recent.get(place)
    if changes is None:
        changes = _stored(place, source, clip)
        _recent.put(place, changes)
    total = changes.sum()
    shares = changes / total if total else np.full(len(changes), 1 / max(1, len(changes)))
    shares.flags.writeable = False
    return shares


def forget() -> None:
    """Empty what is kept in memory, as a benchmark of first readings needs."""
    _recent.clear()


def differences(source: FrameSource, clip: Clip) -> np.ndarray:
    """Return sum |F_{z+1} - F_z| over all pixels of the small frames: int64 (n - 1,).

    Its unit is the same within a clip, a thousandth of a grey value by the pixels that a cell is the sum of: at most
    255 000 x 16 x 256, which uint32 holds.
    """
    info = source.probe(clip)
    size = (_side(info.height), _side(info.width))
    parts, before = [], None
    for start in range(0, info.frames, _CHUNK):
        frames = source.read(clip, np.arange(start, min(start + _CHUNK, info.frames)), size)
        grey = _cells(frames)
        grey = grey if before is None else np.concatenate([before, grey])
        parts.append(np.abs(np.diff(grey, axis=0)).sum(axis=1, dtype=np.int64))
        before = grey[-1:]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _side(pixels: int) -> int:
    """Return how many pixels of an axis are decoded: a multiple of `CELLS`, or all of a tiny one."""
    return pixels if pixels < CELLS else CELLS * min(_FINER, pixels // CELLS)


def _cells(frames: np.ndarray) -> np.ndarray:
    """Return the grey values of uint8 frames (T, H, W, 3), summed over blocks: int32 (T, cells)."""
    count, height, width, channels = frames.shape
    down, across = min(height, CELLS), min(width, CELLS)
    rows = frames.reshape(count, down, height // down, width * channels).sum(axis=2, dtype=np.uint16)
    blocks = rows.reshape(count, down, across, width // across, channels).sum(axis=3, dtype=np.int32)
    return (blocks @ _LUMA).reshape(count, -1)


def _stored(place: motion_store.Place, source: FrameSource, clip: Clip) -> np.ndarray:
    """Return the differences from disk, or else from the video; then they are kept on disk."""
    if place.file is None:
        return differences(source, clip)
    store = motion_store.open_store(place.file)
    changes = store.get(place)
    if changes is None or len(changes) != source.probe(clip).frames - 1:
        changes = differences(source, clip)
        store.put(place, changes)
    return changes


def _place(source: FrameSource, clip: Clip) -> motion_store.Place:
    find = getattr(source, "motion_place", None)
    if find is not None:
        return find(clip)
    with _lock:
        number = _numbers.setdefault(source, next(_count))
    return motion_store.Place(None, f"source {number}", repr((clip.path, clip.stretch, clip.fps)))
