"""Pseudo-labels against FixMatch, ReMixMatch and FlexMatch, by hand and by loops in float64."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import compiled
import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.training.pseudo_labels import PseudoLabels


class ByLoops:
    """What FlexMatch's code does batch by batch, with alignment as there; float64."""

    def __init__(self, classes: int, threshold: float, examples: int, prior: Any, momentum: float) -> None:
        self.threshold, self.momentum = threshold, momentum
        self.last, self.mean = [-1] * examples, [1 / classes] * classes
        self.prior = None if prior is None else [share / sum(prior) for share in prior]

    def __call__(self, logits: np.ndarray, indices: np.ndarray) -> tuple[list[int], list[float]]:
        q = [[math.exp(value) / sum(math.exp(other) for other in row) for value in row] for row in logits.tolist()]
        if self.prior is not None:
            for k in range(len(self.mean)):
                batch = sum(row[k] for row in q) / len(q)
                self.mean[k] = self.momentum * self.mean[k] + (1 - self.momentum) * batch
            q = [[row[k] * self.prior[k] / self.mean[k] for k in range(len(row))] for row in q]
            q = [[value / sum(row) for value in row] for row in q]
        counts = Counter(self.last)
        most = max(counts.values())
        targets, accepted = [max(range(len(row)), key=row.__getitem__) for row in q], []
        for row, target in zip(q, targets, strict=True):
            beta = counts[target] / most
            accepted.append(float(row[target] >= self.threshold * beta / (2 - beta)))
        for row, target, index in zip(q, targets, indices.tolist(), strict=True):
            if row[target] >= self.threshold:
                self.last[index] = target
        return targets, accepted


def of_probabilities(*rows: list[float]) -> np.ndarray:
    return np.log(np.array(rows, "float32"))


def numbers(*values: int) -> np.ndarray:
    return np.array(values, "int32")


def state(variable: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable)


def test_plain_by_hand() -> None:
    layer = PseudoLabels(3, threshold=0.8)
    assert not layer.variables
    logits = of_probabilities([0.1, 0.8001, 0.0999], [0.3, 0.3, 0.4], [0.7999, 0.1, 0.1001], [1e-9, 1e-9, 1])
    for training in (True, False, None):
        targets, accepted = compiled.call(layer, logits, training=training)
        np.testing.assert_array_equal(targets, [1, 2, 0, 2])
        np.testing.assert_array_equal(accepted, [1, 0, 0, 1])
        assert targets.dtype == "int32" and accepted.dtype == "float32"
    # At the threshold itself; and above any.
    np.testing.assert_array_equal(compiled.call(PseudoLabels(2, 0.5), np.zeros((1, 2), "float32"))[1], [1])
    np.testing.assert_array_equal(
        compiled.call(PseudoLabels(2, 1.0), np.array([[9, 0], [200, 0]], "float32"))[1], [0, 1]
    )


def test_rows_that_are_not_finite_are_refused() -> None:
    layer = PseudoLabels(2, 0.0, alignment=True, alignment_momentum=0.5, class_thresholds=True, examples=4)
    logits = np.array([[np.nan, 0], [np.inf, 0], [3e38, -3e38], [-np.inf, 0]], "float32")
    targets, accepted = compiled.call(layer, logits, numbers(0, 1, 2, 3))
    np.testing.assert_array_equal(accepted, [0, 0, 1, 0])
    assert targets[2] == 0 and set(targets) <= {0, 1}
    np.testing.assert_allclose(state(layer.mean), [0.75, 0.25])
    np.testing.assert_array_equal(state(layer.last), [-1, -1, 0, -1])
    compiled.call(layer, logits[:2], numbers(0, 1))
    np.testing.assert_allclose(state(layer.mean), [0.75, 0.25])


def test_alignment_by_hand() -> None:
    layer = PseudoLabels(2, 0.8, alignment=True, prior=[3, 1], alignment_momentum=0.75)
    np.testing.assert_array_equal(state(layer.mean), [0.5, 0.5])
    # Without training the mean stays: q' ~ [0.5 * 0.75 / 0.5, 0.5 * 0.25 / 0.5] = [0.75, 0.25].
    logits = of_probabilities([0.5, 0.5], [0.6, 0.4], [0.1, 0.9])
    targets, accepted = compiled.call(layer, logits, training=False)
    np.testing.assert_array_equal(state(layer.mean), [0.5, 0.5])
    np.testing.assert_array_equal(targets, [0, 0, 1])  # 0.9 * 0.25 > 0.1 * 0.75
    np.testing.assert_array_equal(accepted, [0, 1, 0])  # 0.75; 0.45 / 0.55; 0.225 / 0.3
    # In training the mean takes the batch in first: 0.75 * 0.5 + 0.25 * [0.4, 0.6] = [0.475, 0.525].
    targets, accepted = compiled.call(layer, logits, training=True)
    np.testing.assert_allclose(state(layer.mean), [0.475, 0.525], rtol=1e-6)
    np.testing.assert_array_equal(accepted, [0, 1, 0])


