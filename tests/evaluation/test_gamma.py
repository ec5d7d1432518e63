"""Gamma by worked numbers, against a search over all thresholds, and at its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.evaluation import gamma

DISTANCES = np.array([[1, 5, 9], [2, 6, 3], [7, 1, 4], [8, 2, 6], [5, 9, 1]], float)
OWNERS = np.array([0, 0, 1, 1, 2])
"""Nearest centre of another action: 5, 3, 4, 6, 5."""


def drawn(clips: int, actions: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    owners = rng.integers(-1, actions, clips)
    distances = rng.random((clips, actions)).round(2) + 0.5
    distances[np.arange(clips)[owners >= 0], owners[owners >= 0]] -= 0.3
    return distances, owners


def left_out(distances: np.ndarray, owners: np.ndarray, gammas: np.ndarray) -> float:
    """Brute force: share of clips that are accepted when their own action is not there."""
    accepted = 0
    for row, own in zip(distances, owners, strict=True):
        nearest, index = min((value, index) for index, value in enumerate(row) if index != own)
        accepted += nearest < gammas[index]
    return accepted / len(distances)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 3), (0.19, 3), (0.2, 4), (0.4, 5), (0.6, 5), (0.8, 6)])
def test_global_gamma_by_hand(share: float, expected: float) -> None:
    found = gamma.calibrate(DISTANCES, OWNERS, "global", share)
    assert found.gammas.tolist() == [expected] * 3
    assert found.false_accepts <= share


def test_what_the_calibration_tells() -> None:
    """Gamma 3: the clips' distances to their own centres are 1, 2, 1, 2, 1, all nearest and below."""
    found = gamma.calibrate(DISTANCES, OWNERS, "global", 0.0)
    assert (found.clips, found.known, found.false_accepts, found.known_accepted, found.known_right) == (5, 5, 0, 1, 1)
    tight = gamma.calibrate(np.array([[3, 2.0], [3, 1.0], [0.5, 4]]), np.array([0, 1, 0]), "global", 0.0)
    assert tight.gammas.tolist() == [2.0, 2.0], "nearest others are 2, 3 and 4"
    assert tight.known_accepted == pytest.approx(2 / 3), "the first clip's nearest is at 2, not below"
    wrong = gamma.calibrate(np.array([[3, 2.0], [3, 1.0], [0.5, 4]]), np.array([0, 1, 0]), "global", 1 / 3)
    assert wrong.gammas.tolist() == [3.0, 3.0]
    assert (wrong.known_accepted, wrong.known_right) == (1.0, pytest.approx(2 / 3))


def test_gamma_of_each_action_by_hand() -> None:
    """Others' distances to the centres: (7, 8, 5), (5, 6, 9), (9, 3, 4, 6)."""
    assert gamma.calibrate(DISTANCES, OWNERS, "per_class", 0.0).gammas.tolist() == [5, 5, 3]
    found = gamma.calibrate(DISTANCES, OWNERS, "per_class", 0.6)
    assert found.gammas.tolist() == [7, 6, 4], "level 0.4: a third, a third and a quarter lie below"
    assert found.false_accepts == left_out(DISTANCES, OWNERS, found.gammas) == 0.6
    lower = gamma.calibrate(DISTANCES, OWNERS, "per_class", 0.4)
    assert lower.gammas.tolist() == [5, 5, 3], "at level 0.4 three of five clips were accepted, more than asked"


@pytest.mark.parametrize("rule", gamma.RULES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.29, 0.5, 0.97])
def test_never_more_false_accepts_than_asked(rule: str, share: float) -> None:
    for seed in range(12):
        distances, owners = drawn(clips=1 + 9 * seed, actions=2 + seed % 4, seed=seed)
        found = gamma.calibrate(distances, owners, rule, share)
        assert found.false_accepts == pytest.approx(left_out(distances, owners, found.gammas))
        assert found.false_accepts <= share + 1e-9
        for action, value in enumerate(found.gammas):
            others = distances[owners != action, action]
            assert not len(others) or (others < value).mean() <= share + 1e-9 or rule == "global"


def test_global_gamma_is_the_largest_that_may_be() -> None:
    distances, owners = drawn(clips=90, actions=4, seed=3)
    for share in (0.05, 0.2, 0.5):
        found = gamma.calibrate(distances, owners, "global", share).gammas[0]
        larger = np.unique(distances)[np.unique(distances) > found]
        assert all(left_out(distances, owners, np.full(4, value)) > share for value in larger)


def test_a_wide_action_gets_a_wider_gamma() -> None:
    rng = np.random.default_rng(0)
    owners = np.repeat([0, 1], 100)
    distances = np.stack(
        [np.where(owners == 0, 1, 5) + rng.random(200), np.where(owners == 1, 1, 9) + rng.random(200)], 1
    )
    narrow, wide = gamma.calibrate(distances, owners, "per_class", 0.05).gammas
    assert 5 <= narrow < 6
    assert 9 <= wide < 10
    assert gamma.calibrate(distances, owners, "global", 0.05).gammas[1] < 6


def test_few_clips_are_told_nothing_rather_than_too_much() -> None:
    distances = np.array([[1.0, 4.0], [3.0, 1.0]])
    for rule in gamma.RULES:
        found = gamma.calibrate(distances, np.array([0, 1]), rule, 0.3)
        assert found.false_accepts == 0
        assert found.gammas.max() <= 4


def test_without_clips_of_others_gamma_is_infinite() -> None:
    for rule in gamma.RULES:
        none = gamma.calibrate(np.zeros((0, 2)), np.zeros(0, int), rule, 0.05)
        assert none.gammas.tolist() == [math.inf, math.inf]
        assert (none.clips, none.false_accepts, none.known_accepted) == (0, None, None)
        only = gamma.calibrate(np.array([[1.0], [2.0]]), np.array([0, 0]), rule, 0.05)
        assert only.gammas.tolist() == [math.inf]
        assert only.known_accepted == 1
        stranger = gamma.calibrate(np.array([[1.0], [2.0]]), np.array([0, -1]), rule, 0.05)
        assert stranger.gammas.tolist() == [2.0]


def test_mistakes() -> None:
    with pytest.raises(UserError, match="global, per_class; got 'none'"):
        gamma.calibrate(DISTANCES, OWNERS, "none", 0.1)
    for share in (1.0, -0.1, math.nan):
        with pytest.raises(UserError, match="at least 0 and below 1"):
            gamma.calibrate(DISTANCES, OWNERS, "global", share)
