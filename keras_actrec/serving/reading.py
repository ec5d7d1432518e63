"""What networks are given of one video file: facts, windows, and the frames of each window, read a part at a time.

Windows overlap, and key frames lie far apart, so the frames of several neighbouring windows are read together: each
frame of the file is decoded about once, and memory stays bounded however long the video is. The frames of a video that
is one window are those that the run's own evaluation takes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_actrec.data import assemble, decode
from keras_actrec.data.decode import Size, VideoInfo
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import FrameSource, Modality, VideoSource
from keras_actrec.data.views import View
from keras_actrec.errors import UnreadableVideoError
from keras_actrec.serving.windows import Sliding, Window, cut

HELD_BYTES = 64 << 20
"""Frames that are read together take about so much memory, or one window's if that is more."""
MOST_WINDOWS = 16
"""Windows that are read together, at most: their answers come as the video is read, not only at its end."""

Frames = dict[str, np.ndarray]
"""{name of a view: uint8 (N, V, T, S, S, C)}."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """What one network is given of a video.

    Attributes:
        views: one for each of its inputs.
        seed: of its run; only the order "shuffled" depends on it.
    """

    views: tuple[View, ...]
    seed: int = 0

    @property
    def clip_bytes(self) -> int:
        """Bytes of the frames of one window."""
        return sum(view.clips * assemble.frames_read(view) * view.size**2 * 3 for view in self.views)

    def of_window(self) -> Wish:
        """Return what it is given of one of many windows: one clip, because neighbours overlap."""
        return dataclasses.replace(self, views=tuple(dataclasses.replace(view, clips=1) for view in self.views))


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of a video.

    Attributes:
        frames: number of displayed frames.
        fps: average frames per second.
        width, height: of a displayed frame, in pixels.
        duration_sec: the last frame's own time included.
    """

    frames: int
    fps: float
    width: int
    height: int
    duration_sec: float


