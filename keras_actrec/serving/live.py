"""Frames of a live source, the newest ones: a camera, a stream, or a file that is played as if it were one.

Two threads stand between a stream and whoever asks. The first takes packets off the line as they come, so that nothing
piles up with the sender; the second decodes them. What waits between them is bounded in number and in age: when
decoding falls behind, packets are dropped up to the next key frame. Decoded frames are shrunk to what the networks look
at, and only those of the last seconds are kept. So neither memory nor delay can grow, however slow the machine is.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

import av
import cv2
import numpy as np

from keras_actrec.data import augment, decode
from keras_actrec.data.views import View
from keras_actrec.errors import UserError

OPEN_SEC, SILENT_SEC = 10.0, 10.0
"""Longest wait for a stream to begin, and for its next packet."""
MOST_PACKETS, OLDEST_SEC = 256, 0.5
"""What waits to be decoded."""
MOST_FRAMES = 4096
_HUNG_UP = (errno.EIO, errno.ECONNRESET, errno.EPIPE)
_JOIN_SEC = SILENT_SEC + 5.0
_SECRET = re.compile("//.*@", re.DOTALL)
"""Name and password in an address."""
_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtp", "srt", "tcp", "udp")
_OF_STREAMS = {
    "protocol_whitelist": "http,https,tcp,tls,crypto,rtsp,rtmp,rtp,udp,srt",
    "rtsp_transport": "tcp",
    "fflags": "nobuffer",
    "analyzeduration": "500000",
}
"""No "file": a playlist from elsewhere must not name files of this machine. For half a second (in microseconds) FFmpeg
looks at what comes, and drops it ("nobuffer"): it would be given late."""


class Picture(NamedTuple):
    """One decoded frame.

    Attributes:
        seen_sec: when it came off the line, by `time.monotonic`.
        pixels: uint8 (H, W, 3), shrunk.
    """

    seen_sec: float
    pixels: np.ndarray


class Line(Protocol):
    """Where frames come from."""

    def pictures(self, stop: threading.Event, dropped: Callable[[int], None]) -> Iterator[tuple[float, np.ndarray]]:
        """Yield (time of arrival, uint8 (H, W, 3)) until the source ends or `stop` is set."""
        ...


class Camera:
    """A live source being watched; a context manager.

    Args:
        line: where frames come from.
        views: what networks look at; frames are kept no larger than these want.
        keep_sec: how long frames are kept.
    """

    def __init__(self, line: Line, views: Sequence[View], keep_sec: float) -> None:
        self._line, self._views, self._keep_sec = line, views, keep_sec
        self._pictures: collections.deque[Picture] = collections.deque(maxlen=MOST_FRAMES)
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="camera", daemon=True)
        self.dropped = 0

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_JOIN_SEC)

    @property
    def ended(self) -> bool:
        """Whether the source has come to its end."""
        return self._ended

    def newest(self, after_sec: float, timeout_sec: float = OPEN_SEC + SILENT_SEC) -> list[Picture]:
        """Return the frames that are kept, oldest first, once there is one that came after a time.

        Args:
            after_sec: by `time.monotonic`.
            timeout_sec: longest wait.

        Returns:
            All frames that are kept; also without a new one, when the source has ended.

        Raises:
            UserError: the source cannot be opened or read, or nothing came in time.
        """
        with self._news:
            came = self._news.wait_for(lambda: self._is_new(after_sec), timeout_sec)
            if self._failure is not None:
                raise self._failure
            if self._ended and not self._pictures:
                raise UserError("the live source has ended before its first frame.")
            if not came:
                raise UserError(f"the live source has sent no frame for {timeout_sec:g} s.")
            return list(self._pictures)

    def _is_new(self, after_sec: float) -> bool:
        newer = self._pictures and self._pictures[-1].seen_sec > after_sec
        return bool(newer or self._ended or self._failure)

    def _watch(self) -> None:
        try:
            for seen_sec, pixels in self._line.pictures(self._stop, self._drop):
                self._keep(Picture(seen_sec, self._shrunk(pixels)))
        except Exception as error:  # told to whoever asks for frames
            self._failure = error
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _keep(self, picture: Picture) -> None:
        with self._news:
            self._pictures.append(picture)
            while self._pictures[0].seen_sec < picture.seen_sec - self._keep_sec:
                self._pictures.popleft()
            self._news.notify_all()

    def _drop(self, count: int) -> None:
        self.dropped += count

    def _shrunk(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        wanted = max(_short_side(height, width, view) for view in self._views)
        return decode.resize(pixels, wanted) if wanted < min(height, width) else pixels


class Stream:
    """Packets of a network address or a file.

    Args:
        address: for FFmpeg.
        paced: play it at its own speed, as a file has to be.
    """

    def __init__(self, address: str, paced: bool = False) -> None:
        self._address, self._paced = address, paced

    def pictures(self, stop: threading.Event, dropped: Callable[[int], None]) -> Iterator[tuple[float, np.ndarray]]:
        """Yield frames until the source ends (see `Line`)."""
        with self._opened() as container:
            stream = _video(container, self._address)
            backlog = Backlog(dropped)
            reader = threading.Thread(
                target=self._demux, args=(container, stream, backlog, stop), name="packets", daemon=True
            )
            reader.start()
            try:
                yield from _decoded(stream.codec_context, backlog)
            finally:
                stop.set()
                reader.join(_JOIN_SEC)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[av.container.InputContainer]:
        options = {"protocol_whitelist": "file"} if self._paced else _OF_STREAMS
        name = f"file:{self._address}" if self._paced else self._address
        try:
            with av.open(name, options=options, timeout=(OPEN_SEC, SILENT_SEC)) as container:
                yield container
        except (av.FFmpegError, OSError) as error:
            reason = error.strerror if self._paced else f"{error.strerror}{_hint(self._address)}"
            raise UserError(f"the live source {_shown(self._address)} cannot be read: {reason}.") from None

    def _demux(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        backlog: Backlog,
        stop: threading.Event,
    ) -> None:
        begin_sec, first_sec, begun = time.monotonic(), None, False
        try:
            for packet in container.demux(stream):
                if stop.is_set():
                    break
                if not packet.size:
                    continue
                if self._paced and packet.dts is not None:
                    due_sec = float(packet.dts * packet.time_base)
                    first_sec = due_sec if first_sec is None else first_sec
                    if stop.wait(max(0.0, begin_sec + due_sec - first_sec - time.monotonic())):
                        break
                backlog.put(packet)
                begun = True
        except av.FFmpegError as error:
            if not (begun and error.errno in _HUNG_UP):  # a sender that goes may or may not say so
                backlog.fail(error)
        except Exception as error:  # raised where packets are taken
            backlog.fail(error)
        backlog.end()


class Backlog:
    """Packets between the line and the decoder, bounded in number and age.

    Args:
        dropped: told how many packets were dropped.
        most: packets.
        oldest_sec: age of the oldest one.
        clock: gives seconds.
    """

    def __init__(
        self,
        dropped: Callable[[int], None],
        most: int = MOST_PACKETS,
        oldest_sec: float = OLDEST_SEC,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dropped, self._most, self._oldest_sec, self._clock = dropped, most, oldest_sec, clock
        self._packets: collections.deque[tuple[float, av.Packet]] = collections.deque()
        self._news = threading.Condition()
        self._needs_key = False
        self._ended = False
        self._failure: Exception | None = None

    def __len__(self) -> int:
        return len(self._packets)

    def put(self, packet: av.Packet) -> None:
        """Take a packet off the line; drop what has waited too long, up to the next key frame."""
        now = self._clock()
        with self._news:
            if len(self._packets) >= self._most or (self._packets and now - self._packets[0][0] > self._oldest_sec):
                self._dropped(len(self._packets))
                self._packets.clear()
                self._needs_key = True
            if self._needs_key and not packet.is_keyframe:
                self._dropped(1)
                return
            self._needs_key = False
            self._packets.append((now, packet))
            self._news.notify()

    def take(self) -> tuple[float, av.Packet] | None:
        """Return the next packet and when it came; None at the end.

        Raises:
            Exception: what reading has failed with.
        """
        with self._news:
            self._news.wait_for(lambda: self._packets or self._ended)
            if self._packets:
                return self._packets.popleft()
            if self._failure is not None:
                raise self._failure
            return None

    def fail(self, error: Exception) -> None:
        """Tell why no more packets come."""
        self._failure = error

    def end(self) -> None:
        """Tell that no more packets come."""
        with self._news:
            self._ended = True
            self._news.notify_all()


class Device:
    """A camera of this machine.

    Args:
        number: of the camera.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def pictures(self, stop: threading.Event, dropped: Callable[[int], None]) -> Iterator[tuple[float, np.ndarray]]:
        """Yield frames until the camera fails (see `Line`)."""
        device = cv2.VideoCapture(self._number)
        try:
            if not device.isOpened():
                raise UserError(f"there is no camera {self._number} on this machine, or another program is using it.")
            while not stop.is_set():
                there, picture = device.read()
                if not there:
                    raise UserError(f"camera {self._number} sends no more pictures.")
                yield time.monotonic(), np.ascontiguousarray(picture[..., ::-1])
        finally:
            device.release()


