"""A long video as overlapping windows, each of which a network is asked about: arithmetic of times and frames only."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from keras_actrec.errors import UserError

_TICK_SEC = 1e-6
"""Times come in ticks of the container: 0.04 s may be stored as 0.0399999."""


@dataclasses.dataclass(frozen=True)
class Window:
    """A stretch of a video.

    Attributes:
        start_sec, end_sec: in seconds after the first frame.
        first, stop: its first frame, and the one after its last.
    """

    start_sec: float
    end_sec: float
    first: int
    stop: int

    @property
    def centre_sec(self) -> float:
        """The middle, in seconds."""
        return (self.start_sec + self.end_sec) / 2


@dataclasses.dataclass(frozen=True)
class Sliding:
    """How a video is cut.

    Attributes:
        window_sec: length of a window.
        hop_sec: from the start of one window to that of the next.
        from_sec: videos up to this length are one window, as long as they are.

    Raises:
        UserError: a length that is not positive, or a hop that would leave gaps between windows.
    """

    window_sec: float
    hop_sec: float
    from_sec: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.window_sec) and self.window_sec > 0):
            raise UserError(f"expected a window of more than 0 seconds, got {self.window_sec:g}.")
        if not 0 < self.hop_sec <= self.window_sec:
            raise UserError(
                f"expected a hop of more than 0 seconds and at most the window's {self.window_sec:g}, "
                f"got {self.hop_sec:g}."
            )


def cut(times_sec: np.ndarray, duration_sec: float, sliding: Sliding | None) -> tuple[Window, ...]:
    """Return the windows of a video, in order of time. The last one ends where the video ends.

    Args:
        times_sec: when each frame is displayed, float (frames,), rising, the first at 0.
        duration_sec: of the video, the last frame's own time included.
        sliding: how it is cut; None: not at all.

    Returns:
        At least one window. Stretches without a frame, as recordings of variable rate may have, give none.
    """
    whole = Window(0.0, duration_sec, 0, len(times_sec))
    if sliding is None or duration_sec <= max(sliding.from_sec, sliding.window_sec):
        return (whole,)
    last = duration_sec - sliding.window_sec
    starts = [*(k * sliding.hop_sec for k in range(math.ceil(last / sliding.hop_sec - _TICK_SEC))), last]
    found = [_window(times_sec, start, start + sliding.window_sec) for start in starts]
    return tuple(window for window in found if window.stop > window.first) or (whole,)


def _window(times_sec: np.ndarray, start_sec: float, end_sec: float) -> Window:
    first, stop = np.searchsorted(times_sec, [start_sec - _TICK_SEC, end_sec - _TICK_SEC])
    return Window(start_sec, end_sec, int(first), int(stop))
