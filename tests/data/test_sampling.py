"""Frame selection: worked numbers for each rule, and what must hold for all of them."""

import collections
import dataclasses
import itertools
import math
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_actrec.data.sampling import select
from keras_actrec.data.views import Selection, View

SELECTIONS = get_args(Selection)


def weights_of(num_frames: int, view: View, seed: int = 0) -> np.ndarray | None:
    """Rates for the selection that needs them: about a third of them nought, some very large."""
    if view.selection != "variance_rate":
        return None
    rng = np.random.default_rng([num_frames, seed])
    return rng.random(num_frames - 1) ** rng.integers(1, 30, num_frames - 1) * (rng.random(num_frames - 1) < 0.7)


def chosen(num_frames: int, selection: str, frames: int, clip: int = 0, **options: int) -> list[int]:
    return select(num_frames, View(selection=selection, frames=frames, **options), clip=clip).tolist()


@st.composite
def views(draw: st.DrawFn) -> View:
    runs = draw(st.integers(1, 4))
    return View(
        selection=draw(st.sampled_from(SELECTIONS)),
        frames=runs * draw(st.integers(1, 12)),
        stride=draw(st.integers(1, 9)),
        runs=runs,
        clips=draw(st.integers(1, 5)),
    )


@given(st.integers(1, 400), views(), st.none() | st.integers(0, 99), st.data())
def test_always_valid_and_in_order(num_frames: int, view: View, seed: int | None, data: st.DataObject) -> None:
    rng = None if seed is None else np.random.default_rng(seed)
    clip, weights = data.draw(st.integers(0, view.clips - 1)), weights_of(num_frames, view, seed or 0)
    frames = select(num_frames, view, rng=rng, clip=clip, weights=weights)
    assert frames.shape == (view.frames,)
    assert frames.dtype == np.int64
    assert 0 <= frames.min() <= frames.max() < num_frames
    runs = frames.reshape(view.runs, -1) if view.selection == "several_runs" else frames[None]
    assert (np.diff(runs) >= 0).all()
    assert (np.diff(runs[:, 0]) >= 0).all()


@given(st.integers(1, 400), views())
def test_without_a_draw_it_is_deterministic_and_clips_are_in_order(num_frames: int, view: View) -> None:
    weights = weights_of(num_frames, view)
    first = [select(num_frames, view, clip=clip, weights=weights) for clip in range(view.clips)]
    again = [select(num_frames, view, clip=clip, weights=weights) for clip in range(view.clips)]
    np.testing.assert_array_equal(first, again)
    if view.selection != "variance_rate":  # there, frames stand in for those that several quantiles fall on
        assert (np.diff([frames[0] for frames in first]) >= 0).all()


@given(st.integers(1, 400), views(), st.integers(0, 99))
def test_the_draw_depends_on_the_generator_alone(num_frames: int, view: View, seed: int) -> None:
    weights = weights_of(num_frames, view, seed)
    draws = [select(num_frames, view, rng=np.random.default_rng(seed), weights=weights) for _ in range(2)]
    np.testing.assert_array_equal(*draws)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 6), st.integers(0, 99))
def test_a_run_keeps_its_stride_inside_the_video(num_frames: int, frames: int, stride: int, seed: int) -> None:
    view = View(selection="random_run", frames=frames, stride=stride)
    got = select(num_frames, view, rng=np.random.default_rng(seed))
    if num_frames > (frames - 1) * stride:
        assert (np.diff(got) == stride).all()
    else:
        np.testing.assert_array_equal(got, np.minimum(np.arange(frames) * stride, num_frames - 1))


@pytest.mark.parametrize("selection", ["random_run", "dense", "several_runs", "uniform"])
def test_every_frame_can_be_drawn(selection: str) -> None:
    view = View(selection=selection, frames=4, stride=2, runs=2 if selection == "several_runs" else 1)
    rng = np.random.default_rng(0)
    seen = np.unique([select(23, view, rng=rng) for _ in range(2000)])
    if selection == "several_runs":  # the parts [0, 11) and [11, 23)
        np.testing.assert_array_equal(seen, np.arange(23))
    else:
        np.testing.assert_array_equal(seen, np.arange(23))


def test_all_starts_are_equally_likely() -> None:
    rng = np.random.default_rng(0)
    view = View(selection="random_run", frames=4, stride=2)
    starts = [select(13, view, rng=rng)[0] for _ in range(7000)]
    assert np.abs(np.bincount(starts, minlength=7) - 1000).max() < 130


def test_uniform_takes_the_centres_of_equal_segments() -> None:
    assert chosen(80, "uniform", 4) == [10, 30, 50, 70]
    assert chosen(10, "uniform", 4) == [1, 3, 6, 8]
    assert chosen(3, "uniform", 6) == [0, 0, 1, 1, 2, 2]
    assert chosen(1, "uniform", 3) == [0, 0, 0]


