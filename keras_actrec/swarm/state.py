"""What particles and server tell each other, as frozen dataclasses. Imports no Keras."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, TypeVar

import pydantic

from keras_actrec.errors import UserError

OCCUPIED = 423
"""The server's answer to who wants to play a particle that another process plays (HTTP: locked)."""
_STRICT = pydantic.ConfigDict(extra="forbid")


class Kind(enum.StrEnum):
    """The positions of a particle that others may read."""

    BEFORE = "before"
    """The weights before a training round."""
    AFTER = "after"
    """The weights after it."""
    BEST = "best"
    """The weights after the particle's best round so far."""
    SKETCH = "sketch"
    """A random projection of the position that distances are measured from, where `swarm.nearest_by` is sketch."""


class Phase(enum.StrEnum):
    """What a particle is doing."""

    STARTING = "starting"
    PREPARING = "preparing"
    """Rendering videos, or writing the prepared cache; one particle at a time."""
    TRAINING = "training"
    WAITING = "waiting"
    MOVING = "moving"
    PAUSED = "paused"
    EVALUATING = "evaluating"
    FINISHED = "finished"
    FAILED = "failed"
    LOST = "lost"
    """Dead, silent or never started; it may come back."""


class Standing(enum.StrEnum):
    """What a swarm is doing."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"


class Command(enum.StrEnum):
    """What the server tells a particle in answer to a sign of life."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"
    LEAVE = "leave"
    """Another process plays this particle now."""


@dataclasses.dataclass(frozen=True)
class Sign:
    """A sign of life: what the particle is doing, in which round, at which batch."""

    phase: Phase
    round: int
    batch: int = 0
    batches: int = 0


@pydantic.with_config(_STRICT)
@dataclasses.dataclass(frozen=True)
class Publication:
    """A particle has finished a training round and published its positions.

    Attributes:
        particle: index from 0.
        round: from 1.
        fitness: higher is better: minus the validation loss, or the validation accuracy.
        best_round, best_fitness: the particle's best round so far (the earlier of equals).
        before, after, best: digests of the published positions (`best` is the `after` of `best_round`).
        learning_rate: of this round.
        row: the round's line of history.csv.
        train_sec: wall time of the round's training, with validation.
        sketch: digest of the published sketch; empty where there is none.
    """

    particle: int
    round: int
    fitness: float
    best_round: int
    best_fitness: float
    before: str
    after: str
    best: str
    learning_rate: float
    row: dict[str, float]
    train_sec: float
    sketch: str = ""


@pydantic.with_config(_STRICT)
@dataclasses.dataclass(frozen=True)
class Move:
    """A particle has moved between two rounds.

    Attributes:
        particle: index from 0.
        round: the round after which it moved.
        members: the particles that took part in the round, ascending, itself included.
        distances: to each of `members` (0 to itself); where neighbours are found by sketches, those of others than the
            neighbours are estimates.
        order: the neighbourhood: itself and the k nearest others, nearest first.
        chosen: the particle of `order` whose best position pulled.
        draws: r1 and r2.
        weights: for each particle of `order` but itself, the factor f of its displacement (Eq. 5, 6).
        terms: Euclidean norms: "own" (its displacement), "neighbours", "own_best", "neighbourhood_best", "total".
        before: digest of its position before the next round.
        exchange_sec: wall time of the move.
        wait_sec: wall time that it waited for others before.
    """

    particle: int
    round: int
    members: tuple[int, ...]
    distances: tuple[float, ...]
    order: tuple[int, ...]
    chosen: int
    draws: tuple[float, float]
    weights: tuple[float, ...]
    terms: dict[str, float]
    before: str
    exchange_sec: float
    wait_sec: float


@pydantic.with_config(_STRICT)
@dataclasses.dataclass(frozen=True)
class Event:
    """A line of the swarm's log.

    Attributes:
        number: ascending, from 1.
        at: seconds since 1970.
        level: "info", "warning" or "error".
        particle: whom it is about; None: the swarm.
        text: for people.
    """

    number: int
    at: float
    level: str
    particle: int | None
    text: str


Message = TypeVar("Message", Publication, Move, Event)


def to_json(message: Publication | Move | Event) -> dict[str, Any]:
    """Return a message as JSON holds it."""
    return dataclasses.asdict(message)


def from_json(kind: type[Message], document: Any) -> Message:
    """Return the message that `to_json` made; lists become tuples again.

    Raises:
        UserError: a field is missing, unknown, or of another type.
    """
    try:
        return _ADAPTERS[kind].validate_python(document)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"expected a {kind.__name__.lower()}, but {where}: {first['msg'].lower()}.") from None


_ADAPTERS = {kind: pydantic.TypeAdapter(kind) for kind in (Publication, Move, Event)}
