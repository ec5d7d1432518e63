"""Where the frames of a video are: which packet shows the i-th frame, and from which key frame it can be decoded.

Index i always means the i-th frame that a player displays. The index is made by demuxing alone (no decoding), which
costs about a millisecond for a clip of ten seconds. This is exact when every packet shows one frame and carries its
own time of display. Where that does not hold (AVI with B-frames has no times; "packed" XviD stores two frames in one
packet and an empty one after it) the frames are counted by decoding all of them once, and read in order.

What is taken for truncated: a file that ends before its own headers say (`video_container.is_cut`) and lacks a frame;
else one that lacks more frames than `TOLERANCE_FRAMES` or `TOLERANCE_SHARE` of the declared number, whichever is
larger. Encoders often declare a frame or two too many; that is harmless, and the frames that exist are what counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from keras_actrec.data import bitstream, video_container
from keras_actrec.errors import UnreadableVideoError

READ_ERRORS = (av.FFmpegError, IndexError, MemoryError)
"""What PyAV raises while it reads or decodes damaged files; IndexError: a stream that the header does not name."""
TOLERANCE_FRAMES = 2
TOLERANCE_SHARE = 0.02
_KEPT_BYTES = 32 << 20
"""Packets of files up to this size stay in memory between indexing and decoding, which saves a second pass."""
_SMALLEST_MPEG4_FRAME = 16
"""Bytes; an MPEG-4 packet below this size may be a placeholder that shows nothing."""
_WITH_TIMES = ("mp4", "matroska", "mpegts", "mpeg", "flv", "nut")
"""Containers that store when a frame is displayed. In the others (AVI) FFmpeg guesses it, wrongly for:"""
_REORDERING = frozenset({"h264", "hevc", "av1", "mpeg1video", "mpeg2video", "vc1", "wmv3", "rv30", "rv40", "cavs"})


@dataclasses.dataclass(frozen=True)
class VideoIndex:
    """Places of the frames of one video stream.

    Attributes:
        frames: number of displayed frames.
        fps: average frames per second.
        times_sec: float64 (frames,), when each frame is displayed, the first at 0.
        packet_pts: int64 (packets,), time of display of each packet in decoding order; None when packets do not map
            to frames one to one, so that frames can only be counted.
        positions: int64 (frames,), position in decoding order of the packet that shows the i-th frame.
        keys: int64, positions of key frames.
        droppable: bool (packets,), pictures that no other picture is predicted from: leaving them out changes no other.
    """

    frames: int
    fps: float
    times_sec: np.ndarray
    packet_pts: np.ndarray | None
    positions: np.ndarray
    keys: np.ndarray
    droppable: np.ndarray

    def start_of(self, position: int) -> int:
        """Return the position of the nearest key frame from which the packet at `position` can be decoded.

        A packet that follows a key frame but is displayed before it (a leading picture of an open group) needs the
        key frame before.
        """
        before = self.keys[: np.searchsorted(self.keys, position, side="right")]
        before = before[self.packet_pts[before] <= self.packet_pts[position]]
        return int(before[-1]) if len(before) else 0

    def number_at(self, pts: int | None) -> int | None:
        """Return which frame is displayed at a time (in the stream's units); None when there is none."""
        times = self.packet_pts[self.positions]
        i = len(times) if pts is None else int(np.searchsorted(times, pts))
        return i if i < len(times) and times[i] == pts else None

    def position_at(self, pts: int | None) -> int | None:
        """Return the position in decoding order of the packet with a time of display; None when there is none."""
        found = np.flatnonzero(self.packet_pts == pts) if pts is not None else ()
        return int(found[0]) if len(found) else None


class _Packet(NamedTuple):
    """What the index needs to know of one packet."""

    pts: int | None
    key: bool
    discard: bool
    corrupt: bool
    one_frame: bool
    droppable: bool


def build(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, whole: bool = False
) -> tuple[VideoIndex | None, list[av.Packet] | None]:
    """Index an opened video; also return its packets, when they are few enough to keep.

    The index is None when the frames have to be counted by decoding (see `counted`). Where `whole`, no packet is looked
    into for what could be left out (`VideoIndex.droppable`): every frame is going to be decoded.

    Raises:
        UnreadableVideoError: no frames, or truncated.
    """
    declared = _declared_frames(path, container, stream)
    kept: list[av.Packet] | None = [] if path.stat().st_size <= _KEPT_BYTES else None
    packets = _demux(path, container, stream, kept, whole)
    _check_complete(path, packets, declared)
    if not _one_frame_each(packets):
        return None, None
    pts = np.array([packet.pts for packet in packets], np.int64)
    shown = np.flatnonzero([not packet.discard for packet in packets])
    positions = shown[np.argsort(pts[shown])]
    if not len(positions):
        raise UnreadableVideoError(str(path), "no frames")
    times = (pts[positions] - pts[positions[0]]) * float(stream.time_base)
    _check_gaps(path, times)
    keys = np.flatnonzero([packet.key for packet in packets])
    droppable = np.array([packet.droppable for packet in packets])
    return VideoIndex(len(positions), _rate(stream, times), times, pts, positions, keys, droppable), kept


def _demux(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    kept: list[av.Packet] | None,
    whole: bool,
) -> list[_Packet]:
    """Read all packets of the stream; what is damaged or cut off at the end of the file does not count."""
    packets = []
    one_frame = _shows_one_frame(container.format.name, stream.codec_context.name)
    codec = "any" if whole else stream.codec_context.name
    droppable = bitstream.droppable(codec, stream.codec_context.extradata)
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            facts = packet.pts, packet.is_keyframe, packet.is_discard, packet.is_corrupt
            packets.append(_Packet(*facts, one_frame(packet), droppable(packet)))
            if kept is not None:
                kept.append(packet)
    except READ_ERRORS:
        if not packets:
            raise UnreadableVideoError(str(path), "corrupt: the stream cannot be read") from None
    while packets and packets[-1].corrupt:
        packets.pop()
    if kept is not None:
        del kept[len(packets) :]
    return packets


def _declared_frames(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> int | None:
    """Return how many packets the container promises, None when it does not say.

    MP4's own index is better than its count of samples, because edit lists take samples away. Matroska names no
    count, and the duration only of its longest stream, which often is the sound.
    """
    if "mp4" in container.format.name:
        return None if video_container.is_fragmented(path) else len(stream.index_entries) or None
    if stream.frames:
        return stream.frames
    alone = len(container.streams) == 1 and "matroska" in container.format.name
    if alone and container.duration and stream.average_rate:
        return round(container.duration / av.time_base * stream.average_rate)
    return None


def _check_complete(path: Path, packets: list[_Packet], declared: int | None) -> None:
    cut = video_container.is_cut(path)
    found = len(packets)
    if not found:
        raise UnreadableVideoError(str(path), "truncated: no frame is left" if cut else "no frames")
    if cut and declared is None:
        raise UnreadableVideoError(str(path), f"truncated: the file ends after {found} frames")
    tolerance = 0 if cut else max(TOLERANCE_FRAMES, TOLERANCE_SHARE * (declared or 0))
    if declared is not None and declared - found > tolerance:
        raise UnreadableVideoError(str(path), f"truncated: {found} of {declared} frames can be decoded")


def _check_gaps(path: Path, times_sec: np.ndarray) -> None:
    """Where the demuxer has left out damaged parts of a Matroska file, frames are missing without any other sign."""
    steps = np.diff(times_sec)
    if len(steps) and steps.max() > 1.5 * np.median(steps) and video_container.is_broken_matroska(path):
        before = int(steps.argmax()) + 1
        raise UnreadableVideoError(str(path), f"corrupt: the data after frame {before} are damaged")


def _shows_one_frame(container: str, codec: str) -> Callable[[av.Packet], bool]:
    """Return a test whether a packet of this codec surely shows one frame, at the time that it names."""
    if codec in _REORDERING and not any(name in container for name in _WITH_TIMES):
        return lambda packet: False
    if codec == "mpeg4":
        return lambda packet: packet.size >= _SMALLEST_MPEG4_FRAME and bytes(packet).count(bitstream.VOP) == 1
    if codec == "vp8":  # alternate reference frames are packets that show nothing (RFC 6386, section 9.1)
        return lambda packet: bool(memoryview(packet)[0] & 0x10)
    return lambda packet: True


def _one_frame_each(packets: list[_Packet]) -> bool:
    """Return whether each packet shows one frame at a time of its own."""
    times = {packet.pts for packet in packets}
    return packets[0].key and None not in times and len(times) == len(packets) and all(p.one_frame for p in packets)


def counted(stream: av.VideoStream, frames: int) -> VideoIndex:
    """Return the index of a video whose frames were counted by decoding them."""
    rate = _rate(stream, None)
    none = np.arange(0)
    return VideoIndex(frames, rate, np.arange(frames) / rate, None, none, none, none)


def _rate(stream: av.VideoStream, times_sec: np.ndarray | None) -> float:
    """Return frames per second: as declared, else as displayed, else 25."""
    declared: Fraction | None = stream.average_rate or stream.guessed_rate
    if declared:
        return float(declared)
    if times_sec is not None and len(times_sec) > 1 and times_sec[-1] > 0:
        return (len(times_sec) - 1) / float(times_sec[-1])
    return 25.0
