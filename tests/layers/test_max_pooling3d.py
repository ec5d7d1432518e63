"""3-D max-pooling: Keras' values, and a gradient that goes to one place of each window."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec.layers import MaxPooling3D

CASES = [
    ((2, 2, 2), (2, 2, 2), "valid"),
    ((1, 2, 2), (1, 2, 2), "valid"),
    ((1, 3, 3), (1, 2, 2), "same"),
    ((3, 3, 3), (1, 1, 1), "same"),
    ((3, 3, 3), (2, 2, 2), "same"),
    ((2, 3, 3), (2, 2, 2), "valid"),
    ((2, 1, 1), (2, 1, 1), "valid"),
]


@pytest.mark.parametrize(("window", "strides", "padding"), CASES)
def test_values_are_those_of_keras(window: tuple[int, ...], strides: tuple[int, ...], padding: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 6, 3)).astype("float32") - 3.0  # below the zeros of a padding
    ours, theirs = (
        keras.ops.convert_to_numpy(kind(window, strides, padding)(x))
        for kind in (MaxPooling3D, keras.layers.MaxPooling3D)
    )
    np.testing.assert_array_equal(ours, theirs)


def moved_by_gradient(
    kind: type[keras.layers.Layer], values: np.ndarray, times: int = 1, run_eagerly: bool = False
) -> float:
    """Return the sum of the gradients of the summed output with respect to the input, by one step of SGD on it."""
    start = keras.Input((1,))
    shape = values.shape
    x = keras.layers.Dense(values.size, use_bias=False, name="values")(start)
    x = keras.layers.Reshape(shape)(x)
    for _ in range(times):
        x = kind(2 if times == 1 else 3, strides=2 if times == 1 else 1, padding="same")(x)
    x = keras.layers.Reshape((-1,))(x)
    model = keras.Model(start, keras.ops.sum(x, axis=-1, keepdims=True))
    model.get_layer("values").kernel.assign(values.reshape(1, -1))
    model.compile(
        keras.optimizers.SGD(1.0), loss=lambda _, y: keras.ops.mean(y), jit_compile=False, run_eagerly=run_eagerly
    )
    model.train_on_batch(np.ones((1, 1), "float32"), np.zeros((1, 1), "float32"))
    return float(np.sum(values.reshape(1, -1) - keras.ops.convert_to_numpy(model.get_layer("values").kernel)))


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_the_gradient_of_equal_maxima_goes_to_one_of_them(run_eagerly: bool) -> None:
    """Each output hands its gradient, 1, to one place, so their sum is the number of outputs."""
    ones = np.ones((4, 4, 4, 1), "float32")
    assert moved_by_gradient(MaxPooling3D, ones, run_eagerly=run_eagerly) == pytest.approx(8)
    values = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype("float32")
    assert moved_by_gradient(MaxPooling3D, values, run_eagerly=run_eagerly) == pytest.approx(8, rel=1e-4)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_poolings_in_a_row_keep_the_gradient(run_eagerly: bool) -> None:
    """One pooling's output is full of equal values, so this is what Inception's blocks do after a pooling."""
    values = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype("float32")
    assert moved_by_gradient(MaxPooling3D, values, 3, run_eagerly) == pytest.approx(64, rel=1e-4)


def test_a_reason_to_keep_it() -> None:
    """Fails when TensorFlow's own pooling has been mended, so that this layer can go."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("concerns TensorFlow's pooling on a CPU")
    ones = np.ones((4, 4, 4, 1), "float32")
    assert moved_by_gradient(keras.layers.MaxPooling3D, ones, run_eagerly=True) == pytest.approx(64)
