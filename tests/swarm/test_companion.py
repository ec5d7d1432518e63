"""The rounds of particles in one process: what is published, and what a particle that was cut off does again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from tests_support import Vector, publication

from keras_actrec.config import parse_config
from keras_actrec.swarm.companion import Rounds
from keras_actrec.swarm.settings import SwarmConfig, draws
from keras_actrec.swarm.state import Kind, Move, Publication
from keras_actrec.swarm.store import MemoryStore, Store


class CutError(Exception):
    """Stands for kill -9."""


class Desk:
    """Commits into the journal of a store; a particle can be cut off at any of its calls."""

    def __init__(self, store: Store, particle: int, members: tuple[int, ...]) -> None:
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
    store: Store,
    config: SwarmConfig,
    cuts: Iterator[int | None],
    own: Sequence[Store | None] = (None, None),
) -> tuple[list[Vector], list[list[np.ndarray]]]:
    """Play two particles round by round; where `cuts` says so, one is cut off and starts again from its state."""
    bodies = [Vector([1, -2, 3, 4, 5]), Vector([0.5, 2, -3, 1, 0])]
    desks = [Desk(store, index, (0, 1)) for index in (0, 1)]

    def process(index: int) -> Rounds:
        return Rounds(store, desks[index], config, index, threads=1, own=own[index])

    states: list[list[np.ndarray]] = [[], []]
    rounds = [process(index) for index in (0, 1)]
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
                cut = next(cuts, None)
                if not _done(rounds[index], desks[index], bodies[index], number, deed, cut):
                    bodies[index].values = states[index][number - 1].copy()  # what its training state holds
                    rounds[index] = process(index)  # which knows nothing of what the killed one has done
                    _done(rounds[index], desks[index], bodies[index], number, deed, None)
    return bodies, states


def _done(rounds: Rounds, desk: Desk, body: Vector, number: int, deed: str, cut: int | None) -> bool:
    """Do one step of a round; return False if the particle was cut off in it."""
    best_round = 1 if number < 3 else 3
    draft = publication(desk.particle, number, best_round=best_round, before="", after="", best="")
    desk.calls_left = 10**6 if cut is None else cut
    try:
        rounds.publish(body, draft)
        if deed == "advance":
            rounds.advance(body, number)
    except CutError:
        return False
    finally:
        desk.calls_left = 10**6
    return True


@pytest.mark.parametrize(
    "swarm",
    [
        {"dynamic": "dynamic_1"},
        {"dynamic": "dynamic_2", "variant": "attract"},
        {"dynamic": "dynamic_1", "warmup_rounds": 2},
    ],
)
def test_a_particle_that_is_cut_off_anywhere_ends_with_the_same_bits(swarm: dict[str, object]) -> None:
    config = make_config(**swarm)
    wanted, _ = live(MemoryStore(), config, iter(()))
    for cut in range(6):
        got, _ = live(MemoryStore(), config, iter([cut] * 100))
        for left, right in zip(got, wanted, strict=True):
            assert left.values.tobytes() == right.values.tobytes()


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_and_so_it_does_where_others_get_rounded_copies(precision: str, warmup: int) -> None:
    config = make_config(dynamic="dynamic_1", coupling=0.5, exchange=precision, warmup_rounds=warmup)
    own = (MemoryStore(), MemoryStore())
    wanted, states = live(MemoryStore(), config, iter(()), own)
    assert own[0].rounds(0, Kind.AFTER) == [4], "exact positions of past rounds are gone"
    assert own[0].rounds(0, Kind.BEST) == [3]
    for cut in range(6):
        store, exact_stores = MemoryStore(precision), (MemoryStore(), MemoryStore())
        got, _ = live(store, config, iter([cut] * 100), exact_stores)
        for left, right in zip(got, wanted, strict=True):
            assert left.values.tobytes() == right.values.tobytes()
        told = store.journal.publication(0, 4)
        assert told.after == store.digest(0, Kind.AFTER, 4) != own[0].digest(0, Kind.AFTER, 4)
        assert told.best == store.digest(0, Kind.BEST, 3) != exact_stores[0].digest(0, Kind.BEST, 3)
        assert store.journal.move(0, 3).before == exact_stores[0].digest(0, Kind.BEFORE, 4) != told.before
    plain = make_config(dynamic="dynamic_1", coupling=0.5, warmup_rounds=warmup)
    exact, exact_states = live(MemoryStore(), plain, iter(()))
    np.testing.assert_array_equal(states[0][0], exact_states[0][0])
    np.testing.assert_allclose(wanted[0].values, exact[0].values, rtol=0.1)
    assert not np.array_equal(wanted[0].values, exact[0].values)


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
