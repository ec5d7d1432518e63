"""Open-set scores by worked numbers and against loops over all pairs and thresholds."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import plotly.graph_objects
import pytest

from keras_actrec.evaluation import open_set, open_set_section
from keras_actrec.evaluation.codes import Codes
from keras_actrec.evaluation.repository import Repository, build

CLASSES = ("bend", "jump")


def scores(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, and which of the known are right."""
    rng = np.random.default_rng(seed)
    known, unknown = rng.integers(0, 6, 17) / 2 + 0.5, rng.integers(0, 6, 11) / 2
    return known, rng.random(17) < 0.7, unknown


def test_auroc_by_hand() -> None:
    """Pairs of (3, 2, 1) and (2, 0): right, right; tie, right; wrong, right: 4.5 of 6."""
    assert open_set.auroc(np.array([3, 2, 1]), np.array([2, 0])) == 0.75
    assert open_set.auroc(np.array([2, 3]), np.array([0, 1])) == 1
    assert open_set.auroc(np.array([0, 1]), np.array([2, 3])) == 0
    assert open_set.auroc(np.ones(3), np.ones(4)) == 0.5
    assert open_set.auroc(np.ones(0), np.ones(4)) is None
    assert open_set.auroc(np.ones(2), np.ones(0)) is None


@pytest.mark.parametrize("seed", range(5))
def test_auroc_and_oscr_over_all_pairs(seed: int) -> None:
    known, right, unknown = scores(seed)
    wins = np.array([[float(a > b) + 0.5 * float(a == b) for b in unknown] for a in known])
    assert open_set.auroc(known, unknown) == pytest.approx(wins.mean())
    assert open_set.oscr(known, right, unknown) == pytest.approx((wins * right[:, None]).mean())
    assert open_set.oscr(known, right, unknown) <= min(right.mean(), open_set.auroc(known, unknown)) + 1e-12
    assert open_set.auroc(-unknown, -known) == pytest.approx(wins.mean()), "turned round twice"


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_what_each_threshold_accepts_and_its_area_is_oscr(seed: int) -> None:
    known, right, unknown = scores(seed)
    fpr, ccr = open_set.oscr_curve(known, right, unknown)
    expected = [(0.0, 0.0)]
    for threshold in sorted(set(known) | set(unknown), reverse=True):
        passed = sum(1 for score, yes in zip(known, right, strict=True) if yes and score >= threshold)
        expected.append((sum(score >= threshold for score in unknown) / len(unknown), passed / len(known)))
    np.testing.assert_allclose(np.stack([fpr, ccr], 1), expected)
    assert (fpr[-1], ccr[-1]) == (1.0, pytest.approx(right.mean()))
    area = sum((fpr[k + 1] - fpr[k]) * (ccr[k + 1] + ccr[k]) / 2 for k in range(len(fpr) - 1))
    assert open_set.oscr(known, right, unknown) == pytest.approx(area)


@pytest.mark.parametrize("seed", range(5))
def test_fpr95(seed: int) -> None:
    known, _, unknown = scores(seed)
    threshold = max(value for value in known if (known >= value).mean() >= 0.95)
    assert open_set.fpr95(known, unknown) == pytest.approx((unknown >= threshold).mean())


def test_fpr95_by_hand() -> None:
    """Of twenty known clips one may be lost: the threshold is 2."""
    assert open_set.fpr95(np.arange(1, 21), np.array([0, 1, 2, 30])) == 0.5
    assert open_set.fpr95(np.arange(1, 20), np.array([0, 1, 2, 30])) == 0.75, "18 of 19 are less than 95 %"


def test_false_accepts() -> None:
    assert open_set.false_accepts(np.array([1, 2, 3, 4]), 3.0) == 0.5
    assert open_set.false_accepts(np.array([1, 2]), np.array([0.5, 2.5])) == 0.5
    assert open_set.false_accepts(np.zeros(0), 1.0) is None


def test_a_score_that_is_not_a_number_is_a_defect() -> None:
    with pytest.raises(ValueError, match="finite"):
        open_set.auroc(np.array([1.0, np.nan]), np.array([0.0]))


def coded(values: list[list[float]], labels: list[int], names: list[str], logits: np.ndarray | None = None) -> Codes:
    """Two views of each clip, one above and one below the code that is meant."""
    means = np.array(values, np.float32).reshape(-1, 2)
    twice = np.stack([means + 3, means - 3], axis=1)
    spoken = np.stack([means, means], axis=1) if logits is None else logits
    return Codes(twice, spoken, np.arange(len(means)), np.array(labels, int), tuple(names))


def example() -> tuple[Codes, Codes, Repository]:
    known = coded([[0, 0], [0, 1], [10, 0], [4, 0], [9, 3]], [0, 0, 1, 1, 1], ["bend"] * 2 + ["jump"] * 3)
    unknown = coded([[5, 8], [0, 2], [1, 1]], [-1] * 3, ["walk", "walk", "wave"])
    held = build(CLASSES, [[0, 0], [10, 0]], [0, 1], ("a", "b"), model="m")
    return known, unknown, dataclasses.replace(held, gammas=np.array([2.0, 3.0]))


