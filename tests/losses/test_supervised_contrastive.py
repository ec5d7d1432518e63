"""Supervised contrastive learning against Khosla et al. 2020, Eq. (2), by hand and by loops in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.losses import supervised_contrastive

SETTINGS = [(6, 3, 2), (12, 4, 3), (16, 8, 7), (9, 2, 1), (24, 6, 4)]


def by_loops(
    codes: np.ndarray, labels: list[int], temperature: float = 0.1, weights: list[float] | None = None
) -> float:
    weights = weights or [1.0] * len(labels)
    rows = [row for row, label in enumerate(labels) if label >= 0 and weights[row] > 0]
    z = {row: codes[row].astype("float64") / math.sqrt(sum(float(x) ** 2 for x in codes[row])) for row in rows}
    total = whole = 0.0
    for i in rows:
        positives = [p for p in rows if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        below = sum(math.exp(z[i] @ z[a] / temperature) for a in rows if a != i)
        loss = -sum(math.log(math.exp(z[i] @ z[p] / temperature) / below) for p in positives) / len(positives)
        total, whole = total + weights[i] * loss, whole + weights[i]
    return total / whole if whole else 0.0


def one_hot(labels: list[int], classes: int = 10) -> np.ndarray:
    return np.array([[float(label == number) for number in range(classes)] for label in labels], "float32")


def drawn(rows: int, width: int, classes: int) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng([rows, width, classes])
    return rng.normal(size=(rows, width)).astype("float32"), rng.integers(0, classes, rows).tolist()


def loss(codes: Any, labels: list[int], temperature: float = 0.1, weights: Any = None) -> float:
    weights = None if weights is None else keras.ops.convert_to_tensor(np.array(weights, "float32"))
    codes = keras.ops.convert_to_tensor(codes)
    value = supervised_contrastive(codes, one_hot(labels), temperature, weights)
    assert value.shape == () and keras.backend.standardize_dtype(value.dtype) == "float32"
    return float(keras.ops.convert_to_numpy(value))


def test_by_hand() -> None:
    # Of length 1 after normalisation: each anchor has its positive at 1 / tau = 2 and two others at 0.
    codes = np.array([[3, 0], [0.5, 0], [0, 2], [0, 7]], "float32")
    two = math.log(1 + 2 * math.exp(-2))
    assert loss(codes, [0, 0, 1, 1], 0.5) == pytest.approx(two, rel=1e-6)
    # A fifth row without positive, opposite to the first two: no anchor, but a negative.
    codes = np.vstack([codes, [[-4, 0]]]).astype("float32")
    opposite, aside = math.log(1 + 2 * math.exp(-2) + math.exp(-4)), math.log(1 + 3 * math.exp(-2))
    assert loss(codes, [0, 0, 1, 1, 2], 0.5) == pytest.approx((opposite + aside) / 2, rel=1e-6)
    # Without a label it is not even that.
    assert loss(codes, [0, 0, 1, 1, -1], 0.5) == pytest.approx(two, rel=1e-6)


def test_the_mean_over_positives_is_outside_the_log() -> None:
    """L_out, not L_in: three of a class, one of them across; tau = 1."""
    codes = np.array([[1, 0], [1, 0], [0, 1]], "float32")
    first = -(math.log(math.e / (math.e + 1)) + math.log(1 / (math.e + 1))) / 2
    assert loss(codes, [0, 0, 0], 1.0) == pytest.approx((2 * first + math.log(2)) / 3, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
@pytest.mark.parametrize("setting", SETTINGS)
def test_as_by_loops(setting: tuple[int, int, int], temperature: float) -> None:
    codes, labels = drawn(*setting)
    assert loss(codes, labels, temperature) == pytest.approx(by_loops(codes, labels, temperature), rel=1e-5)


def test_rows_may_be_permuted_and_codes_stretched() -> None:
    codes, labels = drawn(14, 5, 4)
    expected = loss(codes, labels)
    order = np.random.default_rng(2).permutation(14)
    assert loss(codes[order], [labels[row] for row in order]) == pytest.approx(expected, rel=1e-5)
    assert loss(codes, [(7, 0, 3, 9)[label] for label in labels]) == pytest.approx(expected, rel=1e-6)
    stretched = codes * np.random.default_rng(3).uniform(0.1, 50, (14, 1)).astype("float32")
    assert loss(stretched, labels) == pytest.approx(expected, rel=1e-4)


def test_rows_that_do_not_count_are_as_if_they_were_missing() -> None:
    codes, labels = drawn(14, 4, 3)
    out = [2, 5, 9]
    expected = loss(np.delete(codes, out, axis=0), np.delete(labels, out).tolist())
    weights = [0.0 if row in out else 1.0 for row in range(14)]
    assert loss(codes, labels, weights=weights) == pytest.approx(expected, rel=1e-5)
    assert loss(codes, [-1 if row in out else label for row, label in enumerate(labels)]) == pytest.approx(
        expected, rel=1e-5
    )
    codes[out] = np.nan
    assert loss(codes, labels, weights=weights) == pytest.approx(expected, rel=1e-5)


def test_weights_weigh_the_anchors() -> None:
    codes, labels = drawn(16, 4, 3)
    weights = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 3.0], 16).tolist()
    expected = by_loops(codes, labels, weights=weights)
    assert loss(codes, labels, weights=weights) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [-1, -1, -1, -1], [-1, 3, -1, -1]])
def test_without_a_positive_it_is_exactly_0(differentiate: Callable, labels: list[int]) -> None:
    codes = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    value, gradient = differentiate(lambda x: supervised_contrastive(x, one_hot(labels)), codes)
    assert value == 0 and not gradient.any()


def test_without_weight_it_is_exactly_0(differentiate: Callable) -> None:
    codes, weightless = np.random.default_rng(0).normal(size=(4, 3)).astype("float32"), np.zeros(4, "float32")
    value, gradient = differentiate(
        lambda x: supervised_contrastive(x, one_hot([0, 0, 1, 1]), 0.1, keras.ops.convert_to_tensor(weightless)), codes
    )
    assert value == 0 and not gradient.any()


def test_gradient_by_finite_differences(differentiate: Callable) -> None:
    codes, labels = drawn(11, 4, 4)
    labels[4] = -1
    value, gradient = differentiate(lambda x: supervised_contrastive(x, one_hot(labels), 0.5), codes)
    assert value == pytest.approx(by_loops(codes, labels, 0.5), rel=1e-5)
    step = 1e-5
    expected = np.zeros(codes.shape)
    for place in np.ndindex(codes.shape):
        more, less = codes.astype("float64"), codes.astype("float64")
        more[place] += step
        less[place] -= step
        expected[place] = (by_loops(more, labels, 0.5) - by_loops(less, labels, 0.5)) / (2 * step)
    assert np.abs(gradient - expected).max() < 1e-5
    assert np.abs(expected).max() > 0.05 and not gradient[4].any()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_long_codes_and_a_code_of_zeros_stay_finite(differentiate: Callable, dtype: str) -> None:
    codes, labels = drawn(12, 8, 3)
    codes = (codes / np.linalg.norm(codes, axis=1, keepdims=True) * 1e3).astype(dtype)
    value, gradient = differentiate(lambda x: supervised_contrastive(x, one_hot(labels)), codes)
    assert value == pytest.approx(by_loops(codes, labels), rel=1e-4)
    assert np.isfinite(gradient).all() and gradient.dtype == dtype
    codes[3] = 0
    # Its gradient has no meaning; at a length of 0 it is large, but a number.
    value, gradient = differentiate(
        lambda x: supervised_contrastive(keras.ops.cast(x, "float32"), one_hot(labels)), codes.astype("float32")
    )
    assert math.isfinite(value) and np.isfinite(gradient).all()


def test_half_precision_is_computed_in_single() -> None:
    codes, labels = drawn(12, 8, 3)
    for dtype in ("float16", "bfloat16"):
        half = keras.ops.cast(keras.ops.convert_to_tensor(codes), dtype)
        exact = keras.ops.convert_to_numpy(keras.ops.cast(half, "float32"))
        assert loss(half, labels) == pytest.approx(by_loops(exact, labels), rel=1e-5)


def test_what_does_not_fit_is_said() -> None:
    codes, labels = drawn(6, 3, 2)
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(UserError, match="temperature"):
            supervised_contrastive(codes, one_hot(labels), temperature)
    with pytest.raises(UserError, match=r"as one_hot, got the shape \(6,\)"):
        supervised_contrastive(codes, np.array(labels))
