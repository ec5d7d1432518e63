"""A process that is started again when its place is lost: for work that goes on by itself where it stopped."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from keras_actrec.cluster.connection import Cluster
from keras_actrec.cluster.guardian import Job
from keras_actrec.cluster.remote import Ended, Remote
from keras_actrec.errors import UserError

TRIES = 3
"""So often a process is asked for that ends without an exit code on nodes that live; lost nodes are not counted."""
GONE = 1


class Steady:
    """A process with an exit code in the end.

    Args:
        cluster: where.
        job: what is started, and started again; relative paths in it begin in this process' folder.
    """

    def __init__(self, cluster: Cluster, job: Job) -> None:
        self._cluster = cluster
        self._job = job
        self._tries = 1
        self._remote = Remote(cluster, job)

    @property
    def waited_sec(self) -> float:
        """Time that it has had no place for; 0 while it has one, and afterwards."""
        has_place = self._remote.started is not None or self._remote.ended is not None
        return 0.0 if has_place else time.monotonic() - self._remote.asked

    @property
    def code(self) -> int | None:
        """Return the exit code; None while it runs, waits, or is started again."""
        ended = self._remote.ended
        if ended is None:
            return None
        if ended.code is not None:
            return ended.code
        self._tries += not ended.lost
        if self._tries > TRIES:
            self._tell(f"error: {ended.reason}.")
            return GONE
        self._start_again(ended)
        return None

    def kill(self) -> None:
        """End it at once."""
        self._remote.kill()

    def _start_again(self, ended: Ended) -> None:
        self._tell(f"{ended.reason}; started again")
        self._remote.kill()
        self._remote = Remote(self._cluster, self._job)

    def _tell(self, line: str) -> None:
        with Path(self._job.console).open("a", encoding="utf-8") as console:
            console.write(f"{line}\n")


def check_patience(cluster: Cluster, processes: Collection[Steady]) -> None:
    """Raise when none of these processes has had a place for so long that none can be expected.

    Raises:
        UserError: what they wait for.
    """
    waited = [process.waited_sec for process in processes]
    if waited and min(waited) > cluster.wait_sec:
        raise UserError(
            f"nothing could be started for {cluster.wait_sec:.0f} s: {cluster.waiting_for(len(waited))}; "
            "what is complete is kept, and the same command goes on."
        )
