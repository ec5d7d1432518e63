"""Progress of long work that is not training: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

PLAIN_INTERVAL_SEC = 10.0
BAR_INTERVAL_SEC = 0.1
WIDTH = 30


class Progress:
    """Call it with (done, total); it draws no more often than is of use.

    Args:
        title: what is being done.
        unit: what is counted.
    """

    def __init__(self, title: str, unit: str = "items") -> None:
        self.title = title
        self.unit = unit
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()
        self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the work is."""
        now = time.monotonic()
        interval = BAR_INTERVAL_SEC if self._terminal else PLAIN_INTERVAL_SEC
        if now - self._last < interval:
            return
        self._last = now
        self._drawn = True
        if self._terminal:
            filled = WIDTH * done // max(total, 1)
            bar = "=" * filled + "." * (WIDTH - filled)
            print(f"\r{self.title} [{bar}] {done}/{total} {self.unit}", end="", file=sys.stderr, flush=True)
        else:
            print(f"{self.title}: {done} of {total} {self.unit}", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._terminal and self._drawn:
            print(file=sys.stderr)
