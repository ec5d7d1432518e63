"""The functions that map relative positions onto clusters: RPE-STDT, Eq. 3.8 to 3.11, by hand and by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import relative_position
from keras_actrec.layers.relative_position import clipped, cluster_index, number_of_clusters, sectioned

FAR = np.arange(-60, 61)
every_reach = pytest.mark.parametrize("reach", [1, 2, 3, 4, 7])


def test_sectioned_by_hand() -> None:
    """y = 3, b = 1.5, a = 12: 1.5 + ln(x / 1.5) / ln 8 * 1.5 is 1.71, 2, 2.21, 2.37, 2.5, .., 3 for x = 2 to 12."""
    assert sectioned(np.arange(14), 3).tolist() == [0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]
    # y = 4, b = 2, a = 16: 2 + ln(x / 2) / ln 8 * 2 is 2.39, 2.67, 2.88, 3.06, .., 3.45 (9), 3.55 (10), .., 4 (16).
    assert sectioned(np.arange(18), 4).tolist() == [0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4]


def test_exact_halves_are_rounded_away_from_zero() -> None:
    """ln 4 / ln 8 = 2 / 3, so that six is mapped onto 2.5; in floating point, a hair below or above."""
    assert sectioned(np.array([6, -6]), 3).tolist() == [3, -3]
    assert sectioned(np.array([5.99, -5.99]), 3).tolist() == [2, -2]


def test_sectioned_takes_its_own_partition_and_curvature() -> None:
    """y = 3, b = 2.1, a = 30: 2.1 + ln(x / 2.1) / ln(30 / 2.1) * 0.9 is 2.5 at x = 2.1 (30 / 2.1)^(4 / 9) = 6.85."""
    assert sectioned(np.arange(9), 3, partition=0.7, curvature=10).tolist() == [0, 1, 2, 2, 2, 2, 2, 3, 3]


@every_reach
def test_sectioned_is_odd_rising_and_within_its_range(reach: int) -> None:
    steps = sectioned(FAR, reach)
    assert (steps == -steps[::-1]).all()
    assert (np.diff(steps) >= 0).all()
    assert (steps.min(), steps.max()) == (-reach, reach)
    assert sectioned(np.array([4 * reach]), reach) == reach  # x = a


@every_reach
def test_sectioned_equals_the_equations(reach: int) -> None:
    """Eq. 3.8 and 3.9 word by word, away from exact halves."""
    b, a = reach / 2, 4 * reach
    for x in np.linspace(-50.123, 50.07, 399):
        exact = abs(x) if abs(x) <= b else b + math.log(abs(x) / b) / math.log(a / b) * (reach - b)
        expected = math.copysign(min(reach, round(exact)), x)
        assert sectioned(np.array(x), reach) == expected


def test_the_sectioned_function_tells_distances_apart_that_the_clip_function_does_not() -> None:
    """What the thesis prefers it for: five is nearer than six, though both are farther than y."""
    assert clipped(np.array([-20, -3, -1, 0, 2, 4]), 3).tolist() == [-3, -3, -1, 0, 2, 3]
    assert clipped(np.array([5]), 3) == clipped(np.array([6]), 3)
    assert sectioned(np.array([5]), 3) != sectioned(np.array([6]), 3)


def test_numbers_of_clusters_of_the_thesis() -> None:
    """Figure 3.4 and Table 3.1: 50 clusters per frame for y = 3, class token included."""
    assert [number_of_clusters(2, reach, True) for reach in (2, 3, 4)] == [26, 50, 82]
    assert number_of_clusters(2, 3, False) == 49
    assert number_of_clusters(1, 3, True) == 8


@pytest.mark.parametrize("mapping", relative_position.MAPPINGS)
@pytest.mark.parametrize("class_token", [True, False])
def test_index_of_every_pair(mapping: str, class_token: bool) -> None:
    rows, columns, reach = 5, 8, 2
    index = cluster_index((rows, columns), mapping, reach, class_token=class_token)
    tokens = rows * columns + class_token
    assert (index.shape, index.dtype) == ((tokens, tokens), np.int32)

    def step(x: int) -> int:
        return int(sectioned(np.array(x), reach) if mapping == "sectioned" else clipped(np.array(x), reach))

    for i in range(tokens):
        for j in range(tokens):
            if class_token and 0 in (i, j):
                assert index[i, j] == 25
                continue
            (y, x), (v, u) = (divmod(token - class_token, columns) for token in (i, j))
            assert index[i, j] == (step(y - v) + reach) * 5 + step(x - u) + reach


def test_every_cluster_of_a_frame_is_used() -> None:
    """14 x 14 patches and 50 clusters."""
    assert set(cluster_index((14, 14)).ravel()) == set(range(50))


def test_pairs_at_one_distance_share_a_cluster() -> None:
    index = cluster_index((6, 6), class_token=False).reshape(6, 6, 6, 6)
    assert index[1, 2, 0, 4] == index[3, 1, 2, 3] == index[5, 3, 4, 5]
    assert index[1, 2, 0, 4] != index[0, 4, 1, 2]
    assert (np.diagonal(index.reshape(36, 36)) == 24).all()


def test_positions_in_time() -> None:
    """One axis; b = 0.5, a = 4: 0.5 + ln(2 x) / ln 8 * 0.5 is 0.67, 0.83, .."""
    expected = [[3, 3, 3, 3], [3, 1, 0, 0], [3, 2, 1, 0], [3, 2, 2, 1]]
    assert cluster_index((3,), reach=1).tolist() == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mapping": "sektioned"}, "no mapping 'sektioned' of relative positions. Did you mean 'sectioned'?"),
        ({"reach": 0}, "at least 1, got 0"),
        ({"partition": 0.0}, "partition must lie above 0 and at most at 1"),
        ({"curvature": 1.0}, "curvature above 1; got 0.5 and 1.0"),
    ],
)
def test_mistakes(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        cluster_index((2, 2), **options)
    assert message in str(caught.value)
