"""The loss of pseudo-labels against ActNetFormer's Eq. (4), by hand and by loops in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.losses import pseudo_label


def by_loops(logits: np.ndarray, targets: list[int], accepted: list[float]) -> float:
    total = 0.0
    for row, target, weight in zip(logits.astype("float64"), targets, accepted, strict=True):
        if weight > 0:
            total += weight * (math.log(sum(math.exp(value - row.max()) for value in row)) + row.max() - row[target])
    return total / len(logits)


def drawn(count: int, classes: int) -> tuple[np.ndarray, list[int], list[float]]:
    rng = np.random.default_rng([count, classes])
    logits = rng.normal(scale=3, size=(count, classes)).astype("float32")
    return logits, rng.integers(0, classes, count).tolist(), rng.integers(0, 2, count).astype(float).tolist()


def loss(logits: Any, targets: list[int], accepted: Any, dtype: str = "float32") -> float:
    accepted = keras.ops.convert_to_tensor(np.array(accepted, dtype))
    value = pseudo_label(keras.ops.convert_to_tensor(logits), np.array(targets, "int32"), accepted)
    assert value.shape == () and keras.backend.standardize_dtype(value.dtype) == "float32"
    return float(keras.ops.convert_to_numpy(value))


def of_logits(targets: list[int], accepted: list[float]) -> Callable[[Any], Any]:
    targets, accepted = np.array(targets, "int32"), np.array(accepted, "float32")
    return lambda x: pseudo_label(
        x, keras.ops.convert_to_tensor(targets), keras.ops.cast(keras.ops.convert_to_tensor(accepted), "bool")
    )


def test_by_hand() -> None:
    # Probabilities 1/4 and 3/4; 1/2 and 1/2; 9/10 and 1/10.
    logits = np.log(np.array([[1, 3], [5, 5], [9, 1]], "float32"))
    expected = (math.log(4 / 3) + math.log(10)) / 3
    assert loss(logits, [1, 0, 1], [1, 0, 1]) == pytest.approx(expected, rel=1e-6)
    assert loss(logits, [1, 0, 1], [True, False, True], "bool") == pytest.approx(expected, rel=1e-6)
    assert loss(logits, [1, 0, 1], [0, 1, 0]) == pytest.approx(math.log(2) / 3, rel=1e-6)


@pytest.mark.parametrize("size", [(1, 2), (5, 3), (12, 7), (33, 20)])
def test_as_by_loops(size: tuple[int, int]) -> None:
    logits, targets, accepted = drawn(*size)
    for chosen in (accepted, [1.0] * len(accepted), [0.5 * weight for weight in accepted]):
        assert loss(logits, targets, chosen) == pytest.approx(by_loops(logits, targets, chosen), rel=1e-5, abs=1e-7)


def test_refused_rows_count_in_the_divisor_alone() -> None:
    logits, targets, accepted = drawn(8, 4)
    alone = loss(logits, targets, accepted)
    more = np.vstack([logits, np.zeros((8, 4), "float32")])
    assert alone > 0.1
    assert loss(more, targets * 2, accepted + [0.0] * 8) == pytest.approx(alone / 2, rel=1e-6)


def test_gradient_by_finite_differences(differentiate: Callable) -> None:
    logits, targets, accepted = drawn(6, 5)
    value, gradient = differentiate(of_logits(targets, accepted), logits)
    assert value == pytest.approx(by_loops(logits, targets, accepted), rel=1e-5)
    step, expected = 1e-5, np.zeros(logits.shape)
    for place in np.ndindex(logits.shape):
        more, less = logits.astype("float64"), logits.astype("float64")
        more[place] += step
        less[place] -= step
        expected[place] = (by_loops(more, targets, accepted) - by_loops(less, targets, accepted)) / (2 * step)
    assert np.abs(gradient - expected).max() < 1e-6
    assert np.abs(expected).max() > 0.05 and not gradient[np.array(accepted) == 0].any()


@pytest.mark.parametrize("scale", [1.0, 1e30, 3e38, math.inf, math.nan])
def test_no_accepted_row_gives_exactly_0(differentiate: Callable, scale: float) -> None:
    logits = (np.array([[1, -1, 0.5], [-1, 1, -0.5], [0.5, 0.5, 1]]) * scale).astype("float32")
    value, gradient = differentiate(of_logits([2, 0, -1], [0, 0, 0]), logits)
    assert value == 0 and not gradient.any()


def test_refused_rows_never_spoil_the_others(differentiate: Callable) -> None:
    logits, targets, _ = drawn(4, 3)
    expected, kept = differentiate(of_logits(targets, [1, 0, 1, 0]), logits)
    logits[1], logits[3] = [np.nan, np.inf, -np.inf], [3e38, -3e38, 0]
    value, gradient = differentiate(of_logits([targets[0], -7, targets[2], 99], [1, 0, 1, 0]), logits)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient, kept, rtol=1e-6)


def test_huge_logits_of_accepted_rows(differentiate: Callable) -> None:
    logits = np.array([[1e30, -1e30, 0], [-1e30, 1e30, 0], [3e38, -3e38, 0]], "float32")
    value, gradient = differentiate(of_logits([0, 1, 0], [1, 1, 1]), logits)
    assert value == 0 and np.isfinite(gradient).all() and not gradient.any()
    value, gradient = differentiate(of_logits([1, 1, 0], [1, 1, 1]), logits)
    assert value == pytest.approx(2e30 / 3, rel=1e-6)
    np.testing.assert_allclose(gradient, np.array([[1, -1, 0], [0, 0, 0], [0, 0, 0]]) / 3, rtol=1e-6)


def test_half_precision_is_computed_in_single(differentiate: Callable) -> None:
    logits, targets, accepted = drawn(12, 9)
    for dtype in ("float16", "bfloat16"):
        half = keras.ops.cast(keras.ops.convert_to_tensor(logits), dtype)
        exact = keras.ops.convert_to_numpy(keras.ops.cast(half, "float32"))
        assert loss(half, targets, accepted) == pytest.approx(by_loops(exact, targets, accepted), rel=1e-5)
    # Differences beyond the range of float16.
    logits = np.array([[60000, -60000], [-60000, 60000]], "float16")
    value, gradient = differentiate(of_logits([1, 1], [1, 1]), logits)
    assert value == pytest.approx(60000, rel=1e-3)
    assert gradient.dtype == np.float16
    np.testing.assert_array_equal(gradient, [[0.5, -0.5], [0, 0]])


def test_what_does_not_fit_is_said() -> None:
    logits, targets, accepted = drawn(4, 3)
    with pytest.raises(UserError, match=r"accepted \(N,\), got \(4, 3\), \(4,\), \(4, 1\)"):
        pseudo_label(logits, np.array(targets), np.array(accepted)[:, None])
    with pytest.raises(UserError, match=r"got \(12,\), \(4,\), \(4,\)"):
        pseudo_label(logits.ravel(), np.array(targets), np.array(accepted))
