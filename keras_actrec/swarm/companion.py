"""What a particle does between two epochs: publish, wait, move. Knows positions and messages, but not Keras.

A round is committed in this order, so that a process killed between any two steps goes on where it was:
the training state (by the run itself), `after`, `best`, the publication; then, after the barrier, `before` of the next
round, and the move. Each step is repeated when it is not committed, and gives the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from keras_actrec.swarm.exchange import exchange
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.swarm.state import Kind, Move, Publication
from keras_actrec.swarm.store import Store


class Body(Protocol):
    """The network of a particle as seen from here: a vector that can be read and set."""

    @property
    def size(self) -> int:
        """Number of coordinates."""

    @property
    def non_negative(self) -> Sequence[tuple[int, int]]:
        """Ranges of coordinates that must not become negative."""

    def parts(self) -> Iterator[np.ndarray]:
        """Give the position piece by piece, float32."""

    def assign(self, position: np.ndarray) -> None:
        """Take a position (D,)."""


class Journalist(Protocol):
    """Who commits what a particle tells: the server, over `Link`, or a journal in the same process."""

    def publication(self, round_number: int) -> Publication | None:
        """Return what is committed of this particle's round."""

    def publish(self, publication: Publication) -> Publication:
        """Commit a round; return what is committed."""

    def others(self, round_number: int) -> dict[int, Publication]:
        """Wait for the round's members; return their publications and this particle's."""

    def move(self, round_number: int) -> Move | None:
        """Return the committed move after a round."""

    def moved(self, move: Move) -> Move:
        """Commit a move."""


class Rounds:
    """The rounds of one particle.

    Args:
        store: positions of all particles.
        journalist: of this particle.
        config: of the swarm.
        particle: index from 0.
        threads: for the move; None: all cores.
    """

    def __init__(
        self, store: Store, journalist: Journalist, config: SwarmConfig, particle: int, threads: int | None = None
    ) -> None:
        self._store = store
        self._journalist = journalist
        self._config = config
        self._particle = particle
        self._threads = threads

    def start(self, body: Body) -> None:
        """Publish the position before the first round."""
        if not self._store.has(self._particle, Kind.BEFORE, 1):
            self._store.put(self._particle, Kind.BEFORE, 1, body.parts(), body.size)

    def publish(self, body: Body, draft: Publication) -> Publication:
        """Publish a position and commit its round; `draft` still lacks the digests.

        Where the round was committed already, by a process that was killed since, the body takes the committed
        position: on a GPU a repeated epoch need not end with the same bits.
        """
        committed = self._journalist.publication(draft.round)
        if committed is not None:
            body.assign(self._store.get(self._particle, Kind.AFTER, draft.round).array)
            return committed
        best = self._publish_positions(body, draft)
        before = self._store.get(self._particle, Kind.BEFORE, draft.round).digest
        after = self._store.get(self._particle, Kind.AFTER, draft.round).digest
        return self._journalist.publish(_with_digests(draft, before, after, best))

    def advance(self, body: Body, round_number: int) -> None:
        """Bring the particle to the beginning of the next round: by a move, or as it is."""
        if not self.exchanges(round_number):
            if not self._store.has(self._particle, Kind.BEFORE, round_number + 1):
                self._store.alias(self._particle, (Kind.AFTER, round_number), (Kind.BEFORE, round_number + 1))
            return
        if not self._has_moved(round_number):
            self._move(body, round_number)
        body.assign(self._store.get(self._particle, Kind.BEFORE, round_number + 1).array)

    def exchanges(self, round_number: int) -> bool:
        """Whether particles move after a round: not in the warm-up, and not without a dynamic."""
        swarm = self._config.swarm
        return swarm.dynamic != "none" and round_number > swarm.warmup_rounds

    def _publish_positions(self, body: Body, draft: Publication) -> str:
        """Publish `after`, and as `best` where it is; return the digest of the best position."""
        mine, number = self._particle, draft.round
        self._store.put(mine, Kind.AFTER, number, body.parts(), body.size)
        if draft.best_round == number:
            self._store.alias(mine, (Kind.AFTER, number), (Kind.BEST, number))
        return self._store.get(mine, Kind.BEST, draft.best_round).digest

    def _has_moved(self, round_number: int) -> bool:
        """Whether a process that was killed since has made this move, and its result is whole."""
        move = self._journalist.move(round_number)
        if move is None or not self._store.has(self._particle, Kind.BEFORE, round_number + 1):
            return False
        return self._store.get(self._particle, Kind.BEFORE, round_number + 1).digest == move.before

    def _move(self, body: Body, round_number: int) -> None:
        began = time.monotonic()
        publications = self._journalist.others(round_number)
        move = exchange(
            self._store,
            self._config,
            self._particle,
            round_number,
            publications,
            non_negative=body.non_negative,
            threads=self._threads,
            wait_sec=time.monotonic() - began,
        )
        self._journalist.moved(move)


def _with_digests(draft: Publication, before: str, after: str, best: str) -> Publication:
    return Publication(**{**vars(draft), "before": before, "after": after, "best": best})
