"""Whether a file that came is the clip that was asked for."""

from __future__ import annotations

from pathlib import Path

from keras_actrec.data import decode
from keras_actrec.data.fetch.outcome import FailureError, Kind
from keras_actrec.errors import UnreadableVideoError

SHORTEST = 0.5
"""A clip of less than this share of its official length was cut off on its way."""


def check(path: Path, length_sec: float = 0.0) -> None:
    """Decode the first and the last frame of a file.

    Args:
        path: the file.
        length_sec: official length of the clip; 0: unknown.

    Raises:
        FailureError: it cannot be read, or is much too short.
    """
    try:
        info = decode.probe(path)
        decode.read_frames(path, [info.frames - 1], threads=1)
    except UnreadableVideoError as error:
        raise FailureError(f"unreadable: {error.reason}", Kind.PASSING) from None
    if info.frames / info.fps < SHORTEST * length_sec:
        raise FailureError("cut off", Kind.PASSING)