def test_uniform_clips_lie_side_by_side_in_the_segments() -> None:
    assert [chosen(80, "uniform", 4, clip=clip, clips=2) for clip in (0, 1)] == [[5, 25, 45, 65], [15, 35, 55, 75]]


def test_a_drawn_uniform_choice_is_evenly_spaced() -> None:
    view = View(selection="uniform", frames=4)
    for seed in range(20):
        assert set(np.diff(select(80, view, rng=np.random.default_rng(seed)))) == {20}


def test_run_is_central_or_spread() -> None:
    assert chosen(20, "random_run", 4, stride=2) == [6, 8, 10, 12]
    spread = [chosen(20, "random_run", 4, clip=clip, clips=3, stride=2) for clip in range(3)]
    assert [run[0] for run in spread] == [0, 6, 13]
    assert spread[-1][-1] == 19


def test_several_runs_lie_side_by_side_when_they_fit() -> None:
    assert chosen(30, "several_runs", 6, runs=3) == [4, 5, 14, 15, 24, 25]
    rng = np.random.default_rng(0)
    for _ in range(50):
        runs = select(95, View(selection="several_runs", frames=80, runs=5), rng=rng).reshape(5, 16)
        assert (runs[1:, 0] > runs[:-1, -1]).all()


def test_several_runs_overlap_in_a_short_video() -> None:
    runs = np.array(chosen(40, "several_runs", 80, runs=5)).reshape(5, 16)
    assert runs[:, 0].tolist() == [0, 6, 12, 18, 24]
    assert (np.diff(runs) == 1).all()
    assert chosen(2, "several_runs", 8, runs=2) == [0, 1, 1, 1, 0, 1, 1, 1]


def test_shadow_takes_the_first_frames() -> None:
    assert chosen(100, "shadow", 4) == [0, 1, 2, 3]
    assert chosen(3, "shadow", 5) == [0, 1, 2, 2, 2]
    np.testing.assert_array_equal(
        select(50, View(selection="shadow", frames=4), rng=np.random.default_rng(1)), [0, 1, 2, 3]
    )


def test_step_covers_the_whole_video_from_its_start() -> None:
    assert chosen(100, "step", 4) == [0, 25, 50, 75]
    assert chosen(10, "step", 4) == [0, 2, 4, 6]
    assert chosen(3, "step", 5) == [0, 1, 2, 2, 2]


def test_dense_narrows_its_stride_in_a_short_video() -> None:
    assert chosen(100, "dense", 4, stride=8) == [37, 45, 53, 61]
    assert chosen(10, "dense", 4, stride=8) == [0, 3, 6, 9]
    assert chosen(3, "dense", 4, stride=8) == [0, 1, 2, 2]


@given(st.integers(1, 60), st.integers(1, 30), st.integers(1, 4), st.none() | st.integers(0, 99), st.data())
def test_variance_rate_takes_different_frames_and_still_ones_last(
    num_frames: int, frames: int, clips: int, seed: int | None, data: st.DataObject
) -> None:
    view = View(selection="variance_rate", frames=frames, clips=clips)
    rates = np.array(
        data.draw(
            st.lists(
                st.sampled_from([0.0, 0.0, 1e-300, 0.1, 1.0, 50.0]), min_size=num_frames - 1, max_size=num_frames - 1
            )
        )
    )
    rng = None if seed is None else np.random.default_rng(seed)
    found = select(num_frames, view, rng=rng, clip=data.draw(st.integers(0, clips - 1)), weights=rates)
    counts = np.bincount(found, minlength=num_frames)
    if num_frames <= frames:  # every frame, repeated evenly
        assert counts.min() >= 1 and counts.max() - counts.min() <= 1
        return
    assert counts.max() == 1
    moving = np.flatnonzero(np.append(rates, 0.0))
    assert counts[moving].sum() == min(frames, len(moving))


@pytest.mark.parametrize("seed", [0, 1])
def test_variance_rate_draws_like_numpys_choice_without_replacement(seed: int) -> None:
    """How often each set of 3 of 6 frames is drawn: the exact law of drawing one after another, and NumPy's draws."""
    rates = np.array([0.4, 0.05, 0.0, 0.3, 0.15, 0.1])
    view, count = View(selection="variance_rate", frames=3), 30_000
    rng, numpys = np.random.default_rng(seed), np.random.default_rng(seed + 100)
    ours = collections.Counter(tuple(select(7, view, rng=rng, weights=rates).tolist()) for _ in range(count))
    theirs = collections.Counter(
        tuple(np.sort(numpys.choice(6, 3, replace=False, p=rates)).tolist()) for _ in range(count)
    )
    exact = collections.Counter()
    for first, second, third in itertools.permutations(range(6), 3):
        share = rates[first] * rates[second] / (1 - rates[first]) * rates[third] / (1 - rates[first] - rates[second])
        exact[tuple(sorted((first, second, third)))] += share
    sets = [chosen for chosen, share in exact.items() if share > 0]
    assert set(ours) == set(theirs) == set(sets) and len(sets) == 10
    for drawn in (ours, theirs):
        expected = np.array([exact[chosen] * count for chosen in sets])
        squares = (np.array([drawn[chosen] for chosen in sets]) - expected) ** 2 / expected
        assert squares.sum() < 27.9  # chi-square of 9 degrees of freedom: 0.1 % lie above


