"""Several networks on the same clips: the mean of their probabilities, and what is no ensemble."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.evaluation import ensemble, metrics
from keras_actrec.evaluation.predict import Predictions


def predictions(rows: list[list[float]], labels: list[int], indices: list[int], expected: int = 4) -> Predictions:
    return Predictions(np.array(rows, np.float32), np.array(labels), np.array(indices), expected)


FIRST = predictions([[0.6, 0.4], [0.1, 0.9], [0.7, 0.3]], [0, 1, 1], [0, 1, 3])
SECOND = predictions([[0.2, 0.8], [0.3, 0.7], [0.5, 0.5]], [1, 0, 1], [1, 2, 3])


def test_the_mean_over_the_clips_that_all_could_read() -> None:
    both = ensemble.ensemble([FIRST, SECOND])
    np.testing.assert_allclose(both.probabilities, [[0.15, 0.85], [0.6, 0.4]], atol=1e-7)
    assert both.probabilities.dtype == np.float32
    np.testing.assert_array_equal(both.indices, [1, 3])
    np.testing.assert_array_equal(both.labels, [1, 1])
    assert (both.expected, both.coverage, both.accuracy()) == (4, 0.5, 0.5)


def test_several_networks_and_one_alone() -> None:
    np.testing.assert_array_equal(ensemble.ensemble([FIRST]).probabilities, FIRST.probabilities)
    three = ensemble.ensemble([FIRST, SECOND, FIRST])
    np.testing.assert_allclose(three.probabilities[1], [1.9 / 3, 1.1 / 3], atol=1e-7)


def test_two_wrong_networks_can_be_right_together() -> None:
    one = predictions([[0.4, 0.45, 0.15]], [0], [0], 1)
    other = predictions([[0.4, 0.1, 0.5]], [0], [0], 1)
    assert (one.accuracy(), other.accuracy(), ensemble.ensemble([one, other]).accuracy()) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (dataclasses.replace(SECOND, expected=5), "4 and 5 clips"),
        (dataclasses.replace(SECOND, labels=np.array([0, 0, 1])), "other classes for clip 2 of the list"),
        (predictions([[0.2, 0.3, 0.5]], [1], [1]), "found 2 and 3 classes"),
        (dataclasses.replace(SECOND, heads={"verb": SECOND}), "one head each"),
        (predictions([[0.2, 0.8]], [0], [2]), "no clip could be read for all"),
    ],
)
def test_what_is_no_ensemble(other: Predictions, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ensemble.ensemble([FIRST, other])
    with pytest.raises(UserError, match="got none"):
        ensemble.ensemble([])


def test_the_entry_of_the_metrics() -> None:
    found = ensemble.document(FIRST, SECOND, labelled=20, unlabelled=300)
    assert (found["labelled"], found["unlabelled"]) == (20, 300)
    together = ensemble.ensemble([FIRST, SECOND])
    for name, one in (("auxiliary", SECOND), ("ensemble", together)):
        entry = found[name]
        right = int((one.probabilities.argmax(axis=1) == one.labels).sum())
        assert entry["top1"] == right / len(one.labels)
        assert entry["top5"] == 1.0
        assert entry["top1_interval"] == metrics.wilson_interval(right, len(one.labels))
        own = one.probabilities[np.arange(len(one.labels)), one.labels]
        assert entry["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-6)
        assert (entry["evaluated"], entry["expected"]) == (len(one.labels), 4)
    assert json.loads(json.dumps(found, allow_nan=False))["ensemble"]["coverage"] == 0.5
