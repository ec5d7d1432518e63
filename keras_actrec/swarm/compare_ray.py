"""Runs the repetitions of a comparison on a Ray cluster, as many at a time as it has room for. Imports no Keras."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_actrec.cluster import shares
from keras_actrec.cluster.connection import Cluster
from keras_actrec.cluster.guardian import PYTHON, Job
from keras_actrec.cluster.steady import Steady, check_patience
from keras_actrec.errors import UserError
from keras_actrec.swarm import compare_run, launcher
from keras_actrec.swarm.compare_settings import CompareConfig

POLL_SEC = 0.2
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
Pair = tuple[int, int]
Finished = Callable[[str, int, int], None]


def train(config: CompareConfig, directory: Path, todo: Sequence[Pair], finished: Finished) -> None:
    """Run the repetitions; stop all when one fails.

    Args:
        config: of the comparison.
        directory: of the comparison, which all nodes see under the same path.
        todo: the repetitions, (seed, fold).
        finished: is told of each swarm: arm, seed, fold.

    Raises:
        UserError: no such cluster, no room in it for too long, or a repetition has failed.
    """
    count = min(config.compare.processes or 1, len(todo))
    compare_run.log_path(directory, 0, 0).parent.mkdir(exist_ok=True)
    with Cluster(config.compare.ray, "compare.ray", count, launcher.cores_each(count)) as cluster:
        Repetitions(config, directory, cluster, finished).run(list(todo))


class Repetitions:
    """The repetitions that run.

    Args:
        config: of the comparison.
        directory: of the comparison.
        cluster: that this process is connected to.
        finished: is told of each swarm.
    """

    def __init__(self, config: CompareConfig, directory: Path, cluster: Cluster, finished: Finished) -> None:
        self._config, self._directory, self._cluster, self._finished = config, directory, cluster, finished
        self._running: dict[Pair, Steady] = {}
        self._missing: dict[Pair, set[str]] = {}

    def run(self, todo: list[Pair]) -> None:
        """Run all of them."""
        try:
            while todo or self._running:
                while todo and self._has_free():
                    self._start(todo.pop(0))
                check_patience(self._cluster, self._running.values())
                for pair in tuple(self._running):
                    self._look_after(pair)
                time.sleep(POLL_SEC)
        finally:
            for process in self._running.values():
                process.kill()

    def _has_free(self) -> bool:
        room = shares.room(self._cluster.nodes, self._cluster.demand)
        return len(self._running) < (self._config.compare.processes or max(1, room))

    def _start(self, pair: Pair) -> None:
        threads = self._cluster.threads
        log = compare_run.log_path(self._directory, *pair)
        log.write_text("", encoding="utf-8")  # of this session alone
        self._missing[pair] = self._still_missing(pair)
        self._running[pair] = Steady(
            self._cluster,
            Job(
                command=(PYTHON, *compare_run.arguments(self._directory, *pair, threads)),
                folder=str(Path.cwd()),
                console=str(log),
                environment={**dict.fromkeys(THREADS, str(threads)), **self._cluster.environment()},
            ),
        )

    def _look_after(self, pair: Pair) -> None:
        code = self._running[pair].code  # before the results, so that those of an ended one are all there
        missing = self._still_missing(pair)
        for arm in sorted(self._missing[pair] - missing):
            self._finished(arm, *pair)
        self._missing[pair] = missing
        if code is None:
            return
        self._running.pop(pair).kill()
        if code:
            raise UserError(compare_run.failure(compare_run.log_path(self._directory, *pair), pair, code))

    def _still_missing(self, pair: Pair) -> set[str]:
        return {arm.name for arm in compare_run.missing(self._config, self._directory, *pair)}
