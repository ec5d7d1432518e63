"""`TimeDistributed` folds time into the batch; its numbers are those of Keras' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_actrec.layers import TimeDistributed

RNG = np.random.default_rng(0)


def nested() -> keras.Model:
    frame = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, strides=2)(frame)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(frame, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x)))


WRAPPED = {
    "dense": (lambda: keras.layers.Dense(3), (4, 5)),
    "conv": (lambda: keras.layers.Conv2D(2, 3, padding="same"), (3, 6, 6, 2)),
    "gru": (lambda: keras.layers.GRU(4, return_sequences=True), (3, 5, 2)),
    "nested model": (nested, (3, 8, 8, 3)),
    "nested time": (lambda: TimeDistributed(keras.layers.Dense(2)), (3, 4, 5)),
    "flatten": (keras.layers.Flatten, (2, 3, 4)),
}


@pytest.fixture(params=WRAPPED)
def wrapped(request: pytest.FixtureRequest) -> tuple[keras.Layer, tuple[int, ...]]:
    make, shape = WRAPPED[request.param]
    return make(), shape


def numpy(x: object) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


def test_equals_keras(wrapped: tuple[keras.Layer, tuple[int, ...]]) -> None:
    layer, shape = wrapped
    x = normal(2, *shape)
    ours, theirs = TimeDistributed(layer), keras.layers.TimeDistributed(layer)
    np.testing.assert_allclose(numpy(ours(x)), numpy(theirs(x)), atol=1e-6)
    assert ours.compute_output_shape(x.shape) == theirs.compute_output_shape(x.shape)


def test_unknown_number_of_frames(wrapped: tuple[keras.Layer, tuple[int, ...]]) -> None:
    layer, shape = wrapped
    inputs = keras.Input((None, *shape[1:]))
    model = keras.Model(inputs, TimeDistributed(layer)(inputs))
    assert model.output_shape[:2] == (None, None)
    for frames in (1, 3):
        x = normal(2, frames, *shape[1:])
        expected = np.stack([numpy(layer(x[:, frame])) for frame in range(frames)], axis=1)
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-6)


def test_mask_reaches_a_layer_that_takes_one() -> None:
    x = normal(2, 3, 5, 4)
    mask = RNG.random((2, 3, 5)) > 0.4
    gru = keras.layers.GRU(3)
    ours, theirs = TimeDistributed(gru), keras.layers.TimeDistributed(gru)
    masked = numpy(ours(x, mask=mask))
    np.testing.assert_allclose(masked, numpy(theirs(x, mask=mask)), atol=1e-6)
    assert np.abs(masked - numpy(ours(x))).max() > 1e-3


def masked_model(wrapper: type[keras.Layer], frames: int | None) -> keras.Model:
    """Masking -> TimeDistributed(Dense) -> LSTM."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((frames, 4))
    x = wrapper(keras.layers.Dense(3))(keras.layers.Masking()(inputs))
    return keras.Model(inputs, keras.layers.LSTM(2)(x))


@pytest.mark.parametrize("frames", [None, 7])
def test_mask_of_frames_travels_on(frames: int | None) -> None:
    """Padded frames are ignored, however many there are."""
    clip = normal(1, 3, 4)
    padded = np.concatenate([clip, np.zeros((1, 4, 4), "float32")], axis=1)
    result = masked_model(TimeDistributed, frames).predict(padded, verbose=0)
    unpadded = masked_model(TimeDistributed, None).predict(clip, verbose=0)
    np.testing.assert_allclose(result, unpadded, atol=1e-6)
    # Only with static time: with an unknown number of frames Keras 3.15 loses the mask on the way.
    keras_result = masked_model(keras.layers.TimeDistributed, 7).predict(padded, verbose=0)
    np.testing.assert_allclose(result, keras_result, atol=1e-6)


@pytest.mark.parametrize("shape", [(2,), (2, 4), (3, 3)])
def test_a_mask_of_the_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="mask"):
        TimeDistributed(keras.layers.Dense(2))(normal(2, 3, 4), mask=np.ones(shape, bool))


def test_training_flag_reaches_the_layer() -> None:
    layer = TimeDistributed(keras.layers.Dropout(0.5))
    x = np.ones((2, 3, 50), "float32")
    np.testing.assert_array_equal(numpy(layer(x, training=False)), x)
    dropped = numpy(layer(x, training=True))
    assert 0.2 < (dropped == 0).mean() < 0.8
    assert not np.array_equal(dropped[:, 0], dropped[:, 1]), "each frame has its own draw"


def test_batch_statistics_are_over_all_frames() -> None:
    """The documented difference to Keras in training."""
    x = normal(4, 3, 5) * 3 + 1
    layer = TimeDistributed(keras.layers.BatchNormalization(momentum=0.0))
    y = numpy(layer(x, training=True))
    flat = x.reshape(12, 5)
    np.testing.assert_allclose(y.reshape(12, 5), (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3), atol=1e-4)
    np.testing.assert_allclose(numpy(layer.layer.moving_mean), flat.mean(0), atol=1e-5)


def test_a_frozen_layer_stays_frozen() -> None:
    layer = TimeDistributed(keras.layers.BatchNormalization())
    layer.trainable = False
    layer(normal(4, 3, 5) + 7, training=True)
    np.testing.assert_array_equal(numpy(layer.layer.moving_mean), np.zeros(5))
    assert not layer.trainable_weights


def test_several_outputs() -> None:
    frame = keras.Input((6,))
    model = keras.Model(frame, {"a": keras.layers.Dense(2)(frame), "b": keras.layers.Reshape((3, 2))(frame)})
    clip = keras.Input((4, 6))
    outputs = TimeDistributed(model)(clip)
    assert outputs["a"].shape == (None, 4, 2)
    assert outputs["b"].shape == (None, 4, 3, 2)
    x = normal(2, 4, 6)
    result = keras.Model(clip, outputs).predict(x, verbose=0)
    np.testing.assert_array_equal(result["b"], x.reshape(2, 4, 3, 2))


def test_nested_model_saves_and_loads_without_custom_objects(tmp_path: Path) -> None:
    clip = keras.Input((3, 8, 8, 3))
    model = keras.Model(clip, TimeDistributed(nested())(clip))
    model.save(tmp_path / "model.keras")
    x = normal(2, 3, 8, 8, 3)
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=None)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimeDistributed(np.tanh), "wraps a layer"),
        (lambda: TimeDistributed(keras.layers.GRU(2, stateful=True)), "stateful"),
        (lambda: TimeDistributed(keras.layers.Dense(2))(np.ones((2, 3), "float32")), "batch, time"),
    ],
)
def test_misuse_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
