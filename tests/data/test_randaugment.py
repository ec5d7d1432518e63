"""RandAugment: KerasCV's policy, one draw per clip."""

import concurrent.futures
import subprocess
import sys

import numpy as np
import pytest

from keras_actrec.data import augment, randaugment
from keras_actrec.data.views import Augmentation
from keras_actrec.errors import UserError

NAMES = (  # noqa: SIM905
    "AutoContrast Equalization Solarization RandomColorDegeneration RandomContrast RandomBrightness RandomShear "
    "RandomShear RandomTranslation RandomTranslation"
).split()


def noise(frames: int = 3, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(20, 200, (frames, 24, 20, channels), np.uint8)


def one_of_each(seed: int = 0) -> list[randaugment.Operation]:
    """Draw until every operation of the policy came up."""
    found: dict[int, randaugment.Operation] = {}
    rng = np.random.default_rng(seed)
    while len(found) < len(NAMES):
        for operation in randaugment.draw(rng, 10, 0.6):
            found.setdefault(operation.index, operation)
    return [found[index] for index in sorted(found)]


pytest.importorskip("keras_cv")


def test_works_after_a_run_asked_for_determinism() -> None:
    """As in training, where the policy is built after the hardware is set up."""
    program = (
        "from keras_actrec.training import distribution; distribution.make_deterministic(); "
        "from keras_actrec.data import randaugment; randaugment.require()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_policy_is_keras_cvs() -> None:
    assert [operation.name for operation in one_of_each()] == NAMES


def test_equal_frames_stay_equal_and_something_changes() -> None:
    clip = np.repeat(noise(1), 4, axis=0)
    for operation in one_of_each():
        result = randaugment.apply(clip, (operation,))
        assert result.shape == clip.shape and result.dtype == np.uint8
        assert (result == result[:1]).all(), operation
        assert (result != clip).any(), operation


def test_equal_pixels_of_unequal_frames_stay_equal() -> None:
    """No flicker: operations that look at statistics look at the whole clip."""
    clip = noise(2)
    clip[1] //= 3
    clip[:, 5, 5] = (90, 100, 110)
    for operation in one_of_each()[:6]:
        result = randaugment.apply(clip, (operation,))
        assert (result[0, 5, 5] == result[1, 5, 5]).all(), operation


@pytest.mark.parametrize("index", range(10))
def test_same_numbers_as_keras_cvs_own_layer(index: int) -> None:
    """Frame by frame, KerasCV's layer gives the same picture for the same drawn numbers (on a clip of one frame)."""
    import tensorflow as tf
    from keras_cv.layers import RandAugment

    clip, operation = noise(1), one_of_each()[index]
    layer = RandAugment.get_standard_policy((0, 255), 0.5, 0.15)[index]
    values = [tf.constant(value, tf.float32) for value in operation.values]
    forms = {
        "Solarization": lambda: {"additions": values[0], "thresholds": values[1]},
        "RandomShear": lambda: {"shear_x": values[0][None, None], "shear_y": values[1][None, None]},
        "RandomTranslation": lambda: {
            "width_translations": values[0][None, None],
            "height_translations": values[1][None, None],
        },
    }
    layer.get_random_transformation_batch = lambda *_, **__: forms.get(operation.name, lambda: values and values[0])()
    theirs = np.clip(np.rint(np.asarray(layer(tf.constant(clip)))), 0, 255)
    assert np.abs(randaugment.apply(clip, (operation,)) - theirs).max() <= 1


def test_same_state_same_bytes_in_any_thread() -> None:
    def work(seed: int) -> bytes:
        operations = randaugment.draw(np.random.default_rng(seed), 3, 0.5)
        return randaugment.apply(noise(), operations).tobytes()

    alone = [work(seed) for seed in range(12)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(12))) == alone
    assert len(set(alone)) > 8


def test_draws_have_the_policys_frequencies_and_strengths() -> None:
    rng = np.random.default_rng(2)
    drawn = [operation for _ in range(2000) for operation in randaugment.draw(rng, 1, 0.5)]
    assert len(drawn) / 2000 == pytest.approx(10 / 11, abs=0.02)
    counts = np.bincount([operation.index for operation in drawn], minlength=10)
    assert counts.min() > 120 and counts.max() < 250
    shears = np.array([operation.values[0] for operation in drawn if operation.index == 6])
    assert np.abs(shears).mean() == pytest.approx(0.5, abs=0.05) and np.abs(shears).std() == pytest.approx(
        0.15, abs=0.04
    )
    assert 0.35 < (shears > 0).mean() < 0.65
    bright = np.array([operation.values[0] for operation in drawn if operation.index == 5])
    assert np.abs(bright).max() <= 127.5 and abs(bright.mean()) < 25


def test_depth_takes_part_in_space_only() -> None:
    depth = noise(channels=1)
    for operation in one_of_each():
        result = randaugment.apply(depth, (operation,), colour=False)
        assert (result != depth).any() == operation.spatial
        if operation.spatial:
            together = np.repeat(depth, 3, axis=-1)
            assert (randaugment.apply(together, (operation,))[..., :1] == result).all()


def test_draw_of_an_augmentation_carries_it() -> None:
    settings = Augmentation(rand_augment=4, rand_augment_magnitude=0.7)
    outcome = augment.draw(settings, np.random.default_rng(0), 24, 20)
    assert 0 < len(outcome.operations) <= 4
    assert (augment.apply(noise(), outcome, 20) != augment.apply(noise(), augment.IDENTITY, 20)).any()


def test_mixed_precision_does_not_reach_the_pipeline() -> None:
    import keras

    operation = randaugment.Operation(4, "RandomContrast", (0.731,))
    before = randaugment.apply(noise(), (operation,))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        randaugment._built.cache_clear()
        assert (randaugment.apply(noise(), (operation,)) == before).all()
    finally:
        keras.config.set_dtype_policy("float32")
        randaugment._built.cache_clear()


def test_a_missing_keras_cv_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    randaugment._built.cache_clear()
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    monkeypatch.setitem(sys.modules, "keras_cv.layers", None)
    with pytest.raises(UserError, match=r"keras_actrec\[augment\]"):
        randaugment.draw(np.random.default_rng(0), 1, 0.5)
    with pytest.raises(UserError, match=r"keras_actrec\[augment\]"):
        randaugment.require()
