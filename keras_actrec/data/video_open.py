"""Opening a video file: by its content, whatever its name ends with, and with a reason when it cannot be."""

from __future__ import annotations

from pathlib import Path

import av

from keras_actrec.data import video_container
from keras_actrec.errors import UnreadableVideoError

# No lines from FFmpeg: our errors say what is wrong. It has to be None, PyAV's default, and never a level: with a level
# every message takes Python's lock, and a decoder that is closed while its threads have something to say hangs.
av.logging.set_level(None)

NO_DECODER = "no decoder for its codec"

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,flv,live_flv,asf,ogg,rm,mxf,nut,ivf"
"""Demuxers that read a video from one file. Others take texts, pictures and noise for videos, or open further files."""


def open_container(path: Path) -> av.container.InputContainer:
    """Open a file by its content.

    Raises:
        UnreadableVideoError: missing, empty, no video, or cut off before its first frame.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UnreadableVideoError(str(path), "not a file")
    except FileNotFoundError:
        raise UnreadableVideoError(str(path), "missing file") from None
    except OSError as error:
        raise UnreadableVideoError(str(path), f"cannot be opened: {error.strerror}") from None
    if not size:
        raise UnreadableVideoError(str(path), "empty file")
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    try:
        # The protocol is named because a colon in a file's name would otherwise be taken for one.
        return av.open(f"file:{path}", container_options=options, metadata_errors="replace")
    except PermissionError as error:
        raise UnreadableVideoError(str(path), f"cannot be opened: {error.strerror}") from None
    except EOFError:
        reason = video_container.why_not_opened(path) if video_container.is_cut(path) else "no frames"
        raise UnreadableVideoError(str(path), reason) from None
    except (av.FFmpegError, OSError, ValueError, MemoryError):
        raise UnreadableVideoError(str(path), video_container.why_not_opened(path)) from None


def video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """Return the first video stream; cover pictures of sound files are none.

    Raises:
        UnreadableVideoError: there is none, or no decoder for it.
    """
    if not len(container.streams):
        raise UnreadableVideoError(str(path), "no frames")
    covers = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        raise UnreadableVideoError(str(path), "no video stream")
    if streams[0].codec_context is None:
        raise UnreadableVideoError(str(path), NO_DECODER)
    return streams[0]
