"""One process on the cluster, as its owner sees it. Nothing here waits for the cluster longer than it says."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any

from keras_actrec.cluster.connection import Cluster
from keras_actrec.cluster.guardian import Job, Started

END_SEC = 3.0
"""An actor that answers has ended its process in this time; what does not answer is killed without asking."""

NODE_DIED = "its node has died"


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process has ended.

    Attributes:
        code: its exit code, minus the signal's number where one has ended it; None: nobody knows, its actor is gone.
        reason: why there is no code, for people; "" where there is one.
        lost: its node is gone, which is no fault of the process.
    """

    code: int | None
    reason: str = ""
    lost: bool = False


class Remote:
    """A process on the cluster, from the asking for a place on.

    Args:
        cluster: where.
        job: what is started.

    Attributes:
        asked: clock at which a place was asked for.
    """

    def __init__(self, cluster: Cluster, job: Job) -> None:
        import ray

        self._ray = ray
        self._cluster = cluster
        self.asked = time.monotonic()
        self._actor: Any = cluster.actor()
        self._starting = self._actor.start.remote(job)
        self._waiting = self._actor.wait.remote()
        self._started: Started | None = None
        self._ended: Ended | None = None

    @property
    def started(self) -> Started | None:
        """Where it runs, or ran; None while it has no place."""
        if self._started is None and self._ended is None and self._is_there(self._starting):
            try:
                self._started = self._ray.get(self._starting)
            except self._ray.exceptions.RayError as error:
                self._ended = self._explained(error)
        return self._started

    @property
    def ended(self) -> Ended | None:
        """How it has ended; None while it runs, or waits for a place."""
        if self._ended is None and self.started is not None and self._is_there(self._waiting):
            self._ended = self._how_it_ended()
            if self._ended is not None:
                self._give_back()
        return self._ended

    @property
    def runs(self) -> bool:
        """Whether it has a place and has not ended."""
        return self.ended is None and self._started is not None

    def kill(self) -> None:
        """End it at once, and give its place back."""
        if self.runs:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.get(self._actor.end.remote(), timeout=END_SEC)
        self._give_back()
        if self._ended is None:
            self._ended = Ended(None, "it was ended")

    def _how_it_ended(self) -> Ended | None:
        try:
            return Ended(self._ray.get(self._waiting))
        except self._ray.exceptions.ActorUnavailableError:
            self._waiting = self._actor.wait.remote()  # a line that breaks may come back, or Ray tells that it won't
            return None
        except self._ray.exceptions.RayError as error:
            return self._explained(error)

    def _give_back(self) -> None:
        """End the actor, whose place others may have then."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor, no_restart=True)

    def _is_there(self, answer: Any) -> bool:
        return bool(self._ray.wait([answer], timeout=0)[0])

    def _explained(self, error: Exception) -> Ended:
        """Return Ray's report of an end, which runs over many lines, in one sentence."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception):
            return Ended(None, str(cause))
        reason = _because(str(error))
        if reason == NODE_DIED or (self._started is not None and not self._cluster.lives(self._started.node)):
            return Ended(
                None, f"its node {self._started.host if self._started else ''}".rstrip() + " was lost", lost=True
            )
        return Ended(None, f"Ray has ended it: {reason}")


def _because(report: str) -> str:
    """Return the cause that one of Ray's reports names, which run over many lines."""
    text = " ".join(report.split())
    if "memory monitor" in text or "running low on memory" in text:
        return "too little memory on its node"
    cause = text.partition(" because ")[2] or text
    return cause.split(". ")[0][:200].rstrip(".")