def test_measure_by_hand() -> None:
    known, unknown, repository = example()
    found = open_set.measure(known, unknown, CLASSES, repository)
    at = found["repository"]
    # Nearest centres of the known: bend 0, bend 1, jump 0, bend 4 (wrong), jump sqrt(10) = 3.16.
    assert at["known_accepted"] == 0.6, "0 and 1 below 2, 0 below 3"
    assert at["known_right"] == 0.6
    assert at["accepted_right"] == 1.0
    assert at["top1"] == 0.8
    # Of the unknown: sqrt(5^2 + 8^2) = 9.4, 2 (not below 2), sqrt(2) = 1.4.
    assert at["false_accepts"] == pytest.approx(1 / 3)
    assert at["gammas"] == {"bend": 2.0, "jump": 3.0}
    # Distances 0, 1, 0, 4, 3.16 of the known against 9.4, 2, 1.41: 3 + 3 + 3 + 1 + 1 of 15 pairs.
    assert found["scores"]["distance"]["auroc"] == pytest.approx(11 / 15)
    assert found["scores"]["distance"]["oscr"] == pytest.approx(10 / 15), "the fourth is taken for bend"
    assert found["scores"]["distance"]["per_class"] == {"walk": pytest.approx(8 / 10), "wave": pytest.approx(3 / 5)}
    assert found["unknown_classes"] == {"walk": 2, "wave": 1}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_probabilities_are_averaged_over_views_and_energy_is_log_sum_exp() -> None:
    logits = np.log(np.array([[[9, 1], [1, 1]], [[1, 3], [1, 3]]], np.float32))
    codes = coded([[0, 0], [0, 0]], [0, 1], ["bend", "jump"], logits)
    np.testing.assert_allclose(open_set.max_softmax(codes), [(0.9 + 0.5) / 2, 0.75], rtol=1e-6)
    np.testing.assert_allclose(open_set.energy(codes), [(np.log(10) + np.log(2)) / 2, np.log(4)], rtol=1e-6)
    shifted = Codes(codes.values, codes.logits + 1000, codes.indices, codes.labels, codes.names)
    np.testing.assert_allclose(open_set.energy(shifted), open_set.energy(codes) + 1000, rtol=1e-6)
    np.testing.assert_allclose(open_set.max_softmax(shifted), open_set.max_softmax(codes), rtol=1e-3)


def test_without_a_repository_and_without_unknown_clips() -> None:
    known, unknown, repository = example()
    alone = open_set.measure(known, unknown, CLASSES)
    assert set(alone["scores"]) == {"max_softmax", "energy"}
    assert "repository" not in alone
    nobody = coded([], [], [], np.zeros((0, 2, 2), np.float32))
    empty = open_set.measure(known, nobody, CLASSES, repository)
    assert empty["scores"]["distance"]["auroc"] is None
    assert empty["repository"]["false_accepts"] is None
    assert empty["repository"]["known_accepted"] == 0.6
    json.dumps(empty, allow_nan=False)


def test_a_class_that_was_added_is_not_unknown_any_more() -> None:
    known, unknown, repository = example()
    more = repository.add("walk", np.array([[5, 8]], np.float32), ["c"])
    found = open_set.measure(known, unknown, CLASSES, more)
    assert found["unknown_classes"] == {"wave": 1}
    assert found["repository"]["gammas"] == {"bend": None, "jump": None, "walk": None}, "no validation codes"
    assert found["repository"]["false_accepts"] == 1.0


@pytest.mark.parametrize("values", [[1.0, 1.0], [1.0, np.nextafter(1.0, 0)], [0.0, 0.0], [-1e30, 1e30]])
def test_histograms_of_hardly_different_scores(values: list[float]) -> None:
    found = open_set._histogram(np.array(values), np.array(values[:1]))
    assert sum(found["known"]) == 2
    assert sum(found["unknown"]) == 1
    assert len(found["edges"]) == open_set.BINS + 1


def section_of(document: dict) -> tuple[str, list[dict]]:
    """The section as text, and its figures."""
    html = open_set_section.open_set({"open_set": document})
    found = re.findall(r'<script type="application/json">(.*?)</script>', html)
    return re.sub(r"<script.*?</script>", "", html), [json.loads(figure) for figure in found]


def test_the_section_of_the_report_shows_the_numbers() -> None:
    known, unknown, repository = example()
    html, figures = section_of(open_set.measure(known, unknown, CLASSES, repository))
    assert "<td>Distance to the nearest centre</td><td>73.3&nbsp;%</td><td>66.7&nbsp;%</td><td>80.0&nbsp;%</td>" in html
    assert "<td>Unknown clips that are accepted</td><td>33.3&nbsp;%</td>" in html
    assert "<td>walk</td><td>2</td><td>80.0&nbsp;%</td>" in html
    assert len(figures) == 4, "the curves and three distributions"
    for figure in figures:
        plotly.graph_objects.Figure(figure)  # refuses keys that plotly does not know
    roc, distance = figures[0], figures[1]
    assert (roc["data"][0]["x"][-1], roc["data"][0]["y"][-1]) == (1, 1)
    assert roc["data"][1]["y"][-1] == 0.8
    assert sum(distance["data"][0]["y"]) == pytest.approx(1)
    assert "shapes" not in distance["layout"], "two gammas are no line"
    one = dataclasses.replace(repository, gammas=np.array([2.0, 2.0]))
    _, figures = section_of(open_set.measure(known, unknown, CLASSES, one))
    assert figures[1]["layout"]["shapes"][0]["x0"] == -2.0


def test_the_section_where_less_was_measured() -> None:
    known, unknown, repository = example()
    assert open_set_section.open_set({}) == ""
    html, figures = section_of(open_set.measure(known, unknown, CLASSES))
    assert "gamma" not in html
    assert len(figures) == 3
    nobody = coded([], [], [], np.zeros((0, 2, 2), np.float32))
    html, figures = section_of(
        open_set.measure(known, nobody, CLASSES, build(CLASSES, [[0, 0], [9, 9]], [0, 1], "ab", model="m"))
    )
    assert "gamma is not set" in html
    assert not figures
    names = coded([[0, 5]], [-1], ["<script>alert(1)</script>"])
    html, _ = section_of(open_set.measure(known, names, CLASSES, repository))
    assert "alert(1)</script>" not in html
