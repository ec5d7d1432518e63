"""RandAugment computes what KerasCV's layers compute, to the last bit, over many draws."""

import numpy as np
import pytest

from keras_actrec.data import randaugment, reflected_move

tf = pytest.importorskip("tensorflow")
pytest.importorskip("keras_cv")

NAMES = {
    0: "AutoContrast",
    1: "Equalization",
    2: "Solarization",
    3: "RandomColorDegeneration",
    4: "RandomContrast",
    5: "RandomBrightness",
    6: "RandomShear",
    7: "RandomShear",
    8: "RandomTranslation",
    9: "RandomTranslation",
}


def by_layer(frames: np.ndarray, operation: randaugment.Operation) -> np.ndarray:
    """KerasCV's layer on all pixels: each frame an image for moves, else all frames one tall image."""
    from keras_cv.layers import RandAugment

    layer = RandAugment.get_standard_policy((0, 255), 0.5, 0.15)[operation.index]
    shape = frames.shape if operation.spatial else (1, -1, *frames.shape[2:])
    drawn = [tf.constant(value, tf.float32) for value in operation.values]
    if operation.spatial:
        names = {
            "RandomShear": ("shear_x", "shear_y"),
            "RandomTranslation": ("width_translations", "height_translations"),
        }
        form = {name: value[None, None] for name, value in zip(names[operation.name], drawn, strict=True)}
    elif operation.name == "Solarization":
        form = {"additions": drawn[0], "thresholds": drawn[1]}
    else:
        form = drawn[0] if drawn else None
    with tf.device("CPU:0"):
        changed = layer.augment_images(tf.constant(frames.reshape(shape).astype(np.float32)), transformations=form)
    return np.clip(np.rint(changed.numpy()), 0, 255).astype(np.uint8).reshape(frames.shape)


def clips(count: int, channels: int = 3) -> list[np.ndarray]:
    """Clips of any size, with few or many values, some of one value alone."""
    rng = np.random.default_rng(6)
    result = []
    for _ in range(count):
        low, high = sorted(rng.integers(0, 257, 2))
        shape = (*rng.integers(1, (4, 40, 40)), channels)
        result.append(rng.integers(low, max(high, low + 1), shape, np.uint8))
    return result


@pytest.mark.parametrize("index", NAMES)
def test_every_operation_is_the_layers_to_the_last_bit(index: int) -> None:
    rng = np.random.default_rng(index)
    changed = 0
    for number, clip in enumerate(clips(40)):
        layer = randaugment._policy((0.2, 0.5, 0.9, 1.0)[number % 4])[index]
        operation = randaugment.Operation(index, NAMES[index], randaugment._DRAWS[NAMES[index]](layer, rng))
        ours = randaugment.apply(clip, (operation,))
        assert (ours == by_layer(clip, operation)).all(), (operation, clip.shape)
        changed += (ours != clip).any()
    assert changed > 20


@pytest.mark.parametrize("index", [6, 7, 8, 9])
def test_moves_of_depth_are_the_layers_too(index: int) -> None:
    rng = np.random.default_rng(index)
    for clip in clips(8, channels=1):
        values = randaugment._DRAWS[NAMES[index]](randaugment._policy(0.7)[index], rng)
        operation = randaugment.Operation(index, NAMES[index], values)
        assert (randaugment.apply(clip, (operation,), colour=False) == by_layer(clip, operation)).all()


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("value", [-7.3, -2.0, -1.0, -0.5, 0.25, 1.0, 3.7])
def test_moves_far_beyond_the_frame_are_tensorflows(axis: int, value: float) -> None:
    """Mirror images of mirror images, which a policy's strengths do not reach."""
    clip = clips(1)[0][:1]
    for across in (0, 1):  # the slope of a shear, and a shift in pixels
        lines = np.arange(clip.shape[3 - axis], dtype=np.float32)
        offsets = np.float32(value) * lines if across else np.float32([value * 5])
        slope, shift = (value, 0.0) if across else (0.0, value * 5)
        row, column = (1.0, 0.0), (0.0, 1.0)
        matrix = [1.0, slope, shift, *column, 0.0] if axis == 2 else [*row, 0.0, slope, 1.0, shift]
        with tf.device("CPU:0"):
            theirs = tf.raw_ops.ImageProjectiveTransformV3(
                images=clip.astype(np.float32),
                transforms=np.float32([[*matrix, 0, 0]]),
                output_shape=clip.shape[1:3],
                fill_value=0.0,
                interpolation="BILINEAR",
                fill_mode="REFLECT",
            )
        assert (reflected_move.move(clip, axis, offsets) == np.rint(theirs.numpy())).all()


def test_a_move_by_hand() -> None:
    row = np.array([0, 10, 20, 30], np.uint8).reshape(1, 1, 4, 1)
    moved = reflected_move.move(row, 2, np.float32([0.5])).ravel()
    assert moved.tolist() == [5, 15, 25, 30]  # beyond the end: 3.5 is clamped to 3
    assert reflected_move.move(row, 2, np.float32([-2.0])).ravel().tolist() == [10, 0, 0, 10]
    assert reflected_move.move(row, 2, np.float32([2.0])).ravel().tolist() == [20, 30, 30, 20]
    column = row.reshape(1, 4, 1, 1)
    assert reflected_move.move(column, 1, np.float32([2.0])).ravel().tolist() == [20, 30, 30, 20]


def test_moves_along_both_axes_are_refused_and_none_changes_nothing() -> None:
    clip = clips(1)[0]
    with pytest.raises(ValueError, match="one axis"):
        randaugment.apply(clip, (randaugment.Operation(6, "RandomShear", (0.1, 0.2)),))
    assert (randaugment.apply(clip, (randaugment.Operation(9, "RandomTranslation", (0.0, -0.0)),)) == clip).all()
