"""A particle's move between two rounds: from published positions to its next one. Imports no Keras.

It is a function of published files and of (seed, round, particle) alone: done again, by another process or with another
number of threads, it gives the same bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keras_actrec.errors import UserError
from keras_actrec.swarm import dynamics
from keras_actrec.swarm.chunks import Plan, Term
from keras_actrec.swarm.dynamics import NEIGHBOURHOOD_BEST, NEIGHBOURS, OWN_BEST, Influence
from keras_actrec.swarm.passes import Passes
from keras_actrec.swarm.positions import DamagedPositionError, Position
from keras_actrec.swarm.settings import SwarmConfig, SwarmSection, draws, name_of
from keras_actrec.swarm.state import Kind, Move, Publication

if TYPE_CHECKING:
    from keras_actrec.swarm.store import Store

TERMS = ("own", NEIGHBOURS, OWN_BEST, NEIGHBOURHOOD_BEST, "total")
"""Names of the sizes in `Move.terms`."""


def exchange(
    store: Store,
    config: SwarmConfig,
    particle: int,
    round_number: int,
    publications: Mapping[int, Publication],
    *,
    non_negative: Sequence[tuple[int, int]] = (),
    threads: int | None = None,
    wait_sec: float = 0.0,
) -> Move:
    """Work out where a particle starts its next round, publish that position, and tell how it came about.

    Args:
        store: holds the positions that the publications name; receives `before` of the next round.
        config: of the swarm.
        particle: who moves, index from 0.
        round_number: the round that has ended, from 1.
        publications: of the round's members by index, its own among them.
        non_negative: index ranges [first, last) of moving variances: results below 0 become 0.
        threads: None: as many as this process may use cores.
        wait_sec: how long it has waited for the others, to be recorded.

    Returns:
        The decision; `terms` are Euclidean norms of the summands, "total" that of the whole step from `before`. With
        dynamic "none" nobody is looked at, and there are no terms.

    Raises:
        DamagedPositionError: a position is not what was published; nothing is published then.
        UserError: a position is missing, the particle did not take part, or weights are not finite; likewise.
    """
    started = time.perf_counter()
    if particle not in publications:
        raise UserError(
            f"{name_of(particle)} is not among the members of round {round_number}: "
            f"{', '.join(map(name_of, sorted(publications)))}; only a member can move"
        )
    if config.swarm.dynamic == "none":
        return _stay(store, config, publications[particle], started, wait_sec)
    with Passes(threads) as passes:
        mover = _Mover(store, config, particle, round_number, publications, passes)
        mover.look()
        terms = mover.move(tuple(non_negative))
    return mover.report(terms, time.perf_counter() - started, wait_sec)


class _Mover:
    def __init__(
        self,
        store: Store,
        config: SwarmConfig,
        particle: int,
        round_number: int,
        publications: Mapping[int, Publication],
        passes: Passes,
    ) -> None:
        self._store, self._swarm, self._passes = store, config.swarm, passes
        self._particle, self._round, self._publications = particle, round_number, publications
        self._members = tuple(sorted(publications))
        self._draws = draws(config.seed, round_number, particle)
        self._before = ""
        self._distances: dict[int, float] = {}
        self._order: tuple[int, ...] = ()
        self._chosen = particle
        self._weights: dict[int, float] = {}

    def look(self) -> None:
        """Measure distances; choose the neighbourhood, its best, and how much each neighbour counts."""
        own, others = self._particle, [member for member in self._members if member != self._particle]
        self._open_own()
        self._distances = {own: 0.0, **dict(zip(others, self._measure(others), strict=True))}
        # The particle goes first: another one at the same place would else be taken for it.
        candidates = list(self._distances)
        found = dynamics.nearest(list(self._distances.values()), min(self._swarm.nearest, len(others)))
        self._order = tuple(candidates[index] for index in found)
        self._chosen = dynamics.best_of(self._order, {m: p.best_fitness for m, p in self._publications.items()})
        self._weights = _weights(self._swarm, own, self._order[1:], self._distances)

    def move(self, non_negative: tuple[tuple[int, int], ...]) -> dict[str, float]:
        """Publish the next position and return the sizes of what it is made of."""
        plan = self._plan(non_negative)
        with self._store.draft(self._particle, Kind.BEFORE, self._round + 1, self._passes.size) as draft:
            terms = self._passes.update(plan, draft)
            if not all(map(math.isfinite, terms.values())):
                raise UserError(
                    f"the move of {name_of(self._particle)} after round {self._round} gives weights that are not "
                    f"finite: {terms}; lower swarm.strength, swarm.c1 and swarm.c2, or the learning rates"
                )
            self._before = draft.finish()
        return terms

    def report(self, terms: dict[str, float], exchange_sec: float, wait_sec: float) -> Move:
        """Return the decision."""
        return Move(
            particle=self._particle,
            round=self._round,
            members=self._members,
            distances=tuple(self._distances[member] for member in self._members),
            order=self._order,
            chosen=self._chosen,
            draws=self._draws,
            weights=tuple(self._weights[other] for other in self._order[1:]),
            terms={name: terms.get(name, 0.0) for name in TERMS},
            before=self._before,
            exchange_sec=exchange_sec,
            wait_sec=wait_sec,
        )

    def _open_own(self) -> None:
        for kind in (Kind.BEFORE, Kind.AFTER):
            self._passes.add(str(kind), _published(self._store, self._publications[self._particle], kind))

    def _open(self, member: int, kind: Kind) -> tuple[str, int]:
        self._passes.add((str(kind), member), _published(self._store, self._publications[member], kind))
        return str(kind), member

    def _measure(self, others: Sequence[int]) -> list[float]:
        if not others:
            return []
        where = Kind(dynamics.measured_on(self._swarm.variant))
        found = self._passes.distances(str(where), [self._open(other, where) for other in others])
        for other, distance in zip(others, found, strict=True):
            if not math.isfinite(distance):
                raise UserError(
                    f"the distance from {name_of(self._particle)} to {name_of(other)} after round {self._round} is "
                    f"{distance}: one of them has diverged; lower its learning rate"
                )
        return [distance / dynamics.scale(self._swarm.distance, self._passes.size) for distance in found]

    def _plan(self, non_negative: tuple[tuple[int, int], ...]) -> Plan:
        before, after = str(Kind.BEFORE), str(Kind.AFTER)
        if self._swarm.dynamic == "average":
            # In the order of their indices, so that all particles with the same neighbourhood get the same bytes.
            mean = tuple(after if m == self._particle else self._open(m, Kind.AFTER) for m in sorted(self._order))
            return Plan(after, mean=mean, origin=before, non_negative=non_negative)
        plan = Plan(after, self._terms(), origin=before, non_negative=non_negative)
        for source, owner in ((OWN_BEST, self._particle), (NEIGHBOURHOOD_BEST, self._chosen)):
            if any(term.plus == source for term in plan.terms):
                self._passes.add(source, _published(self._store, self._publications[owner], Kind.BEST))
        return plan

    def _terms(self) -> tuple[Term, ...]:
        swarm, (r1, r2) = self._swarm, self._draws
        if swarm.dynamic == "towards_best":
            return dynamics.terms_towards_best(c2=swarm.c2, r2=r2)
        influences = [self._influence(other) for other in self._order[1:] if self._weights[other]]
        if swarm.dynamic == "dynamic_1":
            return dynamics.terms_1(influences, c1=swarm.c1, c2=swarm.c2, r1=r1, r2=r2, variant=swarm.variant)
        rate = self._publications[self._particle].learning_rate
        return dynamics.terms_2(influences, learning_rate=rate, c=swarm.c2, r=r2, variant=swarm.variant)

    def _influence(self, other: int) -> Influence:
        before, after = self._open(other, Kind.BEFORE), self._open(other, Kind.AFTER)
        return Influence(before, after, self._weights[other])


def _weights(swarm: SwarmSection, own: int, others: Sequence[int], distances: Mapping[int, float]) -> dict[int, float]:
    """Return how much each neighbour counts: f, or what stands for it in the controls."""
    if swarm.dynamic == "average":
        return dict.fromkeys(others, 1 / (len(others) + 1))
    if swarm.dynamic == "towards_best":
        return dict.fromkeys(others, 0.0)
    coupling = swarm.coupling_matrix()
    squared = dynamics.squares_distance(swarm.dynamic, swarm.variant)
    return {m: dynamics.factor(coupling[own, m], distances[m], swarm.beta, squared=squared) for m in others}


def _published(store: Store, publication: Publication, kind: Kind) -> Position:
    """Return the position that a publication names, if it is the very one that was published."""
    round_number = publication.best_round if kind is Kind.BEST else publication.round
    position = store.get(publication.particle, kind, round_number)
    expected = getattr(publication, kind)
    if position.digest != expected:
        raise DamagedPositionError(position.name, f"its checksum is {position.digest}, {expected} was announced")
    return position


def _stay(store: Store, config: SwarmConfig, own: Publication, started: float, wait_sec: float) -> Move:
    position = _published(store, own, Kind.AFTER)
    store.alias(own.particle, (Kind.AFTER, own.round), (Kind.BEFORE, own.round + 1))
    return Move(
        particle=own.particle,
        round=own.round,
        members=(own.particle,),
        distances=(0.0,),
        order=(own.particle,),
        chosen=own.particle,
        draws=draws(config.seed, own.round, own.particle),
        weights=(),
        terms={},
        before=position.digest,
        exchange_sec=time.perf_counter() - started,
        wait_sec=wait_sec,
    )
