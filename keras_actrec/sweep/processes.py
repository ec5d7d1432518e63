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
from keras_actrec.sweep.log import Log

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
        self._logs: dict[int, Log] = {}
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
        self._logs[number] = Log.of(self._directory, number)
        self._slots[number], self._running[number] = slot, self._open(command, self._logs[number], slot)

    def prepare(self) -> tuple[int, Log]:
        """Make what all trials share; return the exit code and what it has printed."""
        log = Log.of(self._directory, 0)
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

    def log(self, number: int) -> Log:
        """Return what a trial has printed since it was started."""
        return self._logs[number]

    def _open(self, arguments: list[str], log: Log, slot: int) -> subprocess.Popen[bytes]:
        threads = dict.fromkeys(THREADS, str(self._cores))
        command = [sys.executable, "-m", trial_program.__name__, "--directory", str(self._directory), *arguments]
        with log.path.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**threads, **launcher.environment(slot, self._gpus)},
                start_new_session=True,  # Ctrl-C is for the sweep, which ends its trials itself
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started, at once: what it has published is whole."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(KILL_SEC)
    if process.stdin:
        process.stdin.close()