def test_alignment_without_a_prior_favours_what_is_rarely_predicted() -> None:
    layer = PseudoLabels(2, 0.6, alignment=True, alignment_momentum=0.0)
    targets, accepted = compiled.call(layer, of_probabilities([0.9, 0.1], [0.9, 0.1], [0.6, 0.4]))
    np.testing.assert_allclose(state(layer.mean), [0.8, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(targets, [0, 0, 1])  # 0.6 / 0.8 = 0.75 and 0.4 / 0.2 = 2
    np.testing.assert_array_equal(accepted, [1, 1, 1])


def test_class_thresholds_by_hand() -> None:
    layer = PseudoLabels(3, 0.8, class_thresholds=True, examples=6)
    np.testing.assert_array_equal(state(layer.last), [-1] * 6)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.thresholds()), [0, 0, 0])
    logits = of_probabilities([0.9, 0.05, 0.05], [0.85, 0.1, 0.05], [0.05, 0.9, 0.05], [0.4, 0.3, 0.3])
    _, accepted = compiled.call(layer, logits, numbers(4, 0, 2, 5))
    np.testing.assert_array_equal(accepted, [1, 1, 1, 1])  # nothing is learnt yet
    np.testing.assert_array_equal(state(layer.last), [0, -1, 1, -1, 0, -1])
    # sigma = [2, 1, 0], 3 clips without a class: beta = [2/3, 1/3, 0], x / (2 - x) = [1/2, 1/5, 0].
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer.thresholds()), [0.4, 0.16, 0], rtol=1e-6)
    logits = of_probabilities([0.39, 0.31, 0.3], [0.41, 0.3, 0.29], [0.3, 0.36, 0.34], [0.05, 0.1, 0.85])
    before = state(layer.last)
    _, accepted = compiled.call(layer, logits, numbers(0, 1, 4, 5), training=False)
    np.testing.assert_array_equal(accepted, [0, 1, 1, 1])
    np.testing.assert_array_equal(state(layer.last), before)
    compiled.call(layer, logits, numbers(0, 1, 4, 5))
    np.testing.assert_array_equal(state(layer.last), [0, -1, 1, -1, 0, 2])  # none but the last is confident


def test_a_class_that_is_learnt_best_has_the_whole_threshold() -> None:
    layer = PseudoLabels(2, 0.7, class_thresholds=True, examples=4)
    layer.last.assign([1, 1, 0, -1])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer.thresholds()), [0.7 / 3, 0.7], rtol=1e-6)
    layer.last.assign([1, 1, 1, 1])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer.thresholds()), [0, 0.7], rtol=1e-6)


def test_a_clip_twice_in_a_batch_keeps_its_last_confident_class() -> None:
    layer = PseudoLabels(3, 0.8, class_thresholds=True, examples=3)
    logits = of_probabilities([0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.4, 0.3, 0.3], [0.05, 0.05, 0.9], [0.3, 0.4, 0.3])
    for _ in range(3):
        compiled.call(layer, logits, numbers(1, 1, 1, 2, 2))
        np.testing.assert_array_equal(state(layer.last), [-1, 1, 2])


@pytest.mark.parametrize("prior", [None, [5, 1, 2, 2]])
def test_as_by_loops(prior: list[int] | None) -> None:
    rng = np.random.default_rng(0)
    layer = PseudoLabels(
        4, 0.7, alignment=prior is not None, prior=prior, alignment_momentum=0.6, class_thresholds=True, examples=20
    )
    oracle = ByLoops(4, 0.7, 20, prior, 0.6)
    seen = []
    for _ in range(12):
        # The first class is predicted more often than the others.
        logits = rng.normal([1.5, 0, 0, 0], 3, (8, 4)).astype("float32")
        indices = rng.choice(20, 8, replace=False).astype("int32")
        targets, accepted = compiled.call(layer, logits, indices)
        expected = oracle(logits, indices)
        np.testing.assert_array_equal(targets, expected[0])
        np.testing.assert_array_equal(accepted, expected[1])
        np.testing.assert_array_equal(state(layer.last), oracle.last)
        if prior:
            np.testing.assert_allclose(state(layer.mean), oracle.mean, rtol=1e-5)
        seen += accepted.tolist()
    assert {0.0, 1.0} == set(seen) and set(oracle.last) >= {0, 1, 2, 3}


def test_half_precision_is_computed_in_single() -> None:
    """0.8 lies between two numbers of bfloat16, 0.7969 and 0.8008."""
    logits = np.log(np.array([[0.799, 0.201], [0.801, 0.199]], "float32"))
    for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        layer = PseudoLabels(2, 0.8, alignment=True, alignment_momentum=0.999)
        np.testing.assert_array_equal(compiled.call(layer, logits)[1], [0, 1])
        assert keras.backend.standardize_dtype(layer.mean.dtype) == "float32"
    keras.config.set_dtype_policy("float32")
    layer, held = PseudoLabels(3, 0.5, alignment=True), keras.ops.cast(np.eye(3) * 4, "bfloat16")
    targets, accepted = layer(held, training=True)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(targets), [0, 1, 2])
    assert keras.backend.standardize_dtype(accepted.dtype) == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "at least 1 class"),
        ({"threshold": 1.2}, "from 0 to 1, got 1.2"),
        ({"threshold": math.nan}, "from 0 to 1"),
        ({"alignment_momentum": 1.0}, "below 1, got 1.0"),
        ({"class_thresholds": True}, "as examples, got 0"),
        ({"prior": [1, 2]}, "3 shares of classes"),
        ({"prior": [1, 2, -1]}, "at least 0"),
        ({"prior": [0, 0, 0]}, "not all 0"),
        ({"prior": [1, math.nan, 0]}, "3 shares"),
    ],
)
def test_what_is_out_of_range_is_said(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PseudoLabels(**{"classes": 3, **arguments})


def test_class_thresholds_want_indices_in_training_alone() -> None:
    layer = PseudoLabels(2, class_thresholds=True, examples=2)
    layer(keras.ops.zeros((1, 2)), training=False)
    with pytest.raises(UserError, match="want the indices"):
        layer(keras.ops.zeros((1, 2)), training=True)
