"""One open video file: its index, and the decoding of just what the wanted frames need (PyAV).

The cheapest way to a set of frames, per file:

- Only stretches from the nearest key frame before a wanted frame to the last wanted frame of its group are decoded;
  with a key frame every half second that is a seek per frame, with one in ten seconds a sequential pass.
- Inside a stretch, pictures that no other picture is predicted from (half of a usual H.264 file) are left out unless
  they are wanted, and decoded pictures that are not wanted are not converted to RGB.
- Packets come from memory when the file was just indexed; else the file is read on, or sought in when the next
  stretch is far away.
- Long stretches are decoded by several threads; for short ones starting them costs more than it gains.

Every decoded frame is found by its time of display, never by counting from a key frame, so the way taken cannot change
what is returned. If a stretch fails (a key frame that is none), the file is decoded in order before it is called
damaged. Decoding is strict: FFmpeg would paint over damaged parts, we report them.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
import numpy as np

from keras_actrec.data import video_container, video_index, video_open
from keras_actrec.data.threads import default_workers
from keras_actrec.data.video_index import VideoIndex
from keras_actrec.errors import UnreadableVideoError

_THREADS_FROM_PACKETS = 24
"""Average number of packets to decode in a stretch from which on threads pay: at its end they run dry."""
_MOST_THREADS = 16
_MOST_PIXELS = 1 << 27
"""Of one picture; damaged headers can name sizes that would take all memory."""
_SEEK_FROM_BYTES = 2 << 20
"""Reading on over a gap up to this size costs less than a seek."""

Admit = Callable[[av.container.InputContainer, av.VideoStream], None]
"""Refuses an opened file by raising."""


class Stretch(NamedTuple):
    """Packets `start` up to `stop` (exclusive) in decoding order, and the positions of the wanted ones."""

    start: int
    stop: int
    wanted: frozenset[int]


def plan(index: VideoIndex, wanted: Iterable[int]) -> list[Stretch]:
    """Return the stretches that have to be decoded for the wanted frames, in decoding order; one for all frames."""
    wanted = list(wanted)
    if len(wanted) == index.frames:
        return [Stretch(0, len(index.packet_pts), frozenset(index.positions.tolist()))]
    stretches: list[Stretch] = []
    for position in sorted(int(index.positions[i]) for i in wanted):
        start = index.start_of(position)
        if stretches and start < stretches[-1].stop:
            last = stretches[-1]
            stretches[-1] = Stretch(last.start, position + 1, last.wanted | {position})
        else:
            stretches.append(Stretch(start, position + 1, frozenset({position})))
    return stretches


class VideoReader:
    """An open file, to be used as a context manager and by one thread.

    Args:
        path: the file.
        index: its index from an earlier reading, if there was one.
        threads: decoding threads; None: chosen by the length of what has to be decoded.
        admit: is given container and stream before anything is decoded, and refuses the file by raising.
        checking: every frame is going to be read, to see whether it can be. An index that is made here leaves out what
            does not matter then, and pictures that no other is predicted from keep the edges of their blocks: to smooth
            them (the deblocking filter) reads nothing from the file.

    Raises:
        UnreadableVideoError: with the reason; on opening or while decoding.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        index: VideoIndex | None = None,
        threads: int | None = None,
        admit: Admit | None = None,
        checking: bool = False,
    ) -> None:
        self.path = Path(path)
        self._threads, self._checking = threads, checking
        self._open()
        try:
            if admit:
                admit(self._container, self._stream)
            self.index = index or self._build_index()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def frames(self, wanted: Iterable[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield the number and the picture of each wanted frame once, in any order."""
        missing = set(wanted)
        if self.index.packet_pts is not None:
            yield from _each_once(self._from_stretches(missing), missing)
        if missing:
            self._reopen()
            yield from _each_once(self._in_order(), missing)
        if missing:
            reason = f"corrupt: frame {min(missing)} of {self.index.frames} cannot be decoded"
            raise UnreadableVideoError(str(self.path), reason)

    def _open(self) -> None:
        self._container = video_open.open_container(self.path)
        self._packets: list[av.Packet] | None = None
        self._demuxed: Iterator[av.Packet] | None = None
        self._next = 0
        try:
            self._stream = video_open.video_stream(self.path, self._container)
        except UnreadableVideoError:
            self._container.close()
            if video_container.is_cut(self.path):
                raise UnreadableVideoError(str(self.path), video_container.why_not_opened(self.path)) from None
            raise
        options = {"err_detect": "explode", "max_pixels": str(_MOST_PIXELS)}
        self._stream.codec_context.options = options | ({"skip_loop_filter": "noref"} if self._checking else {})
        self._stream.codec_context.thread_count = 1

    def _reopen(self) -> None:
        """Start afresh: a decoder that has failed may keep part of its state, a demuxer its place."""
        self._container.close()
        self._open()

    def _build_index(self) -> VideoIndex:
        index, self._packets = video_index.build(self.path, self._container, self._stream, self._checking)
        if index is None:
            self._reopen()
            frames = sum(1 for _ in self._in_order())
            if not frames:
                raise UnreadableVideoError(str(self.path), "no frames")
            index = video_index.counted(self._stream, frames)
            self._reopen()
        return index

    def _from_stretches(self, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        stretches = plan(self.index, wanted)
        threads = self._threads or _thread_count(self.index, stretches)
        if threads > 1:
            self._stream.codec_context.thread_type = "FRAME"
            self._stream.codec_context.thread_count = threads
        numbers = sorted(wanted)
        frame_at = dict(zip(self.index.packet_pts[self.index.positions[numbers]].tolist(), numbers, strict=True))
        try:
            for stretch in stretches:
                for frame in self._decode(stretch):
                    number = frame_at.get(frame.pts)
                    if number is not None and not frame.is_corrupt:
                        yield number, frame
        except video_index.READ_ERRORS:
            return  # whatever is still missing is tried again in order

    def _decode(self, stretch: Stretch) -> Iterator[av.VideoFrame]:
        context = self._stream.codec_context
        spared = set((stretch.start + np.flatnonzero(self.index.droppable[stretch.start : stretch.stop])).tolist())
        spared -= stretch.wanted
        for position, packet in self._read(stretch.start, stretch.stop):
            if position not in spared:
                yield from context.decode(packet)
        yield from context.decode(None)
        context.flush_buffers()

    def _in_order(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode the whole file from its start.

        Errors before the first frame are passed over: they are the rest of a group of pictures whose start was cut
        off, for which no player shows anything.
        """
        count = 0
        for packet in self._demux_all():
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.FFmpegError as error:
                if error.errno == errno.ENOMEM:
                    raise UnreadableVideoError(str(self.path), "not enough memory to decode it") from error
                if not count:
                    continue
                raise UnreadableVideoError(str(self.path), f"corrupt: damaged after frame {count}") from None
            for frame in frames:
                i = self._number(frame, count)
                count += 1
                if i is not None and not frame.is_corrupt:
                    yield i, frame

    def _demux_all(self) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(self._stream)
        except video_index.READ_ERRORS:
            raise UnreadableVideoError(str(self.path), "corrupt: the stream cannot be read") from None

    def _number(self, frame: av.VideoFrame, count: int) -> int | None:
        """Return which frame this is: by its time, or by counting where times are not known."""
        index: VideoIndex | None = getattr(self, "index", None)
        if index is None or index.packet_pts is None:
            return count
        return index.number_at(frame.pts)

    def _read(self, start: int, stop: int) -> Iterator[tuple[int, av.Packet]]:
        """Yield the packets from `start` up to `stop` with their positions in decoding order."""
        if self._packets is not None:
            yield from enumerate(self._packets[start:stop], start)
            return
        if self._demuxed is None:
            self._demuxed = self._container.demux(self._stream)
        if self._next > start or self._bytes_to(start) > _SEEK_FROM_BYTES:
            self._seek(start)
        for packet in self._demuxed:
            if not packet.size:
                continue
            self._next += 1
            if self._next > start:
                yield self._next - 1, packet
            if self._next >= stop:
                return

    def _bytes_to(self, start: int) -> int:
        """Estimate how many bytes lie between here and a packet."""
        return self.path.stat().st_size * (start - self._next) // len(self.index.packet_pts)

    def _seek(self, start: int) -> None:
        """Make the key frame at `start`, or one before it, the next packet to be read."""
        if start:
            pts = int(self.index.packet_pts[start])
            self._container.seek(pts, stream=self._stream)
            self._demuxed = self._container.demux(self._stream)
            packet = next(self._demuxed)
            position = self.index.position_at(packet.pts) if packet.size else None
            if position is not None and position <= start:
                self._demuxed = itertools.chain([packet], self._demuxed)
                self._next = position
                return
        self._reopen()
        self._demuxed = self._container.demux(self._stream)


def _each_once(frames: Iterator[tuple[int, av.VideoFrame]], missing: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Pass on the missing frames, take each off the set, and stop when it is empty."""
    for i, frame in frames:
        if i in missing:
            missing.discard(i)
            yield i, frame
        if not missing:
            return


def _thread_count(index: VideoIndex, stretches: list[Stretch]) -> int:
    """One per core and one more, because FFmpeg's threads hand frames on in turn and wait for each other."""
    packets = sum(stretch.stop - stretch.start - index.droppable[slice(*stretch[:2])].sum() for stretch in stretches)
    cores = default_workers()
    if cores == 1 or packets < _THREADS_FROM_PACKETS * len(stretches):
        return 1
    return min(cores + 1, _MOST_THREADS)
