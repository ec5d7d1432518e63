"""A Ray that does what the test says: answers come when they are given, and actors are only counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from keras_actrec.cluster.guardian import Started
from keras_actrec.cluster.shares import Demand


class RayError(Exception):
    """As Ray's, with the cause of an error inside an actor."""

    cause: Exception | None = None


class ActorUnavailableError(RayError):
    """As Ray's."""


class Answer:
    """What a question to an actor will give."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def give(self, value: Any) -> None:
        self.given.append(value)


class Method:
    """A method of an actor; keeps its answers, the newest last."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def remote(self, *_: object) -> Answer:
        self.answers.append(Answer())
        return self.answers[-1]


class Actor:
    """A handle."""

    def __init__(self) -> None:
        self.start, self.wait, self.end = Method(), Method(), Method()


class Ray:
    """The module."""

    exceptions = SimpleNamespace(RayError=RayError, ActorUnavailableError=ActorUnavailableError)

    def __init__(self) -> None:
        self.killed: list[Actor] = []

    def wait(self, answers: list[Answer], timeout: float) -> tuple[list[Answer], list[Answer]]:
        return [answer for answer in answers if answer.given], []

    def get(self, answer: Answer, timeout: float | None = None) -> Any:
        value = answer.given[0] if answer.given else RayError("no answer in time")
        if isinstance(value, Exception):
            raise value
        return value

    def kill(self, actor: Actor, no_restart: bool) -> None:
        self.killed.append(actor)


class Cluster:
    """A cluster whose nodes live as long as they are listed."""

    def __init__(self) -> None:
        self.alive = {"n0", "n1"}
        self.actors: list[Actor] = []
        self.demand, self.wait_sec, self.threads = Demand(1), 100.0, 1

    def actor(self) -> Actor:
        self.actors.append(Actor())
        return self.actors[-1]

    def lives(self, node: str) -> bool:
        return node in self.alive

    def waiting_for(self, count: int) -> str:
        return f"no place, {count} of them"

    def environment(self) -> dict[str, str]:
        return {"KERAS_BACKEND": "tensorflow"}


def placed(actor: Actor, node: str = "n1") -> None:
    """Let an actor's process begin on a node."""
    actor.start.answers[0].give(Started(node, f"host of {node}", 4711))


NODE_DIED = RayError(
    "The actor died unexpectedly before finishing this task.\n\tclass_name: Guardian\n"
    "The actor is dead because its node has died. Node Id: ab12\n\tthe actor's node was terminated unexpectedly"
)
WORKER_DIED = RayError(
    "The actor died unexpectedly before finishing this task.\nThe actor is dead because its worker process has died. "
    "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits."
)
NO_MEMORY = RayError(
    "The actor is dead because its worker process has died. Task was killed due to the node running low on memory."
)
