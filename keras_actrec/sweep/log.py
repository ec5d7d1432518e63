"""What the process of a trial has printed. Imports nothing heavy.

Each session of a sweep adds to the file of a trial that goes on, so what a process has said begins where the file ended
when it was started.
"""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

_SHOWN_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Log:
    """Where one process prints.

    Attributes:
        path: of the file.
        begin: its size when the process was started.
    """

    path: Path
    begin: int = 0

    @classmethod
    def of(cls, directory: Path, number: int) -> Log:
        """Return the log of a trial that is about to be started; 0 is the preparation.

        Args:
            directory: of the sweep.
            number: of the trial.
        """
        path = directory / "logs" / (f"{number:04}.txt" if number else "prepare.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(path, path.stat().st_size if path.exists() else 0)

    def lines(self) -> list[str]:
        """Return the lines that the process has printed, those at the end of very many, without empty ones."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(self.begin, self.path.stat().st_size - _SHOWN_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.splitlines() if line.strip()]


def failure(log: Log, code: int) -> str:
    """Return what went wrong in a process, in one sentence.

    Args:
        log: of the process.
        code: its exit code; negative: a signal ended it, so that no error that it may have told was its end.
    """
    lines = log.lines()
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if told and code > 0:
        return told[-1]
    how = signal.Signals(-code).name if code < 0 else f"code {code}"
    return f"ended with {how}: {lines[-1] if lines else 'it said nothing'} (see {log.path})"
