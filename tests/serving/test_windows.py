import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_actrec.errors import UserError
from keras_actrec.serving.windows import Sliding, Window, cut


def times(frames: int, fps: float = 10.0) -> np.ndarray:
    return np.arange(frames) / fps


def test_a_short_video_is_one_window() -> None:
    for sliding in (None, Sliding(2.0, 1.0, 4.0), Sliding(20.0, 1.0, 0.0)):
        assert cut(times(40), 4.0, sliding) == (Window(0.0, 4.0, 0, 40),)


def test_windows_overlap_and_the_last_one_ends_with_the_video() -> None:
    found = cut(times(45), 4.5, Sliding(2.0, 1.0, 4.0))
    assert [(one.start_sec, one.end_sec) for one in found] == [(0, 2), (1, 3), (2, 4), (2.5, 4.5)]
    assert [(one.first, one.stop) for one in found] == [(0, 20), (10, 30), (20, 40), (25, 45)]


def test_a_hop_that_ends_on_the_last_window_does_not_give_it_twice() -> None:
    assert [one.start_sec for one in cut(times(60), 6.0, Sliding(2.0, 1.0, 0.0))] == [0, 1, 2, 3, 4]


def test_times_in_ticks_of_a_container_do_not_move_a_frame_to_the_next_window() -> None:
    ticks = np.floor(times(60) * 90_000) / 90_000
    (first, second, *_) = cut(ticks, 6.0, Sliding(2.0, 1.0, 0.0))
    assert (first.stop, second.first) == (20, 10)


def test_a_pause_of_the_recording_gives_no_window() -> None:
    paused = np.concatenate([times(30), 20 + times(30)])
    found = cut(paused, 23.0, Sliding(2.0, 1.0, 0.0))
    assert all(one.stop > one.first for one in found)
    assert not [one for one in found if one.start_sec >= 3.0 and one.end_sec <= 20.0]


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 400),
    fps=st.floats(1, 60),
    window=st.floats(0.2, 20),
    share=st.floats(0.05, 1.0),
    threshold=st.floats(0, 30),
)
def test_every_frame_is_in_some_window(frames: int, fps: float, window: float, share: float, threshold: float) -> None:
    found = cut(times(frames, fps), frames / fps, Sliding(window, window * share, threshold))
    seen = np.zeros(frames, bool)
    for one in found:
        seen[one.first : one.stop] = True
    assert seen.all()
    starts = [one.start_sec for one in found]
    assert starts == sorted(set(starts))
    assert found[-1].stop == frames


@pytest.mark.parametrize(("window", "hop"), [(0, 1), (-1, 1), (float("nan"), 1), (2, 0), (2, 2.5), (2, float("nan"))])
def test_lengths_that_make_no_sense(window: float, hop: float) -> None:
    with pytest.raises(UserError, match=r"expected a (window|hop)"):
        Sliding(window, hop, 0.0)
