"""The rounds of particles in one process: what is published, and what a particle that was cut off does again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests_support import Vector, publication

from keras_actrec.config import parse_config
from keras_actrec.swarm.companion import Rounds
from keras_actrec.swarm.settings import SwarmConfig, draws
from keras_actrec.swarm.state import Kind, Move, Publication
from keras_actrec.swarm.store import MemoryStore


class CutError(Exception):
    """Stands for kill -9."""


class Desk:
    """Commits into the journal of a memory store; a particle can be cut off at any of its calls."""

    def __init__(self, store: MemoryStore, particle: int, members: tuple[int, ...]) -> None:
        self._journal, self.particle, self._members = store.journal, particle, members
        self.calls_left = 10**6

    def _step(self) -> None:
        if self.calls_left == 0:
            raise CutError
        self.calls_left -= 1

    def publication(self, round_number: int) -> Publication | None:
        self._step()
        return self._journal.publication(self.particle, round_number)

    def publish(self, told: Publication) -> Publication:
        self._step()
        return self._journal.add_publication(told)

    def others(self, round_number: int) -> dict[int, Publication]:
        self._step()
        found = self._journal.published(round_number)
        return {member: found[member] for member in self._members}

    def move(self, round_number: int) -> Move | None:
        self._step()
        return self._journal.move(self.particle, round_number)

    def moved(self, told: Move) -> Move:
        self._step()
        return self._journal.add_move(told)


def make_config(**swarm: object) -> SwarmConfig:
    return parse_config({"seed": 3, "training": {"epochs": 4}, "swarm": {"particles": 2, **swarm}}, kind=SwarmConfig)


def train(body: Vector, particle: int, number: int) -> None:
    """Stands for an epoch: moves depend on where the particle is."""
    body.values = body.values * np.float32(0.9) + np.float32(particle + number)


def live(
    store: MemoryStore, config: SwarmConfig, cuts: Iterator[int | None]
) -> tuple[list[Vector], list[list[np.ndarray]]]:
    """Play two particles round by round; where `cuts` says so, one is cut off and starts again from its state."""
    bodies = [Vector([1, -2, 3, 4, 5]), Vector([0.5, 2, -3, 1, 0])]
    desks = [Desk(store, index, (0, 1)) for index in (0, 1)]
    rounds = [Rounds(store, desk, config, index, threads=1) for index, desk in enumerate(desks)]
    states: list[list[np.ndarray]] = [[], []]
    for index in (0, 1):
        rounds[index].start(bodies[index])
    for number in range(1, 5):
        for index in (0, 1):
            train(bodies[index], index, number)
            states[index].append(bodies[index].values.copy())
        for deed in ("publish", "advance"):
            for index in (0, 1):
                if deed == "advance" and number == 4:
                    continue
                _with_cut(rounds[index], desks[index], bodies[index], states[index], number, deed, next(cuts, None))
    return bodies, states


def _with_cut(
    rounds: Rounds, desk: Desk, body: Vector, states: list[np.ndarray], number: int, deed: str, cut: int | None
) -> None:
    best_round = 1 if number < 3 else 3
    draft = publication(desk.particle, number, best_round=best_round, before="", after="", best="")

    def do() -> None:
        rounds.publish(body, draft)
        if deed == "advance":
            rounds.advance(body, number)

    if cut is None:
        do()
        return
    desk.calls_left = cut
    try:
        do()
    except CutError:
        body.values = states[number - 1].copy()  # what its training state holds
        desk.calls_left = 10**6
        do()
    desk.calls_left = 10**6


@pytest.mark.parametrize("swarm", [{"dynamic": "dynamic_1"}, {"dynamic": "dynamic_2", "variant": "attract"}])
def test_a_particle_that_is_cut_off_anywhere_ends_with_the_same_bits(swarm: dict[str, object]) -> None:
    config = make_config(**swarm)
    wanted, _ = live(MemoryStore(), config, iter(()))
    for cut in range(6):
        got, _ = live(MemoryStore(), config, iter([cut] * 100))
        for left, right in zip(got, wanted, strict=True):
            assert left.values.tobytes() == right.values.tobytes()


def test_the_worked_out_first_move_of_dynamic_1() -> None:
    config = make_config(dynamic="dynamic_1", coupling=0.0, c1=0.0, c2=0.5)
    store = MemoryStore()
    live(store, config, iter(()))
    first = {index: store.journal.publication(index, 1) for index in (0, 1)}
    after = [np.array(store.get(index, Kind.AFTER, 1).array) for index in (0, 1)]
    assert first[0].best == first[0].after, "its best round is the first"
    move = store.journal.move(1, 1)
    assert move.chosen == 1, "equals go to the nearer one, itself"
    r2 = draws(3, 1, 0)[1]
    wanted = after[0] + 0.5 * r2 * (after[0] - after[0])
    np.testing.assert_allclose(store.get(0, Kind.BEFORE, 2).array, wanted, rtol=1e-6)


def test_warm_up_without_exchange_and_after_it_with() -> None:
    config = make_config(warmup_rounds=2, coupling=1.0)
    store = MemoryStore()
    _, states = live(store, config, iter(()))
    assert [bool(store.journal.move(0, number)) for number in (1, 2, 3)] == [False, False, True]
    alone, _ = live(MemoryStore(), make_config(dynamic="none"), iter(()))
    _, states_alone = live(MemoryStore(), make_config(dynamic="none"), iter(()))
    for number in range(3):
        np.testing.assert_array_equal(states[0][number], states_alone[0][number])
    assert not np.array_equal(states[0][3], states_alone[0][3])
    assert alone[0].values.size == 5


def test_a_round_that_another_process_has_committed_is_taken_as_it_is() -> None:
    config, store = make_config(), MemoryStore()
    rounds = Rounds(store, Desk(store, 0, (0,)), config, 0, threads=1)
    body = Vector([1, 2, 3])
    rounds.start(body)
    body.values += 1
    rounds.publish(body, publication(0, 1, before="", after="", best=""))
    repeated = Vector([2.0, 3.0, 4.0001])  # a GPU need not give the same bits again
    rounds.publish(repeated, publication(0, 1, before="", after="", best=""))
    assert repeated.values.tolist() == [2, 3, 4]