def open_line(source: str) -> Line:
    """Return where frames come from.

    Args:
        source: number of a camera, address of a stream, or a file.

    Raises:
        UserError: it is none of these.
    """
    if source.isdecimal():
        if len(source) > 9:  # OpenCV takes a C int
            raise UserError(f"--camera {source[:20]}: expected the number of a camera, such as 0 or 1.")
        return Device(int(source))
    if Path(source).is_file():
        return Stream(source, paced=True)
    scheme, separator, _ = source.partition("://")
    if separator and scheme.lower() in _SCHEMES:
        return Stream(source)
    raise UserError(
        f"--camera {_shown(source)}: expected the number of a camera, a file that is there, or an address that begins "
        f"with {', '.join(f'{name}://' for name in _SCHEMES)}."
    )


def _decoded(context: av.VideoCodecContext, backlog: Backlog) -> Iterator[tuple[float, np.ndarray]]:
    """Decode packets; what is damaged on the line is passed over, because the next key frame mends it."""
    while (taken := backlog.take()) is not None:
        seen_sec, packet = taken
        try:
            frames = context.decode(packet)
        except av.FFmpegError:
            continue
        for frame in frames:
            yield seen_sec, frame.to_ndarray(format="rgb24")


def _video(container: av.container.InputContainer, address: str) -> av.VideoStream:
    if not container.streams.video or container.streams.video[0].codec_context is None:
        raise UserError(f"the live source {_shown(address)} has no video that can be decoded.")
    return container.streams.video[0]


def _short_side(height: int, width: int, view: View) -> int:
    still = augment.draw(None, np.random.default_rng(0), height, width)
    return augment.short_side(height, width, still, view.size, view.fit)


def _shown(address: str) -> str:
    """Return an address without the password that it may hold: not taken apart, as a password may hold anything."""
    return _SECRET.sub("//***@", address)


def _hint(address: str) -> str:
    """Return what to do about a name or password that ends an address too early; "" where none does."""
    secret = _SECRET.search(address)
    if secret is None or not set(secret[0][2:-1]) & set("/?#@[]"):
        return ""
    return "; in a name or password write / ? # @ [ ] as %2F %3F %23 %40 %5B %5D"
