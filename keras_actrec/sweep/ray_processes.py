"""The processes of trials on a Ray cluster; as `processes.Processes`, but wherever Ray has room. Imports no Keras."""

from __future__ import annotations

import time
from pathlib import Path

from keras_actrec.cluster import shares
from keras_actrec.cluster.connection import Cluster
from keras_actrec.cluster.guardian import PYTHON, Job
from keras_actrec.cluster.settings import RaySection
from keras_actrec.cluster.steady import Steady, check_patience
from keras_actrec.swarm import launcher
from keras_actrec.sweep import processes
from keras_actrec.sweep.log import Log

POLL_SEC = 0.2


class RayProcesses:
    """Processes of one sweep.

    Args:
        directory: of the sweep, which all nodes see under the same path.
        section: which cluster, and what each trial gets.
        slots: how many at a time; None: as many as fit.
        test: trials measure themselves on the test split, too.
    """

    def __init__(self, directory: Path, section: RaySection, slots: int | None, test: bool) -> None:
        self._directory = directory
        self._section = section
        self._slots = slots
        self._test = test
        self._joined: Cluster | None = None
        self._running: dict[int, Steady] = {}
        self._logs: dict[int, Log] = {}

    @property
    def numbers(self) -> tuple[int, ...]:
        """Trials that have a process, or wait for one."""
        return tuple(self._running)

    @property
    def has_free(self) -> bool:
        """Whether another one may be started."""
        slots = self._slots or max(1, shares.room(self._cluster.nodes, self._cluster.demand))
        return len(self._running) < slots

    def start(self, number: int) -> None:
        """Ask for a place for a trial."""
        arguments = ("--number", str(number), *(["--test"] if self._test else []))
        self._logs[number] = Log.of(self._directory, number)
        self._running[number] = Steady(self._cluster, self._job(arguments, self._logs[number]))

    def prepare(self) -> tuple[int, Log]:
        """Make what all trials share; return the exit code and what it has printed."""
        log = Log.of(self._directory, 0)
        process = Steady(self._cluster, self._job(("--prepare",), log))
        try:
            while (code := process.code) is None:
                check_patience(self._cluster, [process])
                time.sleep(POLL_SEC)
            return code, log
        finally:
            process.kill()

    def code(self, number: int) -> int | None:
        """Return the exit code of a trial's process; None while it runs, or waits for a place.

        Raises:
            UserError: there has been no place for any trial for too long.
        """
        check_patience(self._cluster, self._running.values())
        return self._running[number].code

    def take_back(self, number: int) -> None:
        """End the process of a trial, if it has not ended, and give its place back."""
        self._running.pop(number).kill()

    def end_all(self) -> None:
        """End all, and leave the cluster."""
        for number in self.numbers:
            self.take_back(number)
        if self._joined is not None:
            self._joined.close()
            self._joined = None

    def log(self, number: int) -> Log:
        """Return what a trial has printed since it was started."""
        return self._logs[number]

    @property
    def _cluster(self) -> Cluster:
        if self._joined is None:
            count = self._slots or 1
            self._joined = Cluster(self._section, "sweep.ray", count, launcher.cores_each(count))
        return self._joined

    def _job(self, arguments: tuple[str, ...], log: Log) -> Job:
        program = ("-m", processes.trial_program.__name__, "--directory", str(self._directory))
        threads = dict.fromkeys(processes.THREADS, str(self._cluster.threads))
        return Job(
            command=(PYTHON, *program, *arguments),
            folder=str(Path.cwd()),
            console=str(log.path),
            environment={**threads, **self._cluster.environment()},
            keeps_stdin=True,
        )
