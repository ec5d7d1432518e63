"""A particle's move between two rounds: from published positions to its next one. Imports no Keras.

It is a function of published files and of (seed, round, particle) alone: done again, by another process or with another
number of threads, it gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.swarm import dynamics, sketch
from keras_actrec.swarm.chunks import Plan, Term
from keras_actrec.swarm.dynamics import NEIGHBOURHOOD_BEST, NEIGHBOURS, OWN_BEST, Influence
from keras_actrec.swarm.passes import Passes, allow_files
from keras_actrec.swarm.positions import Position
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
    own: Store | None = None,
    exact: Mapping[Kind, str] | None = None,
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
        own: holds the particle's exact positions, and receives the next one, where those in `store` are rounded.
        exact: digests of the round's positions in `own`, as far as they are known.

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
    mine = _Own(store, own or store, exact or {})
    if config.swarm.dynamic == "none":
        return _stay(mine, config, publications[particle], started, wait_sec)
    with Passes(threads) as passes:
        mover = _Mover(store, config, particle, round_number, publications, passes, mine)
        mover.look()
        terms = mover.move(tuple(non_negative))
    return mover.report(terms, time.perf_counter() - started, wait_sec)


@dataclasses.dataclass(frozen=True)
class _Own:
    """Where the moving particle's positions are: exact ones in a store of their own, if those published are rounded.

    Attributes:
        shared: store of the swarm.
        store: of the particle; the very same where its exact positions are what is exchanged.
        digests: of the round's exact positions, as far as they are known; publications name those of the rounded ones.
    """

    shared: Store
    store: Store
    digests: Mapping[Kind, str]

    def get(self, publication: Publication, kind: Kind) -> Position:
        """Return the particle's exact position."""
        if self.store is self.shared:
            return _published(self.store, publication, kind)
        digest = None if kind is Kind.BEST else self.digests.get(kind)
        return self.store.get(publication.particle, kind, _round_of(publication, kind), digest)


class _Mover:
    def __init__(
        self,
        store: Store,
        config: SwarmConfig,
        particle: int,
        round_number: int,
        publications: Mapping[int, Publication],
        passes: Passes,
        own: _Own,
    ) -> None:
        self._store, self._own, self._swarm, self._passes = store, own, config.swarm, passes
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
        count = min(self._swarm.nearest, len(others))
        self._open_own()
        estimated = {}
        if self._swarm.nearest_by == "sketch" and count < len(others):
            estimated = {own: 0.0, **self._estimate(others)}
            others = sorted(_nearest(estimated, count)[1:])
        if self._passes.reads_files:
            # An open position is a descriptor and a memory map; a neighbour has two, and there are a few of one's own.
            allow_files(2 * (len(others) + 2 * count + 8))
        measured = {own: 0.0, **dict(zip(others, self._measure(others), strict=True))}
        self._order = _nearest(measured, count)
        self._distances = estimated | measured
        self._chosen = dynamics.best_of(self._order, {m: p.best_fitness for m, p in self._publications.items()})
        self._weights = _weights(self._swarm, own, self._order[1:], self._distances)

    def move(self, non_negative: tuple[tuple[int, int], ...]) -> dict[str, float]:
        """Publish the next position and return the sizes of what it is made of."""
        plan = self._plan(non_negative)
        with self._own.store.draft(self._particle, Kind.BEFORE, self._round + 1, self._passes.size) as draft:
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
            self._passes.add(str(kind), self._position(self._particle, kind))

    def _position(self, member: int, kind: Kind) -> Position:
        publication = self._publications[member]
        if member == self._particle:
            return self._own.get(publication, kind)
        return _published(self._store, publication, kind)

    def _open(self, member: int, kind: Kind) -> tuple[str, int]:
        self._passes.add((str(kind), member), self._position(member, kind))
        return str(kind), member

    def _estimate(self, others: Sequence[int]) -> dict[int, float]:
        """Return the distances to others by the published sketches."""
        own, *rest = (self._sketch(member) for member in (self._particle, *others))
        scale = dynamics.scale(self._swarm.distance, self._passes.size)
        found = (apart / scale for apart in sketch.distances(own, rest))
        return dict(zip(others, found, strict=True))

    def _sketch(self, member: int) -> np.ndarray:
        position = _published(self._store, self._publications[member], Kind.SKETCH)
        position.verify()
        if len(position.array) != self._swarm.sketch_size:
            raise UserError(
                f"expected {self._swarm.sketch_size} numbers in {position.name}, got {len(position.array)}; give all "
                "particles the same configuration"
            )
        return np.array(position.array)

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
                self._passes.add(source, self._position(owner, Kind.BEST))
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


def _nearest(distances: Mapping[int, float], count: int) -> tuple[int, ...]:
    """Return the first particle of `distances`, the moving one, and the nearest others."""
    # It goes first: another one at the same place would else be taken for it.
    candidates = list(distances)
    return tuple(candidates[index] for index in dynamics.nearest(list(distances.values()), count))


def _round_of(publication: Publication, kind: Kind) -> int:
    return publication.best_round if kind is Kind.BEST else publication.round


def _published(store: Store, publication: Publication, kind: Kind) -> Position:
    """Return the position that a publication names, if it is the very one that was published."""
    return store.get(publication.particle, kind, _round_of(publication, kind), getattr(publication, kind))


def _stay(mine: _Own, config: SwarmConfig, own: Publication, started: float, wait_sec: float) -> Move:
    position = mine.get(own, Kind.AFTER)
    mine.store.alias(own.particle, (Kind.AFTER, own.round), (Kind.BEFORE, own.round + 1), position.digest)
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