def test_among_still_frames_all_are_equally_likely() -> None:
    rates = np.zeros(9)
    rates[4] = 1.0
    view, rng = View(selection="variance_rate", frames=3), np.random.default_rng(0)
    counts = np.bincount(np.concatenate([select(10, view, rng=rng, weights=rates) for _ in range(9000)]), minlength=10)
    assert counts[4] == 9000 and np.abs(np.delete(counts, 4) - 2000).max() < 160


def test_variance_rate_without_a_draw() -> None:
    """By hand. Cumulative shares 0.1, 0.1, 0.5, 0.6, 1; the quantiles of two frames are 1/4 and 3/4."""
    rates, view = np.array([1, 0, 4, 1, 4]), View(selection="variance_rate", frames=2)
    assert select(6, view, weights=rates).tolist() == [2, 4]
    two = dataclasses.replace(view, clips=2)  # 1/8 and 5/8, 3/8 and 7/8
    assert [select(6, two, clip=clip, weights=rates).tolist() for clip in (0, 1)] == [[2, 4], [2, 4]]
    # Quantiles 1/8, 3/8, 5/8, 7/8 fall on 2, 2, 4, 4: the next in movement, of equals the earlier, stand in.
    four = dataclasses.replace(view, frames=4)
    assert select(6, four, weights=rates).tolist() == [0, 2, 3, 4]
    five = dataclasses.replace(view, frames=5)  # a still one at last: of 1 and 5, the middle
    assert select(6, five, weights=rates).tolist() == [0, 2, 3, 4, 5]


@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 6), st.floats(0, 1e6))
def test_where_all_moves_alike_variance_rate_is_uniform(num_frames: int, frames: int, clips: int, rate: float) -> None:
    frames = min(frames, num_frames - 1)
    for clip in range(clips):
        ours = View(selection="variance_rate", frames=frames, clips=clips)
        even = dataclasses.replace(ours, selection="uniform")
        found = select(num_frames, ours, clip=clip, weights=np.full(num_frames - 1, rate))
        np.testing.assert_array_equal(found, select(num_frames - 1, even, clip=clip))


@given(st.integers(3, 300), st.integers(1, 40), st.integers(1, 6), st.integers(0, 9))
def test_where_nearly_all_moves_alike_quantiles_are_those_of_fractions(
    num_frames: int, frames: int, clips: int, seed: int
) -> None:
    """Equal shares that differ by rounding alone: each frame is floor((t + u) (N - 1) / T) in exact arithmetic."""
    frames, moving = min(frames, num_frames - 1), num_frames - 1
    noise = np.random.default_rng(seed).uniform(-1e-14, 1e-14, moving)
    noise[0] = 1e-14
    view = View(selection="variance_rate", frames=frames, clips=clips)
    for clip in range(clips):
        place = Fraction(2 * clip + 1, 2 * clips)
        exact = [math.floor((t + place) * moving / frames) for t in range(frames)]
        assert select(num_frames, view, clip=clip, weights=1 / moving + noise / moving).tolist() == exact


def test_a_short_video_gives_every_frame_by_variance_rate() -> None:
    view = View(selection="variance_rate", frames=6)
    for rng in (None, np.random.default_rng(0)):
        assert select(3, view, rng=rng, weights=np.array([0.0, 1.0])).tolist() == [0, 0, 1, 1, 2, 2]
        assert select(6, view, rng=rng, weights=np.array([0, 1, 0, 5, 0])).tolist() == [0, 1, 2, 3, 4, 5]
        assert select(1, view, rng=rng, weights=np.zeros(0)).tolist() == [0] * 6


def test_rates_that_do_not_fit_are_refused() -> None:
    view = View(selection="variance_rate", frames=2)
    with pytest.raises(ValueError, match="wants the 8 rates of 9 frames, got none"):
        select(9, view)
    with pytest.raises(ValueError, match=r"got an array \(9,\)"):
        select(9, view, weights=np.ones(9))
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="finite and at least 0"):
            select(3, view, weights=np.array([1.0, wrong]))


def test_mistakes_are_refused() -> None:
    view = View(clips=2)
    with pytest.raises(ValueError, match="at least one frame"):
        select(0, view)
    with pytest.raises(ValueError, match="clip 2 of 2"):
        select(9, view, clip=2)
    with pytest.raises(ValueError, match="no multiple"):
        select(9, dataclasses.replace(view, selection="several_runs", frames=8, runs=3))
