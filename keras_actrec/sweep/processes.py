"""The processes of trials: started, looked after, ended. Imports no Keras."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from keras_actrec.swarm import launcher
from keras_actrec.sweep import trial as trial_program

KILL_SEC = 10.0
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")


class Processes:
    """Processes of one sweep, at most one for each of its slots.

    Args:
        directory: of the sweep.
        slots: how many run at a time; cores and GPUs are dealt out among them.
        test: trials measure themselves on the test split, too.
    """

    def __init__(self, directory: Path, slots: int, test: bool) -> None:
        self._directory = directory
        self._cores = launcher.cores_each(slots)
        self._gpus = launcher.count_gpus("auto")
        self._test = test
        self._slots: dict[int, int] = {}
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._free = list(range(slots))

    @property
    def numbers(self) -> tuple[int, ...]:
        """Trials that have a process, alive or not yet taken back."""
        return tuple(self._running)

    @property
    def has_free(self) -> bool:
        """Whether another one may be started."""
        return bool(self._free)

    def start(self, number: int) -> None:
        """Start the process of a trial."""
        slot = self._free.pop(0)
        command = ["--number", str(number), *(["--test"] if self._test else [])]
        self._slots[number], self._running[number] = slot, self._open(command, self.log(number), slot)

    def prepare(self) -> tuple[int, Path]:
        """Make what all trials share; return the exit code and where it has printed."""
        log = self.log(0)
        process = self._open(["--prepare"], log, slot=0)
        try:
            return process.wait(), log
        finally:
            _end(process)

    def code(self, number: int) -> int | None:
        """Return the exit code of a trial's process; None while it runs."""
        return self._running[number].poll()

    def take_back(self, number: int) -> None:
        """End the process of a trial, if it has not ended, and free its slot."""
        _end(self._running.pop(number))
        self._free.append(self._slots.pop(number))
        self._free.sort()

    def end_all(self) -> None:
        """End all."""
        for number in self.numbers:
            self.take_back(number)

    def log(self, number: int) -> Path:
        """Return where a trial prints; 0 is the preparation."""
        return log_path(self._directory, number)

    def _open(self, arguments: list[str], log: Path, slot: int) -> subprocess.Popen[bytes]:
        log.parent.mkdir(parents=True, exist_ok=True)
        threads = dict.fromkeys(THREADS, str(self._cores))
        command = [sys.executable, "-m", trial_program.__name__, "--directory", str(self._directory), *arguments]
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**threads, **launcher.environment(slot, self._gpus)},
                start_new_session=True,  # Ctrl-C is for the sweep, which ends its trials itself
            )


def log_path(directory: Path, number: int) -> Path:
    """Return where a trial of a sweep prints; 0 is the preparation."""
    return directory / "logs" / (f"{number:04}.txt" if number else "prepare.txt")


def failure(log: Path, code: int) -> str:
    """Return what went wrong in a process, in one sentence."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    told = [line.removeprefix("error: ") for line in text.splitlines() if line.startswith("error: ")]
    if told:
        return told[-1]
    how = signal.Signals(-code).name if code < 0 else f"code {code}"
    return f"ended with {how}: {launcher.last_line(log) or 'it said nothing'} (see {log})"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started, at once: what it has published is whole."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(KILL_SEC)
    if process.stdin:
        process.stdin.close()
