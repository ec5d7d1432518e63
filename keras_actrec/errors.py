"""Errors that are the user's to mend.

Every command catches `UserError`, prints its one sentence (what was expected, what came, what to do) and ends with a
non-zero exit code. Anything else that is raised is a defect of the package and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input: the message says what was expected, what came, and what to do."""


class UnreadableVideoError(UserError):
    """A video file that cannot give the wanted frames.

    Attributes:
        path: the file as it was asked for.
        reason: a short stable phrase such as "empty file" or "truncated: 57 of 120 frames can be decoded".
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot read the video {path}: {reason}")
        self.path = str(path)
        self.reason = reason


class DivergedError(UserError):
    """The loss of a training run is not a number any more."""


class StopRequestedError(UserError):
    """Somebody asked the work to stop. What was complete is kept, and it can be gone on with."""


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest valid word, or the whole list when nothing is near."""
    names = sorted(valid)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" Valid: {', '.join(names)}." if names else ""
