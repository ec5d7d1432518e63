"""What one upload, and all of them together, may take."""

from __future__ import annotations

import dataclasses

from keras_actrec.data.guarded import Limits
from keras_actrec.errors import UserError

MEGABYTE = 1_000_000


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What is allowed.

    Attributes:
        upload_bytes: size of one upload.
        upload_sec: how long it may take to come.
        silent_sec: longest pause within it.
        video_sec: length of a video.
        frames: number of its frames.
        side_px: width, and height, of its frames.
        decode_sec: time for reading one part of it.
        decode_bytes: memory for that.
        answer_sec: time for the whole answer, once the upload is there.
        windows: that one video may be cut into.
        requests: that may be under way or wait; more are told to come again.

    Raises:
        UserError: a bound that is not positive.
    """

    upload_bytes: int = 200 * MEGABYTE
    upload_sec: float = 300.0
    silent_sec: float = 20.0
    video_sec: float = 600.0
    frames: int = 60_000
    side_px: int = 4096
    decode_sec: float = 30.0
    decode_bytes: int = 1000 * MEGABYTE
    answer_sec: float = 120.0
    windows: int = 4000
    requests: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UserError(f"{name}: expected more than 0, got {value:g}.")

    def limits(self) -> Limits:
        """Return what a worker that decodes is held to."""
        return Limits(
            seconds=self.decode_sec,
            memory_bytes=self.decode_bytes,
            width=self.side_px,
            height=self.side_px,
            duration_sec=self.video_sec,
            frames=self.frames,
        )