@dataclasses.dataclass(frozen=True)
class Part:
    """Neighbouring windows of a video.

    Attributes:
        windows: N of them, those that could be read.
        frames: of each wish.
        lost: windows that could not be read, each with the reason.
    """

    windows: tuple[Window, ...]
    frames: tuple[Frames, ...]
    lost: tuple[tuple[Window, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Opened:
    """A video whose frames can be asked for.

    Attributes:
        path: the file.
        facts: of it.
        windows: how it is cut.
        threads: decoding threads; None: chosen by the length of what has to be decoded.
    """

    path: Path
    facts: Facts
    windows: tuple[Window, ...]
    threads: int | None = 1

    def starts(self, wishes: Sequence[Wish]) -> range:
        """Return the numbers of the windows with which the parts begin."""
        held = max(sum(wish.clip_bytes for wish in self._of_each(wishes)), 1)
        return range(0, len(self.windows), max(1, min(MOST_WINDOWS, HELD_BYTES // held)))

    def part(self, wishes: Sequence[Wish], start: int) -> Part:
        """Read the part that begins with a window."""
        windows = self.windows[start : start + self.starts(wishes).step]
        source = Plain(VideoSource(self.path.parent, threads=self.threads))
        return _read(self._clips(windows), windows, self._of_each(wishes), source)

    def _of_each(self, wishes: Sequence[Wish]) -> tuple[Wish, ...]:
        return tuple(wish.of_window() if len(self.windows) > 1 else wish for wish in wishes)

    def _clips(self, windows: Sequence[Window]) -> tuple[Clip, ...]:
        name = self.path.name
        whole = Clip(name, None, "test", depth=name)  # a network that looks at depth alone is given a depth video
        if len(self.windows) == 1:
            return (whole,)
        return tuple(dataclasses.replace(whole, start_frame=one.first, end_frame=one.stop) for one in windows)


def open_video(path: str | os.PathLike[str], sliding: Sliding | None = None, threads: int | None = 1) -> Opened:
    """Look at a video and cut it.

    Args:
        path: any video file.
        sliding: how; None: one window.
        threads: decoding threads (see `Opened`).

    Raises:
        UnreadableVideoError: with the reason.
    """
    path = Path(path)
    info = decode.probe(path)
    times = decode.frame_times(path)
    duration = float(times[-1] + 1 / info.fps)
    facts = Facts(info.frames, info.fps, info.width, info.height, duration)
    return Opened(path, facts, cut(times, duration, sliding), threads)


def why_lost(lost: Sequence[tuple[Window, str]]) -> str:
    """Return the reason of a video none of whose windows could be read."""
    return lost[0][1] if lost else "no frames"


def _read(clips: Sequence[Clip], windows: Sequence[Window], wishes: Sequence[Wish], source: FrameSource) -> Part:
    """Read windows together; where some frame is damaged, one by one, to lose no more than what it is part of."""
    try:
        return Part(tuple(windows), _frames(clips, wishes, source))
    except UnreadableVideoError as error:
        if len(clips) == 1:
            return Part((), (), ((windows[0], error.reason),))
    alone = [_read([clip], [window], wishes, source) for clip, window in zip(clips, windows, strict=True)]
    kept = [part for part in alone if part.windows]
    lost = tuple(entry for part in alone for entry in part.lost)
    if not kept:
        return Part((), (), lost)
    return Part(tuple(part.windows[0] for part in kept), _joined([part.frames for part in kept]), lost)


def _frames(clips: Sequence[Clip], wishes: Sequence[Wish], source: FrameSource) -> tuple[Frames, ...]:
    alike: dict[Wish, Frames] = {}  # the networks of an ensemble often want the same
    for wish in wishes:
        if wish not in alike:
            alike[wish] = _of_wish(clips, wish, source)
    return tuple(alike[wish] for wish in wishes)


def _of_wish(clips: Sequence[Clip], wish: Wish, source: FrameSource) -> Frames:
    held = source if len(clips) == 1 else _Held(source, clips[0], _numbers(clips, wish, source))
    key = assemble.Key(wish.seed, 0, 0)
    rows = [assemble.assemble_evaluation(clip, wish.views, held, key) for clip in clips]
    return {view.name: np.stack(column) for view, column in zip(wish.views, zip(*rows, strict=True), strict=True)}


def _numbers(clips: Sequence[Clip], wish: Wish, source: FrameSource) -> np.ndarray:
    """Return which frames of the file all windows together want: int64, rising."""
    found = [
        assemble.frames_of(clip, view, source, number) + clip.start_frame
        for clip in clips
        for view in wish.views
        for number in range(view.clips)
    ]
    return np.unique(np.concatenate(found))


def _joined(parts: Sequence[tuple[Frames, ...]]) -> tuple[Frames, ...]:
    return tuple(
        {name: np.concatenate([part[wish][name] for part in parts]) for name in parts[0][wish]}
        for wish in range(len(parts[0]))
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Plain:
    """Gives the frames of any file, and keeps nothing on disk, as a data set's own source does.

    Attributes:
        videos: who reads it.
    """

    videos: VideoSource

    def probe(self, clip: Clip) -> VideoInfo:
        """Return what the clip holds (see `FrameSource`)."""
        return self.videos.probe(clip)

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: Modality = "rgb"
    ) -> np.ndarray:
        """Return frames of the clip (see `FrameSource`)."""
        return self.videos.read(clip, indices, size, modality)

    def boxes(self, clip: Clip) -> np.ndarray:
        """Return the clip's person boxes (see `FrameSource`)."""
        return self.videos.boxes(clip)


class _Held:
    """Gives the frames of several stretches of one file, which it reads together; others are read when asked for.

    Args:
        source: who reads them.
        clip: of the file.
        numbers: of the frames in the file, rising.
    """

    def __init__(self, source: FrameSource, clip: Clip, numbers: np.ndarray) -> None:
        self._source, self._numbers = source, numbers
        self._whole = dataclasses.replace(clip, start_frame=None, end_frame=None)
        self._frames: dict[tuple[Size, Modality], np.ndarray] = {}

    def probe(self, clip: Clip) -> VideoInfo:
        return self._source.probe(clip)

    def boxes(self, clip: Clip) -> np.ndarray:
        return self._source.boxes(clip)

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: Modality = "rgb"
    ) -> np.ndarray:
        wanted = np.asarray(indices, np.int64) + clip.start_frame
        places = np.searchsorted(self._numbers, wanted)
        if not np.array_equal(self._numbers[np.minimum(places, len(self._numbers) - 1)], wanted):
            return self._source.read(clip, indices, size, modality)
        if (size, modality) not in self._frames:
            self._frames[size, modality] = self._source.read(self._whole, self._numbers, size, modality)
        return self._frames[size, modality][places]
