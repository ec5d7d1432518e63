"""What a browser is shown of a clip: the file itself where it plays there, or else an H.264 copy made once.

A copy is made of what our reader decodes, so it shows just what networks see: turned upright, cut to the clip's
stretch, one picture per frame at an even rate (by which boxes find their frames), pictures of a folder as a film. The
originals are not touched. Copies lie in a folder of their own, under a name that tells file, size, time of change and
stretch, and are published whole: an interrupted command goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from keras_actrec.data import decode, file_version
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.data.synthetic.recording import Format, write_video
from keras_actrec.errors import UnreadableVideoError, UserError

VERSION = 1
LARGEST_SIDE_PX = 720
"""Of the shorter side of a copy: enough to look at."""
_CHUNK_FRAMES = 32
_EVEN = 0.02
"""By which share of a frame's time frames may be early or late at an even rate; AVI and MP4 count in coarse ticks."""
_PLAYED = {
    ".mp4": {"h264", "av1", "vp9"},
    ".m4v": {"h264"},
    ".webm": {"vp8", "vp9", "av1"},
}
_PIXELS = {"yuv420p", "yuvj420p"}


@dataclasses.dataclass(frozen=True)
class Medium:
    """What is shown of one clip.

    Attributes:
        path: a video that browsers play.
        copied: whether it is a copy.
        frames: of the clip.
        fps: frames per second.
        width, height: of a picture of the clip itself, in pixels.
    """

    path: Path
    copied: bool
    frames: int
    fps: float
    width: int
    height: int


def medium(clip: Clip, source: VideoSource, folder: Path) -> Medium:
    """Return what is shown of a clip, after making the copy that it may need.

    Args:
        clip: of the source.
        source: reads the clip.
        folder: gets copies.

    Raises:
        UnreadableVideoError: with the reason.
        UserError: FFmpeg has no H.264 encoder.
    """
    info = source.probe(clip)
    path = Path(source.root) / clip.path
    facts = (info.frames, info.fps, info.width, info.height)
    if clip.stretch == (None, None) and plays(path) and (clip.boxes is None or is_even(path)):
        return Medium(path.resolve(), False, *facts)
    target = folder / f"{path.stem[:60]}-{_name(clip, path)}.mp4"
    if not target.is_file():
        write(target, frames(clip, source, info.frames), info.fps)
    return Medium(target.resolve(), True, *facts)


def depth_medium(clip: Clip, source: VideoSource, folder: Path) -> Path:
    """Return a copy of a clip's depth video, in greys.

    Raises:
        UnreadableVideoError: with the reason.
    """
    info = source.probe(clip)
    path = Path(source.root) / clip.depth
    target = folder / f"{path.stem[:60]}-{_name(clip, path)}-depth.mp4"
    if not target.is_file():
        write(target, frames(clip, source, info.frames, "depth"), info.fps)
    return target.resolve()


def plays(path: Path) -> bool:
    """Tell whether browsers play a file: by its name, container, codec and pixel format."""
    codecs = _PLAYED.get(path.suffix.lower())
    if codecs is None or not path.is_file():
        return False
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            streams, names = container.streams.video, container.format.name
            context = streams[0].codec_context if streams else None
            fits = ("matroska" if path.suffix.lower() == ".webm" else "mp4") in names
            return (
                context is not None and fits and context.codec.canonical_name in codecs and context.pix_fmt in _PIXELS
            )
    except (av.FFmpegError, OSError, ValueError):
        return False


def is_even(path: Path) -> bool:
    """Tell whether a video's frames follow each other at one rate."""
    times = decode.frame_times(path)
    if len(times) < 3:
        return True
    step = (times[-1] - times[0]) / (len(times) - 1)
    return bool(np.abs(times - times[0] - step * np.arange(len(times))).max() <= 0.5 * step * (1 + _EVEN))


def frames(clip: Clip, source: VideoSource, count: int, modality: str = "rgb") -> Iterator[np.ndarray]:
    """Yield the pictures of a clip, uint8 (H, W, 3), with even sides of at most `LARGEST_SIDE_PX` the shorter one."""
    size: tuple[int, int] | None = None
    for start in range(0, count, _CHUNK_FRAMES):
        numbers = np.arange(start, min(count, start + _CHUNK_FRAMES))
        if size is None:
            height, width = source.read(clip, numbers[:1], None, modality).shape[1:3]
            size = shown_size(height, width)
        pictures = source.read(clip, numbers, size, modality)
        yield from np.repeat(pictures, 3, axis=-1) if pictures.shape[-1] == 1 else pictures


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width of a copy: even, as H.264 wants, and not too large."""
    scale = min(1.0, LARGEST_SIDE_PX / min(height, width))
    return tuple(max(2, round(side * scale / 2) * 2) for side in (height, width))


def write(target: Path, pictures: Iterator[np.ndarray], fps: float) -> None:
    """Publish pictures as an H.264 video.

    Raises:
        UserError: FFmpeg has no H.264 encoder.
    """
    if "libx264" not in av.codecs_available:
        raise UserError("this build of PyAV has no H.264 encoder (libx264): pip install -c requirements.txt av")
    options = {"preset": "veryfast", "crf": "20", "g": "30", "movflags": "+faststart"}
    rate = Fraction(fps if fps > 0 else 25).limit_denominator(1001)
    try:
        write_video(target, pictures, Format(".mp4", "libx264", options), rate)
    except av.FFmpegError as error:
        raise UnreadableVideoError(str(target), f"no copy for the browser: {error.strerror}") from None


def _name(clip: Clip, path: Path) -> str:
    """Return a name for a copy that changes with whatever it is made from."""
    what = [VERSION, str(path.resolve()), *file_version.version(path), *clip.stretch, clip.fps]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
