"""Video files to arrays: `probe` and `read_frames`. A folder of pictures is a video, too (see `image_sequence`).

Frame i is the i-th frame that a player displays: frames are in order of display, edit lists and rotation metadata are
applied, and a variable frame rate changes nothing about the count. The content of a file decides what it is, not its
name. How a file is read is chosen per file (see `video_reader`); OpenCV takes over where FFmpeg as shipped with PyAV
lacks the decoder. What cannot be read raises `UnreadableVideoError` with one of these reasons:

- "missing file", "not a file" (a folder without pictures), "empty file", "cannot be opened: ...", "not a video",
  "no video stream", "no frames",
- "truncated: ..." (the index is lost, or fewer frames than declared; tolerance: see `video_index`),
- "corrupt: ..." (a frame that is wanted, or one that it depends on, cannot be decoded),
- "not enough memory to decode it".
"""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

import av
import cv2
import numpy as np

from keras_actrec.data import image_sequence, manifest, opencv_reader
from keras_actrec.data.orientation import Orientation
from keras_actrec.data.video_index import VideoIndex
from keras_actrec.data.video_open import NO_DECODER
from keras_actrec.data.video_reader import Admit, VideoReader
from keras_actrec.errors import UnreadableVideoError

Size = int | tuple[int, int] | None

_AHEAD = 8
"""Wanted frames from which on a second thread pays that shrinks while the first decodes; and the most that may wait."""


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a file holds.

    Attributes:
        frames: number of displayed frames.
        fps: average frames per second.
        width, height: of a displayed frame, in pixels (after rotation).
        rotation: degrees counter-clockwise by which stored pictures are turned for display: 0, 90, 180 or 270; mirrored
            ones after they were mirrored back.
    """

    frames: int
    fps: float
    width: int
    height: int
    rotation: int


@dataclasses.dataclass
class _Known:
    """What was learned of a file in this process."""

    index: VideoIndex
    info: VideoInfo | None = None


class _Cache:
    """Recently read files, by path, time of change and size; safe to use from several threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: collections.OrderedDict[tuple[str, int, int], _Known] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int, int] | None) -> _Known | None:
        with self._lock:
            if known := self._known.get(key):
                self._known.move_to_end(key)
            return known

    def put(self, key: tuple[str, int, int] | None, known: _Known) -> None:
        if key is None:
            return
        with self._lock:
            self._known[key] = known
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


_cache = _Cache(capacity=4096)  # about 5 KB each for a clip of ten seconds


def forget_indices() -> None:
    """Empty the cache of indices, as a benchmark of first readings needs."""
    _cache.clear()


def probe(path: str | os.PathLike[str], admit: Admit | None = None) -> VideoInfo:
    """Return what a video file holds; decodes its first frame. A folder of pictures has `manifest.RATE`.

    Args:
        path: the file.
        admit: see `VideoReader`; not asked about a file that is known already, nor about pictures.

    Raises:
        UnreadableVideoError: with the reason.
    """
    if image_sequence.is_sequence(path):
        height, width = image_sequence.size_of(path)
        return VideoInfo(len(image_sequence.names(path)), manifest.RATE, width, height, 0)
    key = _key(path)
    known = _cache.get(key)
    if known and known.info:
        return known.info
    try:
        with VideoReader(path, known.index if known else None, threads=1, admit=admit) as reader:
            _, frame = next(reader.frames([0]))
            info = info_of(reader.index, frame, Orientation())
            _cache.put(key, _Known(reader.index, info))
            return info
    except UnreadableVideoError as error:
        if error.reason != NO_DECODER:
            raise
        return VideoInfo(*opencv_reader.probe(path))


def frame_times(path: str | os.PathLike[str]) -> np.ndarray:
    """Return when each frame is displayed, in seconds after the first: float64 (frames,).

    Raises:
        UnreadableVideoError: with the reason.
    """
    info = probe(path)
    known = _cache.get(_key(path))
    return known.index.times_sec if known else np.arange(info.frames) / info.fps


