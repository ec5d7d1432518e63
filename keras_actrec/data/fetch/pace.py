"""How fast hosts are asked: a least interval between requests, a pause for all when a host asks for it, back-off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from keras_actrec.data.fetch.outcome import FailureError, Kind
from keras_actrec.errors import StopRequestedError

LONGEST_WAIT_SEC = 600.0
"""However long a host wants to be left alone, we ask again after this."""

_FINAL = (Kind.GONE, Kind.CLOSED, Kind.LOCAL)

Result = TypeVar("Result")


class Pace:
    """Lets requests start no faster than an interval, and tries again what may pass. Safe to use from threads.

    Args:
        interval_sec: least time between the starts of two requests, over all threads.
        attempts: how often a request is tried.
        wait_sec: before the second attempt; doubles with each.
    """

    def __init__(self, interval_sec: float, attempts: int, wait_sec: float) -> None:
        self._interval_sec = interval_sec
        self._attempts = attempts
        self._wait_sec = wait_sec
        self._lock = threading.Lock()
        self._next = 0.0
        self.stop = threading.Event()
        """Set to end all waiting at once."""

    def try_hard(self, request: Callable[[], Result]) -> Result:
        """Make a request, again where it fails for a reason that may pass.

        Raises:
            FailureError: the last attempt's.
            StopRequestedError: somebody set `stop`.
        """
        attempt = 0
        while True:
            attempt += 1
            self._take_turn()
            try:
                return request()
            except FailureError as failure:
                if failure.kind in _FINAL or attempt >= self._attempts:
                    raise
                self._back_off(failure, attempt)

    def check(self) -> None:
        """Raise StopRequestedError where somebody set `stop`."""
        self._sleep(0.0)

    def _back_off(self, failure: FailureError, attempt: int) -> None:
        wait_sec = min(max(self._wait_sec * 2 ** (attempt - 1), failure.retry_after_sec), LONGEST_WAIT_SEC)
        if failure.kind is Kind.HOST or failure.retry_after_sec:  # the host means all of us, not this request
            self._hold(wait_sec)
        self._sleep(wait_sec)

    def _take_turn(self) -> None:
        with self._lock:
            start = max(self._next, time.monotonic())
            self._next = start + self._interval_sec
        self._sleep(start - time.monotonic())

    def _hold(self, wait_sec: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + wait_sec)

    def _sleep(self, wait_sec: float) -> None:
        if self.stop.wait(max(0.0, wait_sec)):
            raise StopRequestedError("the fetch was asked to stop; the same command goes on.")
