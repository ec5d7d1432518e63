"""Simulated rounds: their moves are those of `exchange`, and what the paper's coefficients should do is seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.swarm import dynamics
from keras_actrec.swarm.exchange import exchange
from keras_actrec.swarm.settings import SwarmConfig, draws
from keras_actrec.swarm.simulation.landscapes import landscape
from keras_actrec.swarm.simulation.rounds import Round, Rules, State, play, rates, start
from keras_actrec.swarm.state import Kind, Publication
from keras_actrec.swarm.store import MemoryStore

DYNAMICS = [(dynamic, variant) for dynamic, variants in dynamics.VARIANTS.items() for variant in variants] + [
    ("towards_best", "paper"),
    ("average", "paper"),
]


def run(rules: Rules, rounds: int) -> tuple[State, list[Round]]:
    state, told = start(rules), []
    for _ in range(rounds):
        state, one = play(rules, state)
        told.append(one)
    return state, told


@pytest.mark.parametrize(("dynamic", "variant"), DYNAMICS)
def test_a_move_is_that_of_a_real_swarm(dynamic: str, variant: str) -> None:
    """The same positions, published and moved by `exchange`, which works in float32."""
    rules = Rules(particles=6, neighbours=3, dynamic=dynamic, variant=variant, rate=0.05, seed=3)
    state, _ = run(rules, 4)
    after_it, told = play(rules, state)
    section = {"particles": 6, "neighbours": 3, "dynamic": dynamic, "variant": variant, "coupling": rules.strength}
    config = SwarmConfig.model_validate({"seed": 3, "swarm": section})
    store, publications = MemoryStore(), {}
    for particle in range(6):
        arrays = {Kind.BEFORE: told.before, Kind.AFTER: told.after, Kind.BEST: told.bests}
        digests = {
            str(kind): store.put(particle, kind, 5, [array[particle].astype(np.float32)], 2)
            for kind, array in arrays.items()
        }
        rate = float(rates(rules, 5)[particle])
        rest = {"learning_rate": rate, "row": {}, "train_sec": 0.0}
        publications[particle] = Publication(particle, 5, 0.0, 5, -float(after_it.losses[particle]), **digests, **rest)
    for particle in range(6):
        move = exchange(store, config, particle, 5, publications)
        assert (move.order, move.chosen) == (told.orders[particle], told.chosen[particle])
        wanted = store.get(particle, Kind.BEFORE, 6).array
        assert told.moved[particle] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_without_exchange_it_is_plain_descent() -> None:
    rules = Rules(landscape="sphere", particles=3, dynamic="none", rates="equal", rate=0.1)
    begin = start(rules).positions
    state, told = run(rules, 1)
    length = np.linalg.norm(2 * begin, axis=1, keepdims=True)
    assert state.positions == pytest.approx(begin - 0.1 * 2 * begin / np.maximum(length, 1))
    assert told[0].orders == ((0,), (1,), (2,))


def test_bests_are_the_lowest_places_so_far() -> None:
    rules = Rules(particles=5, rate=0.3, seed=2)
    state, told = run(rules, 12)
    for particle in range(5):
        losses = [one.losses[particle] for one in told]
        place = told[int(np.argmin(losses))].after[particle]
        assert state.losses[particle] == min(losses)
        assert np.array_equal(state.bests[particle], place)


def test_the_pull_to_the_best_gathers_and_none_does_not() -> None:
    rules = Rules(landscape="ackley", particles=10, neighbours=9, dynamic="towards_best", rate=0.0)
    spread = [np.ptp(run(dataclasses.replace(rules, c2=c2), 40)[0].positions, axis=0).max() for c2 in (0.0, 1.0)]
    assert spread[0] > 5
    assert spread[1] < 0.01


def test_a_zero_of_every_coefficient_changes_nothing() -> None:
    rules = Rules(particles=4, c1=0, c2=0, strength=0)
    alone = dataclasses.replace(rules, dynamic="none")
    assert np.array_equal(run(rules, 5)[0].positions, run(alone, 5)[0].positions)


def test_seeds_decide_and_nothing_else() -> None:
    one, again, other = (run(Rules(seed=seed), 6)[0].positions for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_rates_that_differ() -> None:
    rules = Rules(particles=5, rate=1.0)
    assert rates(rules, 1)[:4].tolist() == [1.0, 0.3, 0.1, 1.0]
    wild = [rates(rules, number)[-1] for number in range(1, 200)]
    assert 0.03 <= min(wild) < 0.1 < 1 < max(wild) <= 3
    assert rates(dataclasses.replace(rules, rates="equal"), 1).tolist() == [1.0] * 5


def test_particles_at_one_place_know_themselves() -> None:
    rules = Rules(particles=3, neighbours=1, rate=0.0)
    place = np.zeros((3, 2))
    _, told = play(rules, State(1, place, place, np.zeros(3)))
    assert [order[0] for order in told.orders] == [0, 1, 2]


def test_r1_and_r2_are_those_of_swarms() -> None:
    rules = Rules(landscape="sphere", particles=1, neighbours=0, c2=0.0, c1=1.0, rate=0.0, seed=5)
    far, best = np.array([[3.0, 0.0]]), np.array([[1.0, 0.0]])
    after, _ = play(rules, State(7, far, best, np.array([1.0])))
    assert after.positions[0, 0] == pytest.approx(3 - 2 * draws(5, 8, 0)[0])


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (Rules(landscape="himmelblau", dimensions=3), "2 dimensions"),
        (Rules(landscape="hill"), "expected a landscape"),
        (Rules(variant="attract"), "dynamic_2"),
    ],
)
def test_mistakes_are_told(rules: Rules, told: str) -> None:
    with pytest.raises(UserError, match=told):
        start(rules)


def test_a_swarm_that_flies_apart_is_told() -> None:
    """Equation (7) as printed adds positions: with a large M it drives particles away from zero, ever faster."""
    rules = Rules(dynamic="dynamic_2", strength=2.0, beta=0.1, neighbours=11)
    with pytest.raises(UserError, match="flew apart in round"):
        run(rules, 60)


def test_more_dimensions() -> None:
    rules = Rules(landscape="rosenbrock", dimensions=10, particles=8)
    state, _ = run(rules, 3)
    assert state.positions.shape == (8, 10)
    assert (state.losses < landscape("rosenbrock").value(start(rules).positions)).all()


@pytest.mark.parametrize("k", [0, 1, 3, 7])
def test_neighbours_are_the_nearest_of_all_also_among_equals(k: int) -> None:
    rules = Rules(particles=8, neighbours=k, rate=0.0)
    grid = np.array([[x, y] for x in range(4) for y in range(2)], dtype=float)
    _, told = play(rules, State(1, grid, grid, np.zeros(8)))
    for particle, order in enumerate(told.orders):
        distances = np.linalg.norm(grid - grid[particle], axis=1)
        assert list(order) == dynamics.nearest(distances.tolist(), k)
