import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from keras_actrec.evaluation import calibration, metrics


def random_case(seed: int, clips: int = 200, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), size=clips).astype(np.float32)
    return probabilities, rng.integers(0, classes, clips)


def test_top_k_agrees_with_scikit_learn() -> None:
    probabilities, labels = random_case(0)
    for k in (1, 2, 5):
        expected = oracle.top_k_accuracy_score(labels, probabilities, k=k, labels=range(7))
        assert metrics.accuracy(probabilities, labels, k) == pytest.approx(expected)


def test_top_5_of_three_classes_is_always_right() -> None:
    probabilities, labels = random_case(1, classes=3)
    assert metrics.accuracy(probabilities, labels, 5) == 1.0


def test_a_constant_output_is_right_for_one_class_only() -> None:
    probabilities, labels = np.full((4, 4), 0.25), np.arange(4)
    assert metrics.hits(probabilities, labels, 1).tolist() == [True, False, False, False]
    assert metrics.hits(probabilities, labels, 2).tolist() == [True, True, False, False]


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_top_1_is_argmax_even_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.integers(0, 3, (20, 4)) / 4, rng.integers(0, 4, 20)
    assert (metrics.hits(probabilities, labels, 1) == (probabilities.argmax(axis=1) == labels)).all()


def test_numbers_that_are_not_finite_are_never_right() -> None:
    with pytest.raises(ValueError, match="finite"):
        metrics.hits(np.array([[np.nan, 0.5]]), np.array([0]))


def test_confusion_and_class_table_agree_with_scikit_learn() -> None:
    probabilities, labels = random_case(2)
    predicted = probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(probabilities, labels)
    assert (confusion == oracle.confusion_matrix(labels, predicted)).all()
    assert metrics.mean_class_accuracy(confusion) == pytest.approx(oracle.balanced_accuracy_score(labels, predicted))
    names = [f"class {index}" for index in range(7)]
    table = metrics.per_class(confusion, names)
    expected = oracle.precision_recall_fscore_support(labels, predicted)
    for column, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [table[name][column] for name in names] == pytest.approx(list(values))


def test_classes_without_clips_or_predictions_have_no_numbers() -> None:
    confusion = np.array([[2, 1, 0], [0, 0, 0], [0, 1, 0]])
    table = metrics.per_class(confusion, ["a", "b", "c"])
    assert table["b"] == {"precision": 0.0, "recall": None, "f1": 0.0, "support": 0}
    assert table["c"] == {"precision": None, "recall": 0.0, "f1": 0.0, "support": 1}
    assert metrics.mean_class_accuracy(confusion) == pytest.approx((2 / 3 + 0) / 2)


def test_nothing_measured_is_none() -> None:
    nothing, labels = np.zeros((0, 3), np.float32), np.zeros(0, np.int64)
    assert metrics.accuracy(nothing, labels) is None
    assert metrics.mean_class_accuracy(metrics.confusion_matrix(nothing, labels)) is None
    assert metrics.wilson_interval(0, 0) is None
    assert calibration.negative_log_likelihood(nothing, labels) is None
    assert calibration.brier(nothing, labels) is None
    assert calibration.expected_calibration_error(calibration.reliability(nothing, labels)) is None


def test_groups_ask_only_between_their_own_classes() -> None:
    classes = ["jump", "sit", "stand"]
    probabilities = np.array([[0.8, 0.15, 0.05], [0.8, 0.05, 0.15], [0.1, 0.5, 0.4], [0.9, 0.1, 0.0]])
    labels = np.array([1, 2, 2, 0])
    result = metrics.groups(probabilities, labels, classes, metrics.name_pairs([("stand", "sit")]))
    entry = result["each"]["stand / sit"]
    assert entry == {"accuracy": pytest.approx(2 / 3), "chance": 0.5, "clips": 3, "classes": ["stand", "sit"]}
    assert metrics.accuracy(probabilities, labels) == 0.25, "outside of the pair the same answers are mostly wrong"
    assert result["mean"] == pytest.approx(2 / 3)


def test_groups_without_clips_do_not_enter_the_mean() -> None:
    probabilities, labels = np.array([[0.6, 0.2, 0.1, 0.1]]), np.array([0])
    named = {"first": ("a", "b"), "second": ("c", "d")}
    result = metrics.groups(probabilities, labels, ["a", "b", "c", "d"], named)
    assert result["each"]["second"]["accuracy"] is None
    assert result["mean"] == 1.0
    assert metrics.groups(probabilities, labels, ["a", "b", "c", "d"], {}) == {"mean": None, "each": {}}


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Published values: Newcombe (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_newcombe_prints_it(right: int, count: int, low: float, high: float) -> None:
    assert metrics.wilson_interval(right, count) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_holds_its_promise() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.binomial(60, 0.8, 4000)
    inside = [low <= 0.8 <= high for low, high in (metrics.wilson_interval(int(right), 60) for right in drawn)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_likelihood_and_brier_agree_with_scikit_learn() -> None:
    probabilities, labels = random_case(3)
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = oracle.log_loss(labels, probabilities, labels=range(7))
    assert calibration.negative_log_likelihood(probabilities, labels) == pytest.approx(expected)
    one_hot = np.eye(7)[labels]
    expected = sum(oracle.brier_score_loss(one_hot[:, k], probabilities[:, k]) for k in range(7))
    assert calibration.brier(probabilities, labels) == pytest.approx(expected)


def test_a_probability_of_zero_gives_a_finite_loss() -> None:
    loss = calibration.negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1]))
    assert math.isfinite(loss)
    assert loss > 80


def test_reliability_of_a_worked_example() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [1.0, 0.0]])
    labels = np.array([0, 1, 0, 0])
    table = calibration.reliability(probabilities, labels, bins=5)
    assert [row["clips"] for row in table] == [0, 0, 1, 0, 3], "0.6 lies in (0.4, 0.6], 1.0 in the last bin"
    assert table[4]["confidence"] == pytest.approx(2.8 / 3)
    assert table[4]["accuracy"] == pytest.approx(2 / 3)
    expected = (1 * abs(1 - 0.6) + 3 * abs(2 / 3 - 2.8 / 3)) / 4
    assert calibration.expected_calibration_error(table) == pytest.approx(expected)


def test_a_calibrated_oracle_has_little_error_and_an_overconfident_one_much() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20000)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = (rng.random(20000) > confidence).astype(int)
    honest = calibration.expected_calibration_error(calibration.reliability(probabilities, labels))
    sure = calibration.expected_calibration_error(calibration.reliability(np.eye(2)[np.zeros(20000, int)], labels))
    assert honest < 0.02
    assert sure == pytest.approx(0.25, abs=0.02)
