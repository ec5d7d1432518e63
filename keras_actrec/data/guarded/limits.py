"""What one file may take, and the words that say that it wanted more."""

from __future__ import annotations

import dataclasses
import math

from keras_actrec.errors import UserError

GIGABYTE = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class Limits:
    """What reading one file may take.

    Attributes:
        seconds: of wall-clock time for one request; then the worker is killed.
        memory_bytes: beyond what the idle worker takes; a decoded answer counts, too. Enforced on Linux.
        width, height: most pixels of a frame along each axis, as it is stored and as it is displayed.
        duration_sec: longest video; None: any.
        frames: most frames of a video; None: any.

    Raises:
        UserError: a limit that nothing could keep.
    """

    seconds: float = 60.0
    memory_bytes: int = GIGABYTE
    width: int = 8192
    height: int = 8192
    duration_sec: float | None = None
    frames: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"limit {name}: expected a number above 0, got {value}.")


def too_slow(limits: Limits) -> str:
    """Return the reason of a file whose reading was stopped by the clock."""
    return f"took longer than {limits.seconds:g} s"


def too_much_memory(limits: Limits) -> str:
    """Return the reason of a file that wanted more memory."""
    gigabytes = limits.memory_bytes / GIGABYTE
    size = f"{gigabytes:.1f} GB" if gigabytes >= 0.1 else f"{1000 * gigabytes:.0f} MB"
    return f"wanted more than {size} of memory"


def crashed(return_code: int) -> str:
    """Return the reason of a file that ended its worker.

    Args:
        return_code: of the process; a negative one names the signal that ended it.
    """
    what = f"signal {-return_code}" if return_code < 0 else f"exit code {return_code}"
    return f"crashed the decoder ({what})"


def too_large(width: int, height: int, limits: Limits) -> str | None:
    """Return the reason of a video with too many pixels, or of which no RGB frame has room; None within the limits."""
    if width > limits.width or height > limits.height:
        return f"frames of {width}x{height} pixels, at most {limits.width}x{limits.height}"
    return too_much_memory(limits) if 3 * width * height > limits.memory_bytes else None


def too_long(duration_sec: float | None, frames: int | None, limits: Limits) -> str | None:
    """Return the reason of a video that lasts too long or has too many frames; None where nothing is known of it."""
    if limits.duration_sec is not None and (duration_sec or 0) > limits.duration_sec:
        return f"lasts {duration_sec:.0f} s, at most {limits.duration_sec:g} s"
    if limits.frames is not None and (frames or 0) > limits.frames:
        return f"has {frames} frames, at most {limits.frames}"
    return None
