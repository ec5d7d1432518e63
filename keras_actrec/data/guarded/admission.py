"""What a file's header claims, before anything of it is decoded. Used within workers."""

from __future__ import annotations

from pathlib import Path

import av

from keras_actrec.data import decode, image_sequence
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.guarded import limits as words
from keras_actrec.data.guarded.limits import Limits
from keras_actrec.errors import UnreadableVideoError


def admit(path: str, limits: Limits) -> None:
    """Refuse a file whose header claims frames too large, too many of them, or too long a time.

    The file is probed at once, before which its header is looked at: whoever asks `decode` about it next has the
    answer without opening it again.

    Raises:
        UnreadableVideoError: with the reason; also where the file cannot be read.
    """
    if Path(path).is_dir() and image_sequence.is_sequence(path):
        return  # pictures have no common header; memory is what limits them
    decode.probe(path, admit=lambda container, stream: check_claims(path, container, stream, limits))


def check_claims(path: str, container: av.container.InputContainer, stream: av.VideoStream, limits: Limits) -> None:
    """Refuse an opened file by what its header claims.

    Raises:
        UnreadableVideoError: with the reason.
    """
    context = stream.codec_context
    reason = words.too_large(context.width, context.height, limits)
    reason = reason or words.too_long(_seconds(container, stream), stream.frames, limits)
    if reason:
        raise UnreadableVideoError(path, reason)


def check(path: str, info: VideoInfo, limits: Limits) -> None:
    """Refuse a video by what it was found to hold: a header may claim less.

    Raises:
        UnreadableVideoError: with the reason.
    """
    seconds = info.frames / info.fps if info.fps else None
    reason = words.too_large(info.width, info.height, limits) or words.too_long(seconds, info.frames, limits)
    if reason:
        raise UnreadableVideoError(path, reason)


def _seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None
