"""When a round is closed, and with whom: pure functions of what is committed. Imports no Keras."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from keras_actrec.swarm.state import Publication


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long a round waits.

    Attributes:
        goes_on: whether the others go on without a particle that is late.
        deadline_sec: time that it has once the first one has published; 0: as long as it takes.
    """

    goes_on: bool
    deadline_sec: float

    def is_over(self, waited_sec: float) -> bool:
        """Whether a late particle is left behind."""
        return self.goes_on and 0 < self.deadline_sec <= waited_sec


def members(
    active: Collection[int], published: Collection[int], waited_sec: float, patience: Patience
) -> tuple[int, ...] | None:
    """Return who takes part in a round, ascending; None while it stays open.

    Args:
        active: particles that have not failed, nor left.
        published: particles that have published the round, active or not.
        waited_sec: time since the first of them did.
        patience: with those who have not.
    """
    if not published:
        return None
    late = set(active) - set(published)
    if late and not patience.is_over(waited_sec):
        return None
    return tuple(sorted(published))


def oldest_needed(active: Collection[int], last_rounds: Mapping[int, int]) -> int:
    """Return the oldest round whose positions an active particle may still have to read.

    A particle whose last published round is r may be killed and then has to move again after r. With nobody active
    the last round stays.
    """
    rounds = [last_rounds.get(particle, 0) for particle in active] or list(last_rounds.values())
    return max(min(rounds, default=0), 1)


def best_needed(publications: Collection[Publication], oldest: int) -> dict[int, set[int]]:
    """Return, by particle, the rounds whose best position a publication of round `oldest` or later names."""
    needed: dict[int, set[int]] = {}
    for publication in publications:
        if publication.round >= oldest:
            needed.setdefault(publication.particle, set()).add(publication.best_round)
    return needed
