"""Letting worker threads come to rest before the interpreter ends.

TensorFlow's threads call Python functions of an input pipeline. One that still asks for the interpreter while it is
being torn down aborts the process ("FATAL: exception not rethrown"), and a run that was a success, or was stopped by
Ctrl-C, ends with the wrong exit code. This happens to iterators that were left in the middle of an epoch.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator

_QUIET_SEC = 0.1
_LIMIT_SEC = 10.0


class Workers:
    """Counts calls in progress; once closed, it turns further calls away, so that pipelines fill up and stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._last_end = 0.0
        self._closed = False
        atexit.register(self.close)

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Surround one call of a worker.

        Raises:
            RuntimeError: the process is ending.
        """
        with self._lock:
            self._inside += 1
        try:
            if self._closed:
                raise RuntimeError("the process is ending")
            yield
        finally:
            with self._lock:
                self._inside -= 1
                self._last_end = time.monotonic()

    def close(self) -> None:
        """Turn new calls away and wait until none has been in progress for a moment (not longer than 10 s)."""
        self._closed = True
        limit = time.monotonic() + _LIMIT_SEC
        while time.monotonic() < limit:
            with self._lock:
                if not self._inside and time.monotonic() - self._last_end > _QUIET_SEC:
                    return
            time.sleep(0.01)