def read_frames(
    path: str | os.PathLike[str],
    indices: Sequence[int] | np.ndarray,
    size: Size = None,
    *,
    threads: int | None = None,
    depth_range_mm: image_sequence.Range = image_sequence.DEPTH_RANGE_MM,
) -> np.ndarray:
    """Read frames by their number.

    Args:
        path: the file.
        indices: numbers of frames, from 0; any order, repetitions allowed.
        size: None for the file's own; an integer for the shorter side (aspect kept); or (height, width). Shrinking
            averages over areas (OpenCV's INTER_AREA), enlarging is bilinear.
        threads: decoding threads; None chooses by the length of what has to be decoded. Callers that read several
            files at a time do best with 1.
        depth_range_mm: what 16 bit depth pictures of a folder are mapped from.

    Returns:
        uint8 (T, H, W, 3), RGB.

    Raises:
        UnreadableVideoError: the file cannot give these frames; with the reason.
        IndexError: a number below 0 or past the last frame.
    """
    numbers = np.asarray(indices, np.int64).reshape(-1)
    if image_sequence.is_sequence(path):
        _check(path, numbers, len(image_sequence.names(path)))
        read = image_sequence.pictures(path, _at_least_one(numbers), depth_range_mm)
        return _collect(numbers, ((i, resize(picture, size)) for i, picture in read))
    key = _key(path)
    known = _cache.get(key)
    try:
        with VideoReader(path, known.index if known else None, threads) as reader:
            if not known:
                _cache.put(key, _Known(reader.index))
            _check(path, numbers, reader.index.frames)
            frames = reader.frames(_at_least_one(numbers))
            orientation = Orientation()
            pictures = ((i, _picture(frame, size, orientation)) for i, frame in frames)
            if size is not None and threads != 1 and len(numbers) >= _AHEAD:
                pictures = _convert_beside(frames, size, orientation)
            return _collect(numbers, pictures)
    except av.FFmpegError as error:
        raise UnreadableVideoError(str(path), f"corrupt: {error.strerror}") from None
    except UnreadableVideoError as error:
        if error.reason != NO_DECODER:
            raise
    frames = opencv_reader.probe(path)[0]
    _check(path, numbers, frames)
    read = opencv_reader.frames(path, _at_least_one(numbers))
    return _collect(numbers, ((i, resize(picture, size)) for i, picture in read))


def _at_least_one(numbers: np.ndarray) -> list[int]:
    """Return the numbers, or the first frame's, whose size is wanted even if no frame is."""
    return numbers.tolist() or [0]


def _convert_beside(
    frames: Iterable[tuple[int, av.VideoFrame]], size: Size, orientation: Orientation
) -> Iterator[tuple[int, np.ndarray]]:
    """Convert and shrink in a second thread, while this one goes on decoding; at most `_AHEAD` frames wait."""
    waiting: collections.deque[tuple[int, futures.Future[np.ndarray]]] = collections.deque()
    with futures.ThreadPoolExecutor(1) as worker:
        for i, frame in frames:
            waiting.append((i, worker.submit(_picture, frame, size, orientation)))
            while waiting and (len(waiting) > _AHEAD or waiting[0][1].done()):
                number, picture = waiting.popleft()
                yield number, picture.result()
        for number, picture in waiting:
            yield number, picture.result()


def _collect(numbers: np.ndarray, pictures: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    """Put pictures in the places of their numbers as they come: keeping them would cost more than the conversion."""
    places: dict[int, list[int]] = collections.defaultdict(list)
    for t, i in enumerate(numbers.tolist()):
        places[i].append(t)
    out: np.ndarray | None = None
    for i, picture in pictures:
        if out is None:
            out = np.empty((len(numbers), *picture.shape), np.uint8)
        picture = resize(picture, out.shape[1:3])  # a stream may change its size on the way
        for t in places[i]:
            out[t] = picture
    return out


def target_size(height: int, width: int, size: Size) -> tuple[int, int]:
    """Return height and width of a resized picture (see `read_frames`)."""
    if size is None:
        return height, width
    if isinstance(size, int | np.integer):
        scale = size / min(height, width)
        return (size, max(1, round(width * scale))) if height <= width else (max(1, round(height * scale)), size)
    return size[0], size[1]


def resize(picture: np.ndarray, size: Size) -> np.ndarray:
    """Resize uint8 (H, W, C): area averaging when it shrinks along an axis, else bilinear."""
    height, width = picture.shape[:2]
    new_height, new_width = target_size(height, width, size)
    if (new_height, new_width) == (height, width):
        return picture
    shrinks = new_height < height or new_width < width
    return cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _key(path: str | os.PathLike[str]) -> tuple[str, int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return str(Path(path).absolute()), status.st_mtime_ns, status.st_size


def _check(path: str | os.PathLike[str], numbers: np.ndarray, frames: int) -> None:
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < frames:
        wrong = next(i for i in numbers.tolist() if not 0 <= i < frames)
        raise IndexError(f"{path} has {frames} frames, frame {wrong} was asked for")


def info_of(index: VideoIndex, frame: av.VideoFrame, orientation: Orientation) -> VideoInfo:
    """Return what a file holds by its index and any of its frames."""
    rotation = 90 * orientation.of(frame)[0]
    width, height = (frame.height, frame.width) if rotation % 180 else (frame.width, frame.height)
    return VideoInfo(index.frames, index.fps, width, height, rotation)


def _picture(frame: av.VideoFrame, size: Size, orientation: Orientation) -> np.ndarray:
    """Convert to RGB, resize, make upright. One thread: for pictures this small more of them cost ten times as much."""
    picture = frame.to_ndarray(format="rgb24", threads=1)
    if isinstance(size, tuple | list) and orientation.of(frame)[0] % 2:
        size = (size[1], size[0])
    return orientation.upright(resize(picture, size), frame)
