"""Which rounds are still open, and how long each has waited for those who are late. Imports no Keras."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from keras_actrec.swarm import barrier
from keras_actrec.swarm.barrier import Patience
from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.settings import SwarmConfig


class OpenRounds:
    """The rounds of one swarm that are not closed yet.

    Args:
        config: of the swarm.
        journal: knows who has published, and what is closed.
        clock: seconds, never going back.
    """

    def __init__(self, config: SwarmConfig, journal: Journal, clock: Callable[[], float]) -> None:
        self._config, self._journal, self._clock = config, journal, clock
        self._patience = Patience(config.swarm.straggler == "go_on", config.swarm.deadline_sec)
        self._first: dict[int, float] = {}

    def began(self, number: int) -> None:
        """Somebody has published this round: from now on it waits for the others."""
        self._first.setdefault(number, self._clock())

    def rested(self, seconds: float) -> None:
        """All were told to rest: this time is not counted as waiting."""
        self._first = {number: began + seconds for number, began in self._first.items()}

    def due(
        self, active: Collection[int], *, deadlines: bool
    ) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
        """Yield each round that is to be closed, who takes part in it, and which active particles are late.

        Args:
            active: particles that have not failed, nor left.
            deadlines: whether a round may be closed without those who are late.
        """
        patience = self._patience if deadlines else Patience(goes_on=False, deadline_sec=0)
        for number in self._numbers():
            published = self._journal.published(number)
            if published:
                self.began(number)
            waited_sec = self._clock() - self._first.get(number, self._clock())
            members = barrier.members(active, published, waited_sec, patience)
            if members is None:
                return
            yield number, members, tuple(particle for particle in active if particle not in members)

    def _numbers(self) -> range:
        """Return the rounds that somebody may wait for: after the warm-up, before the last, not closed yet."""
        first, rounds = self._config.swarm.warmup_rounds + 1, self._config.training.epochs
        while first < rounds and self._journal.members(first) is not None:
            first += 1
        return range(first, rounds if self._config.swarm.dynamic != "none" else first)
