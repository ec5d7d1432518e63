"""The equations: numbers worked by hand, brute force, invariants, and the recorded decisions of the released system."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_actrec.errors import UserError
from keras_actrec.swarm.chunks import CHUNK
from keras_actrec.swarm.dynamics import Neighbour, average, best_of, dynamic_1, dynamic_2, factor, nearest, towards_best
from keras_actrec.swarm.positions import BLOCK

RECORDED = Path(__file__).parent / "recorded_swarm_decisions.jsonl"

# The scene of the hand-worked numbers. Own displacement (1, 0); distance of the befores |(3, 4)| = 5, of the afters
# |(5, 12)| = 13; displacement of the other (3, 8); pulls 0.5 * 0.4 = 0.2 to (1, 4), 0.5 * 0.2 = 0.1 to (2, 2).
BEFORE, AFTER = np.array([0.0, 0.0]), np.array([1.0, 0.0])
OTHER_BEFORE, OTHER_AFTER = np.array([3.0, 4.0]), np.array([6.0, 12.0])
OWN_BEST, BEST = np.array([1.0, 4.0]), np.array([2.0, 2.0])
PULLS = {"c1": 0.5, "r1": 0.4, "c2": 0.5, "r2": 0.2}
NO_PULLS = {"c1": 0.0, "r1": 0.4, "c2": 0.0, "r2": 0.2}


def other(coupling: float, before: np.ndarray = OTHER_BEFORE) -> Neighbour:
    return Neighbour(before, OTHER_AFTER, coupling)


def test_dynamic_1_as_printed() -> None:
    # f = 4.2 / (1 + 5) = 0.7: (1, 0) + 0.7 (3, 8) + 0.2 (0, 4) + 0.1 (1, 2)
    found = dynamic_1(BEFORE, AFTER, [other(4.2)], BEST, OWN_BEST, **PULLS)
    assert found == pytest.approx([3.2, 6.6])


def test_dynamic_1_as_released() -> None:
    # f = 4.2 / (1 + 13) = 0.3: (1, 0) + 0.3 (3, 8) + 0.1 (1, 2); no pull to the own best
    found = dynamic_1(BEFORE, AFTER, [other(4.2)], BEST, OWN_BEST, **PULLS, variant="released")
    assert found == pytest.approx([2.0, 2.6])


def test_dynamic_1_with_beta() -> None:
    # f = 3.6 / (1 + 5)^2 = 0.1: (1, 0) + 0.1 (3, 8)
    found = dynamic_1(BEFORE, AFTER, [other(3.6)], BEST, OWN_BEST, **NO_PULLS, beta=2.0)
    assert found == pytest.approx([1.3, 0.8])


def test_dynamic_1_with_root_mean_square_distance() -> None:
    # |(5, 5)| / sqrt(2) = 5, f = 0.7, displacement (1, 7): (1, 0) + 0.7 (1, 7)
    far = other(4.2, np.array([5.0, 5.0]))
    assert dynamic_1(BEFORE, AFTER, [far], BEST, OWN_BEST, **NO_PULLS, distance="rms") == pytest.approx([1.7, 4.9])


def test_dynamic_1_adds_up_its_neighbours() -> None:
    # As printed above, and another one at distance |(0, -1)| = 1, f = 1 / 2, displacement (2, 0): (1, 0) more.
    second = Neighbour(np.array([0.0, -1.0]), np.array([2.0, -1.0]), 1.0)
    found = dynamic_1(BEFORE, AFTER, [other(4.2), second], BEST, OWN_BEST, **PULLS)
    assert found == pytest.approx([4.2, 6.6])


def test_dynamic_2_as_printed() -> None:
    # f = 5.2 / (1 + 25) = 0.2: (1, 0) + 0.2 (6, 12) + 0.1 ((2, 2) - (0, 0))
    found = dynamic_2(BEFORE, AFTER, [other(5.2)], BEST, learning_rate=9.0, c=0.5, r=0.2)
    assert found == pytest.approx([2.4, 2.6])


def test_dynamic_2_that_attracts() -> None:
    # (1, 0) + 0.2 ((6, 12) - (1, 0)) + 0.1 ((2, 2) - (0, 0))
    found = dynamic_2(BEFORE, AFTER, [other(5.2)], BEST, learning_rate=9.0, c=0.5, r=0.2, variant="attract")
    assert found == pytest.approx([2.2, 2.6])


def test_dynamic_2_as_released() -> None:
    # f = 4.2 / (1 + 13) = 0.3: (1, 0) + 0.3 (3, 8) + 0.3 * 0.5 (6, 12) + 0.1 ((2, 2) - (1, 0))
    found = dynamic_2(BEFORE, AFTER, [other(4.2)], BEST, learning_rate=0.5, c=0.5, r=0.2, variant="released")
    assert found == pytest.approx([2.9, 4.4])


def test_dynamic_2_with_beta_and_with_root_mean_square_distance() -> None:
    # 67.6 / 26^2 = 0.1: (1, 0) + 0.1 (6, 12);  |(5, 5)|^2 / 2 = 25: (1, 0) + 0.2 (6, 12)
    none = {"learning_rate": 1.0, "c": 0.0, "r": 0.2}
    assert dynamic_2(BEFORE, AFTER, [other(67.6)], BEST, **none, beta=2.0) == pytest.approx([1.6, 1.2])
    far = other(5.2, np.array([5.0, 5.0]))
    assert dynamic_2(BEFORE, AFTER, [far], BEST, **none, distance="rms") == pytest.approx([2.2, 2.4])


def test_controls() -> None:
    # (1, 0) + 0.1 ((2, 2) - (1, 0)), and ((1, 0) + (6, 12) + (2, 0)) / 3
    assert towards_best(AFTER, BEST, c2=0.5, r2=0.2) == pytest.approx([1.1, 0.2])
    assert average([AFTER, OTHER_AFTER, np.array([2.0, 0.0])]) == pytest.approx([3.0, 4.0])


def test_factor() -> None:
    assert factor(10.0, 4.0, 1.0) == 2.0
    assert factor(10.0, 3.0, 0.5, squared=True) == pytest.approx(10 / math.sqrt(10))
    assert factor(10.0, 1e300, 2.0, squared=True) == 0.0
    assert factor(0.2, 0.0, 3.0) == 0.2


VARIANTS = [(dynamic_1, "paper"), (dynamic_1, "released")] + [
    (dynamic_2, variant) for variant in ("paper", "attract", "released")
]
number = st.floats(-5, 5, width=32)


@st.composite
def scenes(draw: st.DrawFn) -> dict[str, list]:
    size, count = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    vector = st.lists(number, min_size=size, max_size=size)
    names = ["before", "after", "best", "own_best"]
    others = st.tuples(vector, vector, st.floats(0, 10))
    return {name: draw(vector) for name in names} | {"others": draw(st.lists(others, min_size=count, max_size=count))}


def brute_force(scene: dict[str, list], dynamic: object, variant: str, beta: float, rms: bool) -> list[float]:
    """The formulas once more, one weight at a time."""
    x, y, best, own_best = scene["before"], scene["after"], scene["best"], scene["own_best"]
    place, start = (1, y) if variant == "released" else (0, x)
    power = 2 if dynamic is dynamic_2 and variant != "released" else 1
    result = []
    for i in range(len(x)):
        total = x[i] + (y[i] - x[i])
        for one in scene["others"]:
            apart = math.sqrt(sum((a - b) ** 2 for a, b in zip(start, one[place], strict=True)))
            apart = apart / math.sqrt(len(x)) if rms else apart
            f = one[2] / (1 + apart**power) ** beta
            if dynamic is dynamic_1:
                total += f * (one[1][i] - one[0][i])
            elif variant == "released":
                total += f * (one[1][i] - one[0][i]) + f * 0.3 * one[1][i]
            else:
                total += f * (one[1][i] - (y[i] if variant == "attract" else 0))
        if dynamic is dynamic_1 and variant == "paper":
            total += 0.5 * 0.7 * (own_best[i] - y[i])
        pulled = x[i] if dynamic is dynamic_2 and variant != "released" else y[i]
        result.append(total + 0.4 * 0.9 * (best[i] - pulled))
    return result


def run(scene: dict[str, list], dynamic: object, variant: str, dtype: type = np.float64, **more: object) -> np.ndarray:
    vectors = {name: np.array(scene[name], dtype) for name in ("before", "after", "best", "own_best")}
    others = [Neighbour(np.array(b, dtype), np.array(a, dtype), m) for b, a, m in scene["others"]]
    first = (vectors["before"], vectors["after"], others, vectors["best"])
    if dynamic is dynamic_1:
        options = {"c1": 0.5, "r1": 0.7, "c2": 0.4, "r2": 0.9, "variant": variant, **more}
        return dynamic_1(*first, vectors["own_best"], **options)
    return dynamic_2(*first, **{"learning_rate": 0.3, "c": 0.4, "r": 0.9, "variant": variant, **more})


@pytest.mark.parametrize(("dynamic", "variant"), VARIANTS)
@given(scene=scenes(), beta=st.floats(0.25, 3), rms=st.booleans())
@settings(max_examples=60, deadline=None)
def test_brute_force_agrees(dynamic: object, variant: str, scene: dict[str, list], beta: float, rms: bool) -> None:
    found = run(scene, dynamic, variant, beta=beta, distance="rms" if rms else "euclidean")
    assert found == pytest.approx(brute_force(scene, dynamic, variant, beta, rms), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("dynamic", "variant"), VARIANTS)
@given(scene=scenes())
@settings(max_examples=30, deadline=None)
def test_with_all_coefficients_zero_nothing_changes_by_a_bit(
    dynamic: object, variant: str, scene: dict[str, list]
) -> None:
    scene["others"] = [(before, after, 0.0) for before, after, _ in scene["others"]]
    zero = {"c1": 0.0, "c2": 0.0} if dynamic is dynamic_1 else {"c": 0.0}
    found = run(scene, dynamic, variant, np.float32, **zero)
    assert found.tobytes() == np.array(scene["after"], np.float32).tobytes()


def test_a_swarm_of_one_without_pulls_is_plain_training() -> None:
    after = np.array([-0.0, 1e-42, 3.1], np.float32)
    found = dynamic_1(np.zeros(3, np.float32), after, [], after + 1, after + 1, c1=0.0, c2=0.0, r1=0.5, r2=0.5)
    assert found.tobytes() == after.tobytes()


def test_inputs_stay_as_they_are() -> None:
    arrays = [np.array(values) for values in ([0.0, 0], [1.0, 0], [3.0, 4], [6.0, 12], [2.0, 2], [1.0, 4])]
    for array in arrays:
        array.flags.writeable = False
    before, after, other_before, other_after, best, own = arrays
    result = dynamic_1(before, after, [Neighbour(other_before, other_after, 1.0)], best, own, **PULLS)
    assert result is not after
    assert result.flags.writeable


def test_one_step_of_gradient_descent_pushes_along_the_neighbours_gradient() -> None:
    # L = sum(a x^2) / 2 has the gradient a x, so that psi = -eta a x, and Eq. (3) can be written with gradients alone.
    rng = np.random.default_rng(0)
    a, own, neighbour = rng.random((3, 6))
    eta, f = 0.1, 2.0 / (1 + np.linalg.norm(own - neighbour))
    after, after_neighbour = own - eta * a * own, neighbour - eta * a * neighbour
    found = dynamic_1(own, after, [Neighbour(neighbour, after_neighbour, 2.0)], own, own, **NO_PULLS)
    assert found == pytest.approx(own - eta * (a * own + f * a * neighbour))


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, BLOCK + 1, 2 * BLOCK + 4097])
def test_long_vectors_are_moved_as_short_ones(size: int) -> None:
    rng = np.random.default_rng(size)
    vectors = rng.standard_normal((6, size), np.float32)
    x, y, ox, oy, best, own = vectors.astype(np.float64)
    f = 3 / (1 + np.linalg.norm(x - ox))
    expected = y + f * (oy - ox) + 0.2 * (own - y) + 0.1 * (best - y)
    found = dynamic_1(*vectors[:2], [Neighbour(*vectors[2:4], 3.0)], vectors[4], vectors[5], **PULLS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def step(swarm: Sequence[dict[str, np.ndarray]], k: int) -> list[np.ndarray]:
    """One exchange of a whole swarm in memory."""
    moved = []
    for own in swarm:
        distances = [float(np.linalg.norm(own["before"] - one["before"])) for one in swarm]
        order = nearest(distances, k)
        best = best_of(order, [one["fitness"] for one in swarm])
        others = [Neighbour(swarm[i]["before"], swarm[i]["after"], 0.7) for i in order[1:]]
        moved.append(dynamic_1(own["before"], own["after"], others, swarm[best]["best"], own["best"], **PULLS))
    return moved


@given(st.permutations(range(5)), st.integers(0, 4), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_permuting_particles_permutes_results(permutation: list[int], k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ("before", "after", "best")
    swarm = [{name: rng.standard_normal(4, np.float32) for name in names} | {"fitness": rng.random()} for _ in range(5)]
    straight, permuted = step(swarm, k), step([swarm[i] for i in permutation], k)
    assert [array.tobytes() for array in permuted] == [straight[i].tobytes() for i in permutation]


def test_nearest() -> None:
    assert nearest([3.0, 0.0, 1.0, 2.0], 3) == [1, 2, 3, 0]
    assert nearest([3.0, 0.0, 1.0, 2.0], 2) == [1, 2, 3]
    assert nearest([3.0, 0.0, 1.0, 2.0], 0) == [1]
    assert nearest(np.array([0.0]), 0) == [0]


def test_ties_go_to_the_lower_index_and_the_particle_itself_goes_first() -> None:
    assert nearest([2.0, 1.0, 2.0, 0.0, 1.0], 4) == [3, 1, 4, 0, 2]
    assert nearest([2.0, 0.0, 0.0, 0.0], 2) == [1, 2, 3]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8), st.data())
def test_nearest_agrees_with_its_definition(others: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(others)))
    distances = [*others[:place], 0.0, *others[place:]]
    k = data.draw(st.integers(0, len(others)))
    found = nearest(distances, k)
    chosen, left = [distances[i] for i in found], [d for i, d in enumerate(distances) if i not in found]
    assert found[0] == distances.index(0.0)
    assert len(set(found)) == k + 1
    assert chosen == sorted(chosen)
    assert all(d >= chosen[-1] for d in left)


@pytest.mark.parametrize("k", [-1, 3, 4])
def test_there_are_at_most_all_others(k: int) -> None:
    with pytest.raises(UserError, match=f"expected 0 to 2 neighbours among 3 particles, got {k}"):
        nearest([0.0, 1.0, 2.0], k)


@pytest.mark.parametrize("distances", [[1.0, 2.0], [0.0, math.nan], [0.0, math.inf], [0.0, -1.0], []])
def test_distances_that_cannot_be_are_refused(distances: list[float]) -> None:
    with pytest.raises(UserError, match="expected finite distances"):
        nearest(distances, 0)


def test_best_of() -> None:
    assert best_of([2, 0, 1], [0.1, 0.9, 0.5]) == 1
    assert best_of([2, 0], [0.1, 0.9, 0.5]) == 2
    assert best_of([2, 0, 1], [0.5, 0.5, 0.5]) == 2
    assert best_of([1, 0], [-3.0, math.nan]) == 0
    assert best_of([4], {4: -math.inf}) == 4
    with pytest.raises(UserError, match="at least one particle"):
        best_of([], [1.0])


def test_the_recorded_decisions_replay() -> None:
    records = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    found = [(order := nearest(one["distances"], 3), best_of(order, one["best_fitness"])) for one in records]
    assert found == [(one["neighbours"], one["chosen"]) for one in records]
    assert len(records) == 405


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "relased"}, "variant out of paper, released, got 'relased'. Did you mean 'released'?"),
        ({"variant": "attract"}, "expected a variant out of paper, released"),
        ({"distance": "manhattan"}, "expected a distance out of euclidean, rms"),
    ],
)
def test_unknown_names_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        dynamic_1(BEFORE, AFTER, [other(1.0)], BEST, OWN_BEST, **PULLS, **change)
    assert message in str(caught.value)


@pytest.mark.parametrize("best", [np.zeros(3), np.zeros((1, 2)), np.zeros(2, int)])
def test_vectors_that_do_not_fit_are_refused(best: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"expected (vectors of one length|floating-point vectors)"):
        dynamic_2(BEFORE, AFTER, [other(1.0)], best, learning_rate=1.0, c=0.5, r=0.5)
