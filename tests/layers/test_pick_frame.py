"""`PickFrame`: the middle frame in inference, every frame at times in training."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec.layers import PickFrame


def clips(batch: int, frames: int) -> np.ndarray:
    """Clips in which clip b, frame t holds the number 100 b + t, in both of its values."""
    numbers = 100 * np.arange(batch)[:, None] + np.arange(frames)[None]
    return np.repeat(numbers[..., None], 2, axis=-1).astype("float32")


def numpy(x: object) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize(("frames", "middle"), [(1, 0), (4, 2), (5, 2)])
def test_middle_frame_in_inference(frames: int, middle: int) -> None:
    x = clips(3, frames)
    np.testing.assert_array_equal(numpy(PickFrame()(x)), x[:, middle : middle + 1])


def test_training_draws_each_frame_alike_and_never_mixes_clips() -> None:
    x = clips(2000, 4)
    picked = numpy(PickFrame(seed=1)(x, training=True))
    assert picked.shape == (2000, 1, 2)
    np.testing.assert_array_equal(picked[..., 0], picked[..., 1])
    clip, frame = np.divmod(picked[:, 0, 0].astype(int), 100)
    np.testing.assert_array_equal(clip, np.arange(2000))
    counts = np.bincount(frame, minlength=4)
    assert counts.min() > 420
    assert counts.max() < 580


def test_draws_differ_from_step_to_step_and_follow_the_seed() -> None:
    x = clips(50, 8)
    one, two = PickFrame(seed=3), PickFrame(seed=3)
    first = numpy(one(x, training=True))
    np.testing.assert_array_equal(first, numpy(two(x, training=True)))
    assert not np.array_equal(first, numpy(one(x, training=True)))


def test_without_a_seed_the_global_one_decides() -> None:
    x = clips(50, 8)
    keras.utils.set_random_seed(5)
    first = numpy(PickFrame()(x, training=True))
    keras.utils.set_random_seed(5)
    np.testing.assert_array_equal(first, numpy(PickFrame()(x, training=True)))


def test_commutes_with_a_layer_on_frames() -> None:
    """What lets `split_at_features` move the choice behind the backbone."""
    x = np.random.default_rng(0).normal(size=(6, 5, 4)).astype("float32")
    dense = keras.layers.Dense(3)
    before, after = PickFrame(seed=2), PickFrame(seed=2)
    np.testing.assert_allclose(numpy(dense(before(x, training=True))), numpy(after(dense(x), training=True)), atol=1e-6)
