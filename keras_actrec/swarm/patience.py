"""Trying again, with growing pauses, until it works or patience ends. Imports no Keras."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

FIRST_PAUSE_SEC, LAST_PAUSE_SEC = 0.05, 5.0

Result = TypeVar("Result")


def patiently(attempt: Callable[[], Result], passing: Callable[[Exception], bool], seconds: float) -> Result:
    """Return what an attempt gives, repeating it while its error may pass.

    Pauses double, and have a random part, so that many processes do not come back at the same moment.

    Args:
        attempt: may be called any number of times.
        passing: tells whether it is worth while to try again after an error.
        seconds: no new attempt begins after so long; 0: there is one attempt.

    Raises:
        Exception: the last error of the attempt.
    """
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE_SEC
    while True:
        try:
            return attempt()
        except Exception as error:
            left = deadline - time.monotonic()
            if left <= 0 or not passing(error):
                raise
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
        pause = min(2 * pause, LAST_PAUSE_SEC)
