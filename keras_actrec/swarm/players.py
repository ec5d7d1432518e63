"""What the server knows of each particle's process. Imports no Keras."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.settings import SwarmConfig, name_of, rates
from keras_actrec.swarm.state import Phase

OUT = frozenset({Phase.FAILED, Phase.FINISHED})
"""Phases from which a particle does not come back."""


@dataclasses.dataclass
class Player:
    """One particle as the server sees it.

    Attributes:
        index: from 0.
        phase: what it is doing.
        round: in which round; the last one it has told of.
        batch, batches: how far the round's training is.
        player: name that its process has given itself; None before it has joined.
        pid, host: of that process.
        seen: clock of its last sign of life, or of its start.
        joined: whether the process that was started last has joined.
        restarts: how often it was started again, in all.
        deaths: how often in a row, without a round in between.
        message: why it failed or is lost, or what it waits for.
        waits_since: clock at which it began to wait for a place.
        result: its final numbers.
    """

    index: int
    phase: Phase = Phase.STARTING
    round: int = 0
    batch: int = 0
    batches: int = 0
    player: str | None = None
    pid: int | None = None
    host: str | None = None
    seen: float = 0.0
    joined: bool = False
    restarts: int = 0
    deaths: int = 0
    message: str | None = None
    waits_since: float = 0.0
    result: dict[str, Any] | None = None

    @property
    def active(self) -> bool:
        """Whether the others count on it."""
        return self.phase not in OUT


def describe(player: Player, config: SwarmConfig, journal: Journal, silent_sec: float | None) -> dict[str, Any]:
    """Return a particle as JSON, for the page.

    Args:
        player: the particle.
        config: of the swarm.
        journal: knows the fitness of its last round.
        silent_sec: time since its last sign of life; None once it has ended.
    """
    last = journal.last_round(player.index)
    known = journal.publication(player.index, last) if last else None
    listed = rates(config, player.index)
    return {
        "index": player.index,
        "name": name_of(player.index),
        "phase": player.phase,
        "round": player.round,
        "batch": player.batch,
        "batches": player.batches,
        "learning_rate": listed[min(max(player.round, 1), len(listed)) - 1],
        "fitness": known and known.fitness,
        "best_fitness": known and known.best_fitness,
        "best_round": known and known.best_round,
        "restarts": player.restarts,
        "silent_sec": silent_sec,
        "pid": player.pid,
        "host": player.host,
        "message": player.message,
    }
