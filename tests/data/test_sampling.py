"""Frame selection: worked numbers for each rule, and what must hold for all of them."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_actrec.data.sampling import select
from keras_actrec.data.views import Selection, View

SELECTIONS = get_args(Selection)


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
    frames = select(num_frames, view, rng=rng, clip=data.draw(st.integers(0, view.clips - 1)))
    assert frames.shape == (view.frames,)
    assert frames.dtype == np.int64
    assert 0 <= frames.min() <= frames.max() < num_frames
    runs = frames.reshape(view.runs, -1) if view.selection == "several_runs" else frames[None]
    assert (np.diff(runs) >= 0).all()
    assert (np.diff(runs[:, 0]) >= 0).all()


@given(st.integers(1, 400), views())
def test_without_a_draw_it_is_deterministic_and_clips_are_in_order(num_frames: int, view: View) -> None:
    first = [select(num_frames, view, clip=clip) for clip in range(view.clips)]
    again = [select(num_frames, view, clip=clip) for clip in range(view.clips)]
    np.testing.assert_array_equal(first, again)
    assert (np.diff([frames[0] for frames in first]) >= 0).all()


@given(st.integers(1, 400), views(), st.integers(0, 99))
def test_the_draw_depends_on_the_generator_alone(num_frames: int, view: View, seed: int) -> None:
    draws = [select(num_frames, view, rng=np.random.default_rng(seed)) for _ in range(2)]
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


def test_mistakes_are_refused() -> None:
    view = View(clips=2)
    with pytest.raises(ValueError, match="at least one frame"):
        select(0, view)
    with pytest.raises(ValueError, match="clip 2 of 2"):
        select(9, view, clip=2)
    with pytest.raises(ValueError, match="no multiple"):
        select(9, dataclasses.replace(view, selection="several_runs", frames=8, runs=3))
