"""Linear interpolation in time, frame by frame in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import ResampleTime
from keras_actrec.layers.resample_time import interpolation


def resample(clip: np.ndarray, frames: int) -> np.ndarray:
    return keras.ops.convert_to_numpy(ResampleTime(frames)(clip))


def oracle(clip: np.ndarray, frames: int) -> np.ndarray:
    """Mix the frames on either side of each new place, one by one."""
    old = clip.shape[1]
    found = np.empty((clip.shape[0], frames, *clip.shape[2:]))
    for frame in range(frames):
        place = frame * (old - 1) / (frames - 1) if frames > 1 else (old - 1) / 2
        before = int(np.floor(place))
        after = min(before + 1, old - 1)
        share = place - before
        found[:, frame] = (1 - share) * clip[:, before] + share * clip[:, after]
    return found


@pytest.mark.parametrize("old", [1, 2, 7, 17, 25])
@pytest.mark.parametrize("new", [1, 2, 3, 16])
def test_new_frames_are_mixed_of_their_neighbours(old: int, new: int) -> None:
    clip = np.random.default_rng(0).normal(size=(2, old, 2, 3, 4)).astype("float32")
    np.testing.assert_allclose(resample(clip, new), oracle(clip, new), atol=1e-5)


def test_by_hand() -> None:
    """Five places on 0 .. 6 lie at 0, 1.5, 3, 4.5 and 6."""
    clip = np.array([0, 1, 4, 9, 16, 25, 36], "float32").reshape(1, 7, 1)
    np.testing.assert_allclose(resample(clip, 5).ravel(), [0, 2.5, 9, 20.5, 36], rtol=1e-6)


def test_equal_lengths_change_no_bit() -> None:
    clip = np.random.default_rng(0).normal(size=(1, 9, 2, 2, 3)).astype("float32")
    np.testing.assert_array_equal(resample(clip, 9), clip)


@pytest.mark.parametrize(("old", "new"), [(7, 16), (25, 16), (17, 16), (3, 100)])
def test_shares_sum_to_one_and_ends_are_kept(old: int, new: int) -> None:
    shares = interpolation(old, new)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert (shares > 0).sum(axis=1).max() <= 2
    assert shares[0, 0] == 1
    assert shares[-1, -1] == 1


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(UserError, match="at least 1 frame, got 0"):
        ResampleTime(0)
