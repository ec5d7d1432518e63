"""The N-pair loss against MS3D's Eq. (5), by hand and by loops in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.losses import n_pair, n_pair_of_batch

both_kinds = pytest.mark.parametrize("semi_hard", [False, True])
both_forms = pytest.mark.parametrize("symmetric", [False, True])
E = np.eye(3, dtype="float32")
SETTINGS = [(7, 3, 2), (12, 4, 3), (16, 8, 5), (9, 2, 9), (5, 4, 1), (24, 6, 4)]


def pairs_by_loops(
    anchors: np.ndarray, positives: np.ndarray, labels: list[int], semi_hard: bool = False
) -> list[float]:
    losses = []
    for i, anchor in enumerate(anchors.astype("float64")):
        own = sum(float(a) * float(p) for a, p in zip(anchor, positives[i], strict=True))
        others = [float(anchor @ positives[j].astype("float64")) for j in range(len(labels)) if labels[j] != labels[i]]
        if semi_hard and min(others, default=math.inf) < own:
            others = [other for other in others if other < own]
        # log(1 + sum exp) of large numbers, with the largest taken out.
        largest = max([other - own for other in others] + [0.0])
        total = math.exp(-largest) + sum(math.exp(other - own - largest) for other in others)
        losses.append(largest + math.log(total))
    return losses


def batch_by_loops(
    codes: np.ndarray,
    labels: list[int],
    semi_hard: bool = False,
    weights: list[float] | None = None,
    symmetric: bool = False,
) -> float:
    """Walk through the batch and keep the last clip without partner of each class; label -1: none."""
    weights = weights or [1.0] * len(labels)
    waiting: dict[int, int] = {}
    found = []
    for row, label in enumerate(labels):
        if label < 0 or weights[row] == 0:
            continue
        if label in waiting:
            found.append((waiting.pop(label), row))
        else:
            waiting[label] = row
    if not found:
        return 0.0
    first, second = map(list, zip(*found, strict=True))
    losses = []
    if symmetric:
        for anchor, positive in [*found, *((b, a) for a, b in found)]:
            others = [row for pair in found for row in pair if labels[row] != labels[anchor]]
            columns = [positive, *others]
            own = pairs_by_loops(
                codes[[anchor] * len(columns)], codes[columns], [labels[row] for row in columns], semi_hard
            )
            losses.append(own[0])
        first = first + second
    else:
        losses = pairs_by_loops(codes[first], codes[second], [labels[row] for row in first], semi_hard)
    share = [weights[row] for row in first]
    return sum(loss * weight for loss, weight in zip(losses, share, strict=True)) / sum(share)


def one_hot(labels: list[int], classes: int = 10) -> np.ndarray:
    return np.array([[float(label == number) for number in range(classes)] for label in labels], "float32")


def drawn(rows: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng([rows, width, classes, seed])
    return rng.normal(size=(rows, width)).astype("float32"), rng.integers(0, classes, rows).tolist()


def array(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def of_batch(
    codes: np.ndarray, labels: list[int], semi_hard: bool = False, weights: Any = None, symmetric: bool = False
) -> float:
    weights = None if weights is None else keras.ops.convert_to_tensor(np.array(weights, "float32"))
    value = n_pair_of_batch(keras.ops.convert_to_tensor(codes), one_hot(labels), semi_hard, weights, symmetric)
    assert value.shape == () and keras.backend.standardize_dtype(value.dtype) == "float32"
    return float(array(value))


@pytest.mark.parametrize("form", ["numbers", "one_hot"])
def test_by_hand(form: str) -> None:
    def losses(*labels: int) -> list[float]:
        given = np.array(labels, "int32") if form == "numbers" else one_hot(list(labels))
        return array(n_pair(E, E, given)).tolist()

    # Own product 1, all others 0: two negatives give log(1 + 2 e^-1), one gives log(1 + e^-1).
    two, one = math.log(1 + 2 * math.exp(-1)), math.log(1 + math.exp(-1))
    assert losses(0, 1, 2) == pytest.approx([two] * 3, rel=1e-6)
    assert losses(4, 4, 2) == pytest.approx([one, one, two], rel=1e-6)
    assert losses(3, 3, 3) == [0, 0, 0]
    # A pair without a class is nobody's negative.
    assert losses(0, -1, 2) == pytest.approx([one, 0, one], rel=1e-6)
    assert losses(-1, -2, 2) == [0, 0, 0]


def test_semi_hard_by_hand() -> None:
    anchors = np.array([[1, 0], [1, 0], [1, 0]], "float32")
    positives = np.array([[1, 0], [0, 1], [2, 0]], "float32")
    labels = np.arange(3, dtype="int32")
    e = math.e
    # Products of each anchor with the positives: 1, 0, 2.
    every = [math.log(1 + 1 / e + e), math.log(1 + e + e * e), math.log(1 + e**-1 + e**-2)]
    assert array(n_pair(anchors, positives, labels)).tolist() == pytest.approx(every, rel=1e-6)
    # The first leaves out the 2; the second has no milder negative and keeps both; the third has two of them.
    milder = [math.log(1 + 1 / e), every[1], every[2]]
    assert array(n_pair(anchors, positives, labels, semi_hard=True)).tolist() == pytest.approx(milder, rel=1e-6)


def test_a_negative_as_like_as_the_positive_is_not_milder() -> None:
    positives = np.array([[1, 0], [1, 0], [0, 1]], "float32")
    found = array(n_pair(positives[[0, 0, 0]], positives, np.array([0, 1, 2], "int32"), semi_hard=True))
    assert found[0] == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)


@both_kinds
@pytest.mark.parametrize("setting", SETTINGS)
def test_pairs_as_by_loops(setting: tuple[int, int, int], semi_hard: bool) -> None:
    anchors, labels = drawn(*setting)
    positives, _ = drawn(*setting, seed=1)
    found = array(n_pair(anchors, positives, np.array(labels, "int32"), semi_hard))
    assert found == pytest.approx(pairs_by_loops(anchors, positives, labels, semi_hard), rel=1e-5, abs=1e-6)


def test_semi_hard_differs_where_there_are_harder_negatives() -> None:
    codes, labels = drawn(24, 6, 4)
    assert of_batch(codes, labels, True) < of_batch(codes, labels) - 0.1


def test_a_batch_by_hand() -> None:
    # Pairs (0, 2) of class 1 and (3, 4) of class 5; the third of class 1 and the only one of class 2 count nowhere.
    codes = np.array([[1, 0], [9, 9], [2, 0], [0, 1], [0, 3], [7, 7]], "float32")
    labels = [1, 2, 1, 5, 5, 1]
    expected = (math.log(1 + math.exp(0 - 2)) + math.log(1 + math.exp(0 - 3))) / 2
    assert of_batch(codes, labels) == pytest.approx(expected, rel=1e-6)


def test_the_symmetric_form_by_hand() -> None:
    # Pairs (0, 2) of class 1 and (3, 4) of class 5, own products 2 and 3; the rows 1 and 5 count nowhere, also not as
    # negatives. Products across the pairs: rows 0 and 2 with row 3 are 0 and 1, with row 4 are 1 and 5.
    codes = np.array([[1, 0], [9, 9], [2, 1], [0, 1], [1, 3], [7, 7]], "float32")
    labels = [1, 2, 1, 5, 5, 1]
    of_0, of_2 = math.log(1 + math.exp(0 - 2) + math.exp(1 - 2)), math.log(1 + math.exp(1 - 2) + math.exp(5 - 2))
    of_3, of_4 = math.log(1 + math.exp(0 - 3) + math.exp(1 - 3)), math.log(1 + math.exp(1 - 3) + math.exp(5 - 3))
    assert of_batch(codes, labels, symmetric=True) == pytest.approx((of_0 + of_2 + of_3 + of_4) / 4, rel=1e-6)
    # The paper's form: rows 0 and 3 are anchors, and compared with rows 2 and 4 alone.
    half = (math.log(1 + math.exp(1 - 2)) + math.log(1 + math.exp(1 - 3))) / 2
    assert of_batch(codes, labels) == pytest.approx(half, rel=1e-6)


def test_who_of_a_pair_stands_first_does_not_matter_to_the_symmetric_form() -> None:
    codes, labels = drawn(12, 5, 1)
    labels = [row // 2 % 3 for row in range(12)]
    turned = codes.reshape(6, 2, 5)[:, ::-1].reshape(12, 5)
    assert of_batch(turned, labels, symmetric=True) == pytest.approx(of_batch(codes, labels, symmetric=True), rel=1e-6)
    assert of_batch(turned, labels) != pytest.approx(of_batch(codes, labels), rel=1e-2)


@both_forms
@both_kinds
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_batch_as_by_loops_with_rows_missing(setting: tuple[int, int, int], semi_hard: bool, symmetric: bool) -> None:
    codes, labels = drawn(*setting)
    rng = np.random.default_rng(3)
    for _ in range(6):
        assert of_batch(codes, labels, semi_hard, symmetric=symmetric) == pytest.approx(
            batch_by_loops(codes, labels, semi_hard, symmetric=symmetric), rel=1e-5, abs=1e-6
        )
        left = np.sort(rng.choice(len(labels), max(len(labels) - 1, 1), replace=False))
        codes, labels = codes[left], [labels[row] for row in left]


@both_forms
@both_kinds
def test_rows_that_do_not_count_are_as_if_they_were_missing(semi_hard: bool, symmetric: bool) -> None:
    codes, labels = drawn(14, 4, 3)
    out = [2, 5, 9]
    rest = np.delete(codes, out, axis=0), np.delete(labels, out).tolist()
    expected = of_batch(*rest, semi_hard, symmetric=symmetric)
    assert expected > 0.1
    weights = [0.0 if row in out else 1.0 for row in range(14)]
    assert of_batch(codes, labels, semi_hard, weights, symmetric) == pytest.approx(expected, rel=1e-6)
    unlabelled = [-1 if row in out else label for row, label in enumerate(labels)]
    assert of_batch(codes, unlabelled, semi_hard, symmetric=symmetric) == pytest.approx(expected, rel=1e-6)
    codes[out] = np.nan
    assert of_batch(codes, labels, semi_hard, weights, symmetric) == pytest.approx(expected, rel=1e-6)


@both_forms
def test_weights_weigh_the_pairs(symmetric: bool) -> None:
    codes, labels = drawn(16, 4, 3)
    weights = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 3.0], 16).tolist()
    expected = batch_by_loops(codes, labels, weights=weights, symmetric=symmetric)
    assert of_batch(codes, labels, weights=weights, symmetric=symmetric) == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(of_batch(codes, labels, symmetric=symmetric), rel=1e-2)


def test_neither_the_names_of_classes_nor_the_order_among_them_matter() -> None:
    codes, labels = drawn(18, 5, 4)
    expected = of_batch(codes, labels)
    assert of_batch(codes, [(7, 0, 3, 9)[label] for label in labels]) == pytest.approx(expected, rel=1e-6)
    # Sorted by class, the clips of a class in their order: the same pairs.
    sort = np.argsort(labels, kind="stable")
    assert of_batch(codes[sort], [labels[row] for row in sort]) == pytest.approx(expected, rel=1e-5)
    # Within a class the order decides who pairs with whom.
    assert of_batch(codes[::-1], labels[::-1]) != pytest.approx(expected, rel=1e-2)


@both_kinds
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [2, 2, 2, 2], [-1, -1, -1, -1], [0, 0, 1, 2]])
def test_without_pair_or_negative_it_is_exactly_0(differentiate: Callable, labels: list[int], semi_hard: bool) -> None:
    codes = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")

    def loss(x: Any) -> Any:
        return n_pair_of_batch(x, one_hot(labels), semi_hard)

    for scale in (1, 1e3):
        value, gradient = differentiate(loss, codes * scale)
        assert value == 0 and not gradient.any()


@both_kinds
def test_without_weight_it_is_exactly_0(differentiate: Callable, semi_hard: bool) -> None:
    codes, weightless = np.random.default_rng(0).normal(size=(4, 3)).astype("float32"), np.zeros(4, "float32")
    value, gradient = differentiate(
        lambda x: n_pair_of_batch(x, one_hot([0, 0, 1, 1]), semi_hard, keras.ops.convert_to_tensor(weightless)), codes
    )
    assert value == 0 and not gradient.any()


@both_forms
@both_kinds
def test_gradient_by_finite_differences(differentiate: Callable, semi_hard: bool, symmetric: bool) -> None:
    codes, labels = drawn(11, 4, 3)
    labels[4] = -1

    def by_loops(given: np.ndarray) -> float:
        return batch_by_loops(given, labels, semi_hard, symmetric=symmetric)

    value, gradient = differentiate(
        lambda x: n_pair_of_batch(x, one_hot(labels), semi_hard, symmetric=symmetric), codes
    )
    assert value == pytest.approx(by_loops(codes), rel=1e-5)
    step = 1e-5
    expected = np.zeros(codes.shape)
    for place in np.ndindex(codes.shape):
        more, less = codes.astype("float64"), codes.astype("float64")
        more[place] += step
        less[place] -= step
        expected[place] = by_loops(more) - by_loops(less)
    assert np.abs(gradient - expected / (2 * step)).max() < 1e-5
    assert np.abs(expected).max() / (2 * step) > 0.1 and not gradient[4].any()


@both_kinds
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_codes_far_from_the_origin_stay_finite(differentiate: Callable, dtype: str, semi_hard: bool) -> None:
    """Products of codes of length 1e3 are 1e6: beyond float16, and far beyond what exp takes."""
    codes, labels = drawn(12, 8, 3)
    codes = (codes / np.linalg.norm(codes, axis=1, keepdims=True) * 1e3).astype(dtype)
    value, gradient = differentiate(lambda x: n_pair_of_batch(x, one_hot(labels), semi_hard), codes)
    assert value == pytest.approx(batch_by_loops(codes, labels, semi_hard), rel=1e-4)
    assert value > 1e4 or semi_hard
    assert np.isfinite(gradient).all() and gradient.any() and gradient.dtype == dtype


def test_a_tiny_loss_is_not_rounded_to_0(differentiate: Callable) -> None:
    """1 + 2 e^-20 is 1 in float32, but its log is not 0: training would stop too soon."""
    codes = np.repeat(E * 20**0.5, 2, axis=0).astype("float32")
    value, gradient = differentiate(lambda x: n_pair_of_batch(x, one_hot([0, 0, 1, 1, 2, 2])), codes)
    assert value == pytest.approx(2 * math.exp(-20), rel=1e-4) and gradient.any()


def test_half_precision_is_computed_in_single() -> None:
    codes, labels = drawn(12, 8, 3)
    for dtype in ("float16", "bfloat16"):
        half = keras.ops.cast(keras.ops.convert_to_tensor(codes), dtype)
        exact = array(keras.ops.cast(half, "float32"))
        found = float(array(n_pair_of_batch(half, one_hot(labels))))
        assert found == pytest.approx(batch_by_loops(exact, labels), rel=1e-5)


def test_softened_labels_belong_to_their_largest_entry() -> None:
    codes, labels = drawn(12, 4, 3)
    soft = 0.9 * one_hot(labels) + 0.1 / 10
    assert float(array(n_pair_of_batch(codes, soft))) == pytest.approx(of_batch(codes, labels), rel=1e-6)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UserError, match=r"one shape \(N, D\), got \(3, 3\) and \(2, 3\)"):
        n_pair(E, E[:2], np.arange(3))
    with pytest.raises(UserError, match=r"as one_hot, got the shape \(3,\)"):
        n_pair_of_batch(E, np.arange(3))
    with pytest.raises(UserError, match=r"as weights, got the shape \(3, 1\)"):
        n_pair_of_batch(E, E, weights=np.ones((3, 1)))
    with pytest.raises(UserError, match=r"as codes, got the shape \(1, 3, 3\)"):
        n_pair_of_batch(E[None], E)
