import itertools

import numpy as np
import pytest

from keras_actrec.serving.network import Scores
from keras_actrec.serving.predictor import Rule
from keras_actrec.serving.timeline import Segment, segments, smooth
from keras_actrec.serving.windows import Window


def windows(count: int, hop: float = 1.0) -> list[Window]:
    return [Window(hop * k, hop * k + 2, 0, 1) for k in range(count)]


def test_worked_segments() -> None:
    found = segments(windows(4), ["a", "a", "b", "a"], [0.5, 0.7, 0.9, 0.4], 5.0)
    assert found == (Segment("a", 0.0, 2.5, 0.6), Segment("b", 2.5, 3.5, 0.9), Segment("a", 3.5, 5.0, 0.4))


def test_segments_have_no_gaps_and_neighbours_differ() -> None:
    rng = np.random.default_rng(0)
    names = [str(number) for number in rng.integers(0, 3, 200)]
    found = segments(windows(200), names, rng.random(200), 201.0)
    assert (found[0].start_sec, found[-1].end_sec) == (0.0, 201.0)
    for one, other in itertools.pairwise(found):
        assert one.end_sec == other.start_sec
        assert one.label != other.label


def test_smoothing_is_a_triangle() -> None:
    values = np.array([[0.0], [0.0], [1.0], [0.0], [0.0]])
    found = smooth(values, windows(5), 2.0)
    # Weights 1/2, 1, 1/2 at distances 1, 0, 1; at the ends the sum of weights is smaller.
    np.testing.assert_allclose(found[:, 0], [0, 0.25, 0.5, 0.25, 0])
    np.testing.assert_array_equal(smooth(values, windows(5), 0.0), values)


def test_smoothing_keeps_probabilities_and_removes_a_flicker() -> None:
    rng = np.random.default_rng(1)
    values = rng.dirichlet([1, 1, 1], 50)
    np.testing.assert_allclose(smooth(values, windows(50), 3.0).sum(axis=1), 1)
    steady = np.tile([0.9, 0.1], (9, 1))
    steady[4] = [0.2, 0.8]
    assert (smooth(steady, windows(9), 2.0).argmax(axis=1) == 0).all()


def test_unknown_by_probability_and_by_distance() -> None:
    scores = Scores(np.array([[0.6, 0.4], [0.45, 0.55]]), np.array([[3.0, 1.0], [1.0, 1.0]]))
    assert Rule().names(scores, "ab") == ["a", "b"]
    assert Rule(0.58).names(scores, "ab") == ["a", "unknown"]
    # A code is known where it is nearer than gamma, as `Repository.recognise` has it: equal is not nearer.
    assert Rule(0.0, np.array([3.0, 1.5])).names(scores, "ab") == ["unknown", "b"]


@pytest.mark.parametrize("count", [1, 2, 300])
def test_one_window_is_one_segment(count: int) -> None:
    found = segments(windows(count), ["a"] * count, [0.5] * count, count + 1.0)
    assert found == (Segment("a", 0.0, count + 1.0, 0.5),)
