import statistics
from typing import Any

import pytest

from keras_actrec.errors import UserError
from keras_actrec.evaluation import folds


def run(fold: int, top1: float | None, **changes: Any) -> dict[str, Any]:
    document = {
        "dataset": "ucf101",
        "model": "lrcn",
        "classes": ["a", "b"],
        "fold": fold,
        "seed": 3,
        "contaminated": False,
        "test": {"top1": top1, "nll": 0.4},
    }
    return document | changes


def test_mean_and_sample_deviation() -> None:
    summary = folds.summarise([run(3, 0.9), run(1, 0.8), run(2, 0.85)])
    row = summary["summary"]["test.top1"]
    assert summary["folds"] == [1, 2, 3]
    assert row["values"] == [0.8, 0.85, 0.9]
    assert row["mean"] == pytest.approx(0.85)
    assert row["std"] == pytest.approx(statistics.stdev([0.8, 0.85, 0.9])) == pytest.approx(0.05)
    assert "temporal.shuffled.top1" not in summary["summary"]


def test_one_fold_has_no_deviation() -> None:
    assert folds.summarise([run(1, 0.8)])["summary"]["test.top1"]["std"] is None


def test_a_fold_that_lacks_the_number_takes_the_mean_away() -> None:
    row = folds.summarise([run(1, 0.8), run(2, None)])["summary"]["test.top1"]
    assert (row["mean"], row["std"], row["values"]) == (None, None, [0.8, None])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (run(1, 0.7), "each fold may occur once"),
        (run(2, 0.7, model="c3d"), "same model"),
        (run(2, 0.7, dataset="hmdb51"), "same dataset"),
        (run(2, 0.7, classes=["b", "a"]), "same classes"),
    ],
)
def test_what_cannot_be_averaged_is_refused(other: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        folds.summarise([run(1, 0.8), other])


def test_nothing_to_summarise_is_refused() -> None:
    with pytest.raises(UserError, match="no runs"):
        folds.summarise([])


def test_contamination_is_carried_and_printed() -> None:
    summary = folds.summarise([run(1, 0.8), run(2, 0.9, contaminated=True)])
    assert summary["contaminated"]
    text = folds.table(summary)
    assert "CONTAMINATED" in text
    assert "85.0 ± 7.1 %" in text
    assert "0.400 ± 0.000" in text


def test_sizes_are_those_of_each_folds_network() -> None:
    summary = folds.summarise([run(1, 0.8, params=5, flops=7), run(2, 0.9, params=5, flops=8)])
    assert (summary["params"], summary["flops"], summary["trainable_params"]) == (5, None, None)
