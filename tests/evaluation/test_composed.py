"""Answers of several heads put together: worked numbers, and a count of all combinations by hand."""

import itertools

import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.evaluation import composed, fusion, results
from keras_actrec.evaluation.predict import Predictions

# One clip: verbs open 0.5, close 0.3, push 0.2; nouns door 0.6, box 0.4.
VERBS, NOUNS = np.array([[0.5, 0.3, 0.2]]), np.array([[0.6, 0.4]])
# Known: close box, close door, open door.
OF_CLASS = ((1, 1, 0), (1, 0, 0))


def answers(probabilities: np.ndarray, labels: list[int], indices: list[int] | None = None) -> Predictions:
    indices = list(range(len(labels))) if indices is None else indices
    return Predictions(np.asarray(probabilities, np.float32), np.array(labels), np.array(indices), 4)


def random_heads(count: int, seed: int = 0) -> dict[str, Predictions]:
    rng = np.random.default_rng(seed)
    parts = {name: rng.dirichlet(np.ones(width), count) for name, width in (("verb", 4), ("noun", 5))}
    labels = {name: rng.integers(part.shape[1], size=count).tolist() for name, part in parts.items()}
    return {name: answers(parts[name], labels[name]) for name in parts}


def test_known_combinations_share_the_probability_of_one() -> None:
    scores = np.array([0.3 * 0.4, 0.3 * 0.6, 0.5 * 0.6])
    found = composed.of_known_classes([VERBS, NOUNS], OF_CLASS)
    np.testing.assert_allclose(found, [scores / scores.sum()], rtol=1e-6)


def test_rank_counts_the_combinations_that_score_higher() -> None:
    # Products: open door .30, open box .20, close door .18, close box .12, push door .12, push box .08.
    ranks = [int(composed.ranks([VERBS, NOUNS], [np.array([v]), np.array([n])])[0]) for v in range(3) for n in range(2)]
    assert ranks == [0, 1, 2, 3, 4, 5], "the tie of close box and push door goes to the one that comes first"


def test_ranks_against_all_pairs_counted_one_by_one() -> None:
    heads = random_heads(600)
    verb, noun = heads["verb"], heads["noun"]
    expected = []
    for row in range(600):
        own = float(verb.probabilities[row, verb.labels[row]]) * float(noun.probabilities[row, noun.labels[row]])
        pairs = itertools.product(verb.probabilities[row].astype(float), noun.probabilities[row].astype(float))
        expected.append(sum(a * b > own for a, b in pairs))
    found = composed.ranks([verb.probabilities, noun.probabilities], [verb.labels, noun.labels])
    assert found.tolist() == expected


def test_an_action_is_right_when_both_are() -> None:
    heads = random_heads(50)
    both = Predictions(np.ones((50, 1)), np.zeros(50, int), np.arange(50), 50, heads)
    assert both.hits(1).tolist() == (heads["verb"].hits(1) & heads["noun"].hits(1)).tolist()
    assert 0 < both.hits(1).sum() < min(heads["verb"].hits(1).sum(), heads["noun"].hits(1).sum())
    assert both.hits(20).all() and both.accuracy(20) == 1


def test_numbers_of_a_split_with_two_heads() -> None:
    verb, noun = answers(np.repeat(VERBS, 2, 0), [0, 2]), answers(np.repeat(NOUNS, 2, 0), [0, 0])
    known = composed.of_known_classes([verb.probabilities, noun.probabilities], OF_CLASS)
    both = Predictions(known, np.array([2, 1]), np.arange(2), 2, {"verb": verb, "noun": noun})
    classes = ("close box", "close door", "open door")
    found = results.details(both, classes, heads={"verb": ("open", "close", "push"), "noun": ("door", "box")})
    assert found["top1"] == 0.5 and found["top1_interval"][0] > 0
    assert (found["heads"]["verb"]["top1"], found["heads"]["noun"]["top1"]) == (0.5, 1.0)
    assert found["heads"]["verb"]["classes"] == ["open", "close", "push"]
    assert found["loss"] == pytest.approx((-np.log([0.5, 0.2]).mean() - np.log(0.6)) / 2)


def test_fusion_is_the_mean_over_the_clips_that_all_could_read() -> None:
    first = answers([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], [0, 1, 3])
    second = answers([[0.3, 0.7], [0.1, 0.9]], [0, 1], [0, 3])
    fused = fusion.average([first, second])
    np.testing.assert_allclose(fused.probabilities, [[0.6, 0.4], [0.35, 0.65]], rtol=1e-6)
    assert (fused.indices.tolist(), fused.labels.tolist(), fused.coverage) == ([0, 3], [0, 1], 0.5)
    assert fused.accuracy() == 1 and second.accuracy() == 0.5


def test_fusion_of_heads_puts_their_means_together_again() -> None:
    parts = [random_heads(6, seed) for seed in (1, 2)]
    for part in parts[1:]:
        for name in part:
            part[name] = answers(part[name].probabilities, parts[0][name].labels.tolist())
    of_class = ((0, 1, 3), (4, 0, 2))
    both = [Predictions(np.ones((6, 3)), np.zeros(6, int), np.arange(6), 6, part) for part in parts]
    fused = fusion.average(both, of_class)
    means = [(parts[0][name].probabilities + parts[1][name].probabilities) / 2 for name in ("verb", "noun")]
    np.testing.assert_allclose(fused.heads["noun"].probabilities, means[1], rtol=1e-6)
    np.testing.assert_allclose(fused.probabilities, composed.of_known_classes(means, of_class), rtol=1e-5)


def test_fusion_of_nothing_in_common_is_refused() -> None:
    with pytest.raises(UserError, match="no clip could be read for all"):
        fusion.average([answers([[1.0, 0.0]], [0], [0]), answers([[1.0, 0.0]], [0], [1])])
