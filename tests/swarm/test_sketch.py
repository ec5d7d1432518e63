"""Sketches: what is claimed of them holds for any vectors, and the neighbours that they find are nearly right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_actrec.errors import UserError
from keras_actrec.swarm import sketch
from keras_actrec.swarm.chunks import CHUNK, pieces
from keras_actrec.swarm.positions import BLOCK, DamagedPositionError, open_position, write
from keras_actrec.swarm.sketch import Projection, distances, numbers_for, relative_error

SEED = (5, 1)


def cut(vector: np.ndarray) -> Iterator[np.ndarray]:
    for first, last in pieces(0, len(vector)):
        yield vector[first:last]


def length(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector.astype(float)))


SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, size: rng.standard_normal(size, np.float32),
    "heavy tails": lambda rng, size: rng.standard_cauchy(size).clip(-1e6, 1e6).astype(np.float32),
    "one layer moved": lambda rng, size: np.where(np.arange(size) < max(size // 50, 1), 1, 0).astype(np.float32),
    "two weights": lambda rng, size: np.bincount(rng.integers(size, size=2), minlength=size).astype(np.float32),
    "all equal": lambda rng, size: np.full(size, 0.25, np.float32),
}
shapes = pytest.mark.parametrize("shape", SHAPES)


def draw(shape: str, size: int, seed: int = 0) -> np.ndarray:
    return SHAPES[shape](np.random.default_rng(seed), size)


@shapes
@pytest.mark.parametrize("size", [1, 63, 64, 5000, CHUNK, CHUNK + 1, BLOCK + CHUNK + 77])
def test_a_sketch_is_linear_and_loses_no_weight(shape: str, size: int) -> None:
    one, other = draw(shape, size), draw("normal", size, 1)
    projection = Projection(256, SEED)
    difference = projection.of(cut(one - other))
    scale = length(one) + length(other)
    assert projection.of(cut(one)) - projection.of(cut(other)) == pytest.approx(difference, abs=2e-6 * scale)
    assert projection.energies(cut(one)).sum() == pytest.approx(length(one) ** 2, rel=1e-4)


def test_energies_are_of_the_buckets_that_the_sketch_has() -> None:
    projection, one = Projection(64, SEED), np.zeros(64 * 40, np.float32)
    one[[3, 700]] = 2, 5
    sketch, energies = projection.of(cut(one)), projection.energies(cut(one))
    assert sorted(abs(sketch[sketch != 0])) == [2, 5], "with this seed they do not meet"
    assert np.array_equal(sketch**2, energies)


def test_equal_positions_have_no_distance_and_seeds_differ() -> None:
    vector = draw("normal", 10_000)
    one = Projection(128, SEED).of(cut(vector))
    assert distances(one, [Projection(128, SEED).of(cut(vector.copy()))]) == [0.0]
    assert not np.array_equal(one, Projection(128, (5, 2)).of(cut(vector)))


@shapes
def test_mean_and_variance_are_those_of_the_docstring(shape: str) -> None:
    numbers, vector = 64, draw(shape, 3000)
    shares = (
        np.array([length(Projection(numbers, (n,)).of(cut(vector))) ** 2 for n in range(600)]) / length(vector) ** 2
    )
    bound = 2 / numbers
    assert shares.mean() == pytest.approx(1, abs=4 * max(shares.std(), 1e-6) / np.sqrt(600) + 1e-5)
    # A variance that is estimated from 600 draws is itself uncertain, the more so the heavier the tails.
    fourth = ((shares - shares.mean()) ** 4).mean() ** 0.5
    assert shares.var() <= bound + 4 * fourth / np.sqrt(600)
    if shape == "normal":
        assert shares.var() > bound / 2, "the bound is about what is seen"


@settings(max_examples=20, deadline=None)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    size=st.integers(2, 4000),
    numbers=st.sampled_from([64, 256, 1024]),
    failure=st.sampled_from([0.3, 0.05]),
    seed=st.integers(0, 2**32),
)
def test_the_bound_fails_no_oftener_than_it_says(
    shape: str, size: int, numbers: int, failure: float, seed: int
) -> None:
    vector, draws = draw(shape, size, seed), 60
    failed = 0
    for number in range(draws):
        projection = Projection(numbers, (seed, number))
        energies = projection.energies(cut(vector))
        peak = numbers * energies.max() / energies.sum()
        share = length(projection.of(cut(vector))) / length(vector)
        failed += abs(share - 1) > relative_error(numbers, 2, failure, peak) + 1e-5
    # Of 60 draws that fail with that probability, more than this fail once in a million.
    assert failed <= draws * failure + 5 * np.sqrt(draws * failure * (1 - failure)) + 1


def test_the_bound_is_no_idle_one() -> None:
    """With a tenth of the promised error most distances are off by more, so the bound is of the right size."""
    vector, numbers = draw("normal", 20_000), 256
    bound = relative_error(numbers, 2, 0.05)
    off = [abs(length(Projection(numbers, (n,)).of(cut(vector))) / length(vector) - 1) for n in range(100)]
    assert np.mean(np.array(off) > bound / 10) > 0.5
    assert max(off) < bound


def test_bounds_move_the_right_way() -> None:
    assert relative_error(4096, 1000) < relative_error(1024, 1000) < relative_error(1024, 1000, peak=2.0)
    assert relative_error(1024, 50) < relative_error(1024, 1000) < relative_error(1024, 1000, failure=1e-6)
    assert relative_error(64, 1000) > 0.9, "says nothing"
    for error in (0.05, 0.1, 0.3):
        numbers = numbers_for(error, 200)
        assert relative_error(numbers, 200) <= error < relative_error(numbers // 2, 200)


@pytest.mark.parametrize(
    ("deed", "told"),
    [
        (lambda: numbers_for(0.001, 1000), "more than 65536 numbers"),
        (lambda: relative_error(64, 1), "2 particles or more"),
        (lambda: relative_error(64, 10, failure=0), "a probability"),
        (lambda: Projection(100, SEED), "power of two"),
        (lambda: Projection(32, SEED), "64 to 65536"),
        (lambda: Projection(1 << 17, SEED), "64 to 65536"),
    ],
)
def test_mistakes_are_told(deed: Callable[[], object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        deed()


def test_two_weights_of_a_row_never_meet_and_of_two_rows_seldom() -> None:
    numbers, rows = 64, 40
    met = 0
    for draw_number in range(50):
        projection = Projection(numbers, (draw_number,))
        row = np.zeros(numbers * rows, np.float32)
        row[numbers : 2 * numbers] = 1
        assert sorted(projection.energies(cut(row))) == [1.0] * numbers
        column = np.zeros(numbers * rows, np.float32)
        column[::numbers] = 1
        met += rows - np.count_nonzero(projection.energies(cut(column)))
    # Balls into bins: 40 balls leave 64 (1 - (1 - 1/64)^40) = 29.9 bins with one or more.
    assert met / 50 == pytest.approx(rows - numbers * (1 - (1 - 1 / numbers) ** rows), abs=1.2)


@pytest.mark.parametrize("size", [100, CHUNK + 3, BLOCK + 9])
def test_a_file_and_its_content_have_one_sketch(tmp_path: Path, size: int) -> None:
    vector, projection = draw("normal", size), Projection(64, SEED)
    path = tmp_path / "position.safetensors"
    write(path, [vector], size)
    assert np.array_equal(sketch.of_position(open_position(path), projection), projection.of(cut(vector)))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedPositionError, match="checksum"):
        sketch.of_position(open_position(path), projection)


def swarm_of(groups: int, each: int, size: int, apart: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((groups, 1, size), np.float32) * np.float32(apart)
    return (centres + rng.standard_normal((groups, each, size), np.float32)).reshape(-1, size)


def recall(positions: np.ndarray, numbers: int, k: int) -> tuple[float, float, float]:
    """Share of right neighbours; the largest error; the largest excess of a chosen distance over the right one."""
    projection = Projection(numbers, SEED)
    sketches = [projection.of(cut(position)) for position in positions]
    right, error, excess = 0, 0.0, 0.0
    for own, position in enumerate(positions):
        exact = np.linalg.norm(positions.astype(float) - position, axis=1)
        estimated = np.array(distances(sketches[own], sketches))
        exact[own] = estimated[own] = np.inf
        others = np.arange(len(positions)) != own
        error = max(error, np.abs(estimated[others] / exact[others] - 1).max())
        wanted, found = np.argsort(exact)[:k], np.argsort(estimated)[:k]
        right += len({*wanted} & {*found})
        excess = max(excess, (np.sort(exact[found]) / exact[wanted]).max())
    return right / (k * len(positions)), error, excess


@pytest.mark.parametrize("numbers", [64, 256, 4096])
def test_a_wrong_neighbour_is_hardly_farther(numbers: int) -> None:
    right, error, excess = recall(swarm_of(6, 8, 4000, 0.5), numbers, 3)
    assert error <= relative_error(numbers, 48, 0.01, peak=2.5)
    assert excess <= (1 + error) / (1 - error)
    assert right > 3 / 47, "better than guessing"


def test_more_numbers_find_more_of_the_neighbours() -> None:
    positions = swarm_of(6, 8, 4000, 1.0)
    found = [recall(positions, numbers, 7)[0] for numbers in (64, 1024)]
    assert found[0] < found[1]
    assert found[1] > 0.98, "the groups lie apart by more than the error"
