"""What a particle does between two epochs: publish, wait, move. Knows positions and messages, but not Keras.

A round is committed in this order, so that a process killed between any two steps goes on where it was:
the training state (by the run itself), `after`, `best`, the copies and sketch that others get where these are not the
positions themselves, the publication; then, after the barrier, `before` of the next round, and the move. Each step is
repeated when it is not committed, and gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from keras_actrec.swarm import sharing
from keras_actrec.swarm.exchange import exchange
from keras_actrec.swarm.places import MissingPositionError
from keras_actrec.swarm.positions import DamagedPositionError, Position
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
        own: where the particle's exact positions are, if those in `store` are rounded (`swarm.exchange`).
    """

    def __init__(
        self,
        store: Store,
        journalist: Journalist,
        config: SwarmConfig,
        particle: int,
        threads: int | None = None,
        own: Store | None = None,
    ) -> None:
        self._store = store
        self._own = own or store
        self._journalist = journalist
        self._config = config
        self._particle = particle
        self._threads = threads
        self._exact: dict[tuple[Kind, int], str] = {}  # digests of exact positions
        self._best = 0, ""  # round of `best`, and its digest in the swarm's store

    def start(self, body: Body) -> None:
        """Publish the position before the first round."""
        if not self._own.has(self._particle, Kind.BEFORE, 1):
            self._exact[Kind.BEFORE, 1] = self._own.put(self._particle, Kind.BEFORE, 1, body.parts(), body.size)

    def publish(self, body: Body, draft: Publication) -> Publication:
        """Publish a position and commit its round; `draft` still lacks the digests.

        Where the round was committed already, by a process that was killed since, the body takes the committed
        position: on a GPU a repeated epoch need not end with the same bits.
        """
        committed = self._journalist.publication(draft.round)
        if committed is not None:
            # A publication names the rounded copy where there is one, so then nobody has told the exact one's digest.
            told = committed.after if self._own is self._store else None
            position = self._own.get(self._particle, Kind.AFTER, draft.round, told)
            body.assign(position.values)
            after = position.digest
        else:
            committed, after = self._commit(body, draft)
        before = {place: digest for place, digest in self._exact.items() if place == (Kind.BEFORE, draft.round)}
        self._exact = {**before, (Kind.AFTER, draft.round): after}
        self._best = committed.best_round, committed.best
        return committed

    def advance(self, body: Body, round_number: int) -> None:
        """Bring the particle to the beginning of the next round: by a move, or as it is."""
        if not self.exchanges(round_number):
            after = self._exact[Kind.AFTER, round_number]
            if not self._own.has(self._particle, Kind.BEFORE, round_number + 1):
                self._own.alias(self._particle, (Kind.AFTER, round_number), (Kind.BEFORE, round_number + 1), after)
            self._exact[Kind.BEFORE, round_number + 1] = after
            return
        position = self._moved_before(round_number) or self._move(body, round_number)
        body.assign(position.values)
        self._exact[Kind.BEFORE, round_number + 1] = position.digest

    def exchanges(self, round_number: int) -> bool:
        """Whether particles move after a round: not in the warm-up, and not without a dynamic."""
        swarm = self._config.swarm
        return swarm.dynamic != "none" and round_number > swarm.warmup_rounds

    def _commit(self, body: Body, draft: Publication) -> tuple[Publication, str]:
        """Publish `after`, and as `best` where it is; commit the round. Return what is committed, and exact `after`."""
        mine, number, best_round = self._particle, draft.round, draft.best_round
        after = self._own.put(mine, Kind.AFTER, number, body.parts(), body.size)
        if best_round == number:
            self._own.alias(mine, (Kind.AFTER, number), (Kind.BEST, number), after)
        exact = {Kind.BEFORE: self._before(number), Kind.AFTER: after}
        best = None if best_round == number else self._published_best(best_round)
        digests = sharing.share(self._own, self._store, self._config, mine, number, best_round, exact, best)
        committed = self._journalist.publish(dataclasses.replace(draft, **digests))
        sharing.prune(self._own, self._store, mine, number, best_round)
        return committed, committed.after if self._own is self._store else after

    def _before(self, number: int) -> str:
        """Return the digest of the exact `before`: as this process knows it, as it is committed, or as it is stored."""
        if (Kind.BEFORE, number) in self._exact:
            return self._exact[Kind.BEFORE, number]
        if number > 1 and self.exchanges(number - 1):
            move = self._journalist.move(number - 1)
            if move is not None:
                return move.before
        elif number > 1 and self._own is self._store:
            committed = self._journalist.publication(number - 1)
            if committed is not None:
                return committed.after
        return self._own.digest(self._particle, Kind.BEFORE, number)

    def _published_best(self, best_round: int) -> str | None:
        """Return the digest of `best` of an earlier round as it is published, if that is known or committed."""
        if self._best[0] == best_round:
            return self._best[1]
        committed = self._journalist.publication(best_round)
        return committed.best if committed else None

    def _moved_before(self, round_number: int) -> Position | None:
        """Return where a process that was killed since has moved to, if that is committed and whole."""
        move = self._journalist.move(round_number)
        if move is None:
            return None
        try:
            return self._own.get(self._particle, Kind.BEFORE, round_number + 1, move.before)
        except (MissingPositionError, DamagedPositionError):
            return None

    def _move(self, body: Body, round_number: int) -> Position:
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
            own=self._own,
            exact={kind: digest for (kind, number), digest in self._exact.items() if number == round_number},
        )
        self._journalist.moved(move)
        return self._own.get(self._particle, Kind.BEFORE, round_number + 1, move.before)
