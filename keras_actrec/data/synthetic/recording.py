"""How a take becomes a file: containers, codecs, key-frame distances, sizes, rates, rotation; mixed as in real life.

Encoding is FFmpeg's, through PyAV, with one thread and fixed settings, so that equal frames give equal files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np

from keras_actrec import files


@dataclasses.dataclass(frozen=True)
class Format:
    """A container and a codec.

    Attributes:
        suffix: of the file.
        codec: FFmpeg's name of the encoder.
        options: of the encoder.
        pixels: FFmpeg's name of the pixel format.
        bits_per_pixel: target rate; 0 where the options fix the quality.
        quarter_turns: the picture is stored turned by so many quarters of a circle, counter-clockwise, and the file's
            display matrix turns it back, as telephones do.
    """

    suffix: str
    codec: str
    options: Mapping[str, str]
    pixels: str = "yuv420p"
    bits_per_pixel: float = 0.0
    quarter_turns: int = 0


def _format(suffix: str, codec: str, options: str, **more: str | float) -> Format:
    pairs = (option.split("=") for option in options.split())
    return Format(suffix, codec, MappingProxyType(dict(pairs)), **more)


FORMATS = {
    "h264-long": _format(".mp4", "libx264", "preset=superfast crf=22 g=250 bf=2"),
    "h264-short": _format(".mp4", "libx264", "preset=superfast crf=22 g=12 bf=0"),
    "h264-portrait": _format(".mp4", "libx264", "preset=superfast crf=22 g=30 bf=0", quarter_turns=1),
    "mpeg4": _format(".avi", "mpeg4", "g=12 qmin=2 qmax=8", bits_per_pixel=1.2),
    "mjpeg": _format(".avi", "mjpeg", "qmin=2 qmax=6", pixels="yuvj420p", bits_per_pixel=3.0),
    "vp9": _format(".webm", "libvpx-vp9", "deadline=realtime cpu-used=8 lag-in-frames=0 g=60", bits_per_pixel=0.8),
}
"""Name -> format."""

DEPTH_FORMAT = _format(".mkv", "ffv1", "level=3 coder=0 context=0 g=12", pixels="gray")
"""Depth is stored without loss."""

FORMAT_DECK = (
    *("h264-long",) * 4,
    *("h264-short",) * 3,
    *("mpeg4",) * 3,
    *("mjpeg",) * 2,
    "h264-portrait",
    "vp9",
)
"""The mixture: takes are dealt from this deck, so that even a small collection holds every format."""

_EXACT = {"fflags": "+bitexact"}
"""No random identifiers and no dates in the files."""

SIZES = ((128, 96), (160, 120), (176, 144), (192, 144))
"""Width and height in pixels; portrait clips swap them."""

RATES = (Fraction(15), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30))
"""Frames per second."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """How one take is stored.

    Attributes:
        format: key of `FORMATS`.
        width, height: of the picture as it is to be seen, in pixels.
        fps: frames per second.
        frames: their number.
    """

    format: str
    width: int
    height: int
    fps: Fraction
    frames: int

    @property
    def suffix(self) -> str:
        """Suffix of the file's name."""
        return FORMATS[self.format].suffix

    @property
    def seconds(self) -> float:
        """Length of the take."""
        return float(self.frames / self.fps)


def for_browsers() -> Format:
    """Return a format that browsers play: H.264, 4:2:0; MPEG-4 where FFmpeg has no H.264 encoder."""
    if "libx264" in av.codecs_available:
        return Format(".mp4", "libx264", {"preset": "veryfast", "crf": "20", "movflags": "+faststart"})
    return Format(".mp4", "mpeg4", {"qmin": "2", "qmax": "6"}, bits_per_pixel=1.2)


def write_video(path: Path, frames: Iterable[np.ndarray], form: Format, fps: Fraction) -> None:
    """Encode pictures and publish the file.

    Args:
        path: target.
        frames: uint8 (H, W, 3) RGB or (H, W) grey, as they are to be seen.
        form: container and codec.
        fps: frames per second.
    """
    turned = (np.ascontiguousarray(np.rot90(frame, form.quarter_turns)) for frame in frames)
    with files.publish(path) as temporary, av.open(str(temporary), "w", options=_EXACT) as container:
        _encode(container, turned, form, fps)


def _encode(container: av.container.OutputContainer, frames: Iterable[np.ndarray], form: Format, fps: Fraction) -> None:
    stream: av.VideoStream | None = None
    for frame in frames:
        stream = stream or _stream(container, form, fps, *frame.shape[:2])
        picture = av.VideoFrame.from_ndarray(frame, format="gray" if frame.ndim == 2 else "rgb24")
        container.mux(stream.encode(picture))
    if stream is not None:
        container.mux(stream.encode(None))


def _stream(
    container: av.container.OutputContainer, form: Format, fps: Fraction, height: int, width: int
) -> av.VideoStream:
    stream = container.add_stream(form.codec, rate=fps, options=dict(form.options))
    stream.width, stream.height, stream.pix_fmt = width, height, form.pixels
    stream.codec_context.thread_count = 1
    if form.bits_per_pixel:
        stream.bit_rate = int(form.bits_per_pixel * width * height * fps)
    if form.quarter_turns:
        stream.set_display_rotation(-90 * form.quarter_turns)
    return stream
