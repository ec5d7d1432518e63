"""Contrastive learning across two networks against ActNetFormer's Eq. (6), by hand and by loops in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.losses import cross_contrastive

SETTINGS = [(1, 3), (2, 2), (3, 5), (8, 4), (17, 16)]


def cosine(u: np.ndarray, v: np.ndarray) -> float:
    dot = sum(float(a) * float(b) for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(float(a) ** 2 for a in u)) / math.sqrt(sum(float(b) ** 2 for b in v))


def by_loops(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    def h(u: np.ndarray, v: np.ndarray) -> float:
        return math.exp(cosine(u, v) / temperature)

    total, networks = 0.0, (first.astype("float64"), second.astype("float64"))
    for anchors, positives in (networks, networks[::-1]):
        for i in range(len(first)):
            own = h(anchors[i], positives[i])
            others = 0.0
            for k in range(len(first)):
                for network in networks:
                    if k != i:
                        others += h(anchors[i], network[k])
            total += -math.log(own / (own + others))
    return total / (2 * len(first))


def drawn(count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([count, width])
    first = rng.normal(size=(count, width)).astype("float32")
    return first, (first + rng.normal(size=(count, width))).astype("float32")


def loss(first: Any, second: Any, temperature: float = 0.5) -> float:
    value = cross_contrastive(keras.ops.convert_to_tensor(first), keras.ops.convert_to_tensor(second), temperature)
    assert value.shape == () and keras.backend.standardize_dtype(value.dtype) == "float32"
    return float(keras.ops.convert_to_numpy(value))


def of_both(temperature: float = 0.5) -> Callable[[Any], Any]:
    """The loss of (N, 2 D), the representations of both networks side by side, so that it has one gradient."""
    return lambda x: cross_contrastive(*keras.ops.split(x, 2, axis=1), temperature)


def test_by_hand() -> None:
    # Both networks agree: each anchor has its positive at 1 / tau = 2 and two negatives at 0.
    first = np.array([[3, 0], [0, 0.1]], "float32")
    second = np.array([[1, 0], [0, 50]], "float32")
    assert loss(first, second) == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)
    # Anchors of F: positive 0, the other clip by F 0, by A 2. Those of A: positive 0, by A 0, by F 2. tau = 0.5.
    assert loss(first, second[::-1].copy()) == pytest.approx(math.log(2 + math.exp(2)), rel=1e-6)
    # F cannot tell the clips from each other, A can; tau = 1. With s = sqrt(1/2), all cosines across are s.
    s = math.sqrt(0.5)
    first = np.array([[1, 1], [2, 2]], "float32")
    one_way = -math.log(math.exp(s) / (math.exp(s) + math.e + math.exp(s)))
    other_way = -math.log(math.exp(s) / (math.exp(s) + 1 + math.exp(s)))
    assert loss(first, second, 1.0) == pytest.approx((one_way + other_way) / 2, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("setting", SETTINGS)
def test_as_by_loops(setting: tuple[int, int], temperature: float) -> None:
    first, second = drawn(*setting)
    assert loss(first, second, temperature) == pytest.approx(by_loops(first, second, temperature), rel=1e-5, abs=1e-12)


def test_networks_may_be_swapped_clips_permuted_and_codes_stretched() -> None:
    first, second = drawn(9, 6)
    expected = loss(first, second)
    rng = np.random.default_rng(1)
    order = rng.permutation(9)
    assert loss(second, first) == pytest.approx(expected, rel=1e-6)
    assert loss(first[order], second[order]) == pytest.approx(expected, rel=1e-5)
    assert loss(first[order], second) > expected + 0.1
    stretched = first * rng.uniform(0.01, 50, (9, 1)).astype("float32")
    assert loss(stretched, second) == pytest.approx(expected, rel=1e-5)


def test_a_single_clip_has_no_negatives(differentiate: Callable) -> None:
    once = of_both()
    for clip in ([[1, 2, -3, 0.5]], [[0, 0, 0, 0]], [[1, 0, -1, 0]]):
        value, gradient = differentiate(once, np.array(clip, "float32"))
        assert value == 0 and not gradient.any()


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_gradient_by_finite_differences(differentiate: Callable, temperature: float) -> None:
    both = np.hstack(drawn(5, 3))
    both[0] = [2, 0, 0, 0, -1, 0]  # along axes, where the largest number is also the length
    value, gradient = differentiate(of_both(temperature), both)
    assert value == pytest.approx(by_loops(both[:, :3], both[:, 3:], temperature), rel=1e-5)
    step, expected = 1e-5, np.zeros(both.shape)
    for place in np.ndindex(both.shape):
        more, less = both.astype("float64"), both.astype("float64")
        more[place] += step
        less[place] -= step
        values = [by_loops(moved[:, :3], moved[:, 3:], temperature) for moved in (more, less)]
        expected[place] = (values[0] - values[1]) / (2 * step)
    assert np.abs(gradient - expected).max() < 1e-5
    assert np.abs(expected).max() > 0.02 and np.abs(expected[0]).max() > 1e-3


@pytest.mark.parametrize("length", [1e-5, 1e-3, 1e15, 1e30])
def test_very_short_and_very_long_codes(differentiate: Callable, length: float) -> None:
    (first, second), once = drawn(6, 4), of_both()
    expected, kept = differentiate(once, np.hstack([first, second]))
    value, gradient = differentiate(once, np.hstack([first * np.float32(length), second]))
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient[:, :4] * length, kept[:, :4], rtol=1e-3, atol=1e-6)


def test_codes_of_zeros_have_a_finite_gradient(differentiate: Callable) -> None:
    first, second = drawn(6, 4)
    first[2] = second[2] = first[4] = 0
    value, gradient = differentiate(of_both(), np.hstack([first, second]))
    assert math.isfinite(value) and np.isfinite(gradient).all()
    zeros = np.zeros((3, 8), "float32")
    value, gradient = differentiate(of_both(), zeros)
    assert value == pytest.approx(math.log(5), rel=1e-6) and np.isfinite(gradient).all()


def test_small_temperatures_and_equal_codes_stay_exact(differentiate: Callable) -> None:
    same = np.eye(3, 4, dtype="float32")
    value, gradient = differentiate(of_both(0.05), np.hstack([same, same]))
    assert value == pytest.approx(math.log1p(4 * math.exp(-20)), rel=1e-4)
    value, gradient = differentiate(of_both(1e-3), np.hstack([same, np.roll(same, 1, axis=0)]))
    assert value == pytest.approx(1000, rel=1e-4) and np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_half_precision_is_computed_in_single(differentiate: Callable, scale: float) -> None:
    first, second = (codes * np.float32(scale) for codes in drawn(10, 8))
    for dtype in ("float16", "bfloat16"):
        halves = [keras.ops.cast(keras.ops.convert_to_tensor(codes), dtype) for codes in (first, second)]
        exact = [keras.ops.convert_to_numpy(keras.ops.cast(half, "float32")) for half in halves]
        assert loss(*halves) == pytest.approx(by_loops(*exact, 0.5), rel=1e-5)
    value, gradient = differentiate(of_both(), np.hstack([first, second]).astype("float16"))
    assert math.isfinite(value) and np.isfinite(gradient).all() and gradient.dtype == np.float16


def test_what_does_not_fit_is_said() -> None:
    first, second = drawn(4, 3)
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(UserError, match="temperature"):
            cross_contrastive(first, second, temperature)
    for other in (second[:, :2], second[:3], second[0]):
        with pytest.raises(UserError, match=r"wants two representations.*got \(4, 3\) and \("):
            cross_contrastive(first, other, 0.5)
