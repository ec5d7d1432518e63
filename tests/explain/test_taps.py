"""Replaced calls are really used, at any depth, and put back whatever happens."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_actrec.explain import gradients, taps
from keras_actrec.explain.subject import Call, open_subject, walk
from keras_actrec.layers import TimeDistributed


@pytest.fixture
def nested() -> keras.Model:
    """A functional model in a functional model in a layer in a functional model."""
    keras.utils.set_random_seed(0)
    frame = keras.Input((8, 8, 3))
    inner = keras.Model(frame, layers.Conv2D(4, 3, name="deep")(frame), name="inner")
    again = keras.Input((8, 8, 3))
    pooled = layers.GlobalAveragePooling2D(name="pool")(inner(again))
    clip = keras.Input((2, 8, 8, 3), name="rgb")
    x = TimeDistributed(keras.Model(again, pooled, name="outer"), name="frames")(clip)
    x = layers.Flatten()(x)
    return keras.Model([clip], layers.Dense(3, name="logits")(x))


def test_a_tap_changes_the_output_of_a_deep_layer(nested: keras.Model) -> None:
    subject = open_subject(nested, np.ones((2, 8, 8, 3)))
    plain = ops.convert_to_numpy(subject.run(subject.clip))
    deep = subject.find("deep").layer
    with taps.added(deep, [ops.ones(())]) as outputs:
        tapped = ops.convert_to_numpy(subject.run(subject.clip))
    # One more in each channel of the map is one more in its average.
    kernel = ops.convert_to_numpy(nested.get_layer("logits").kernel)
    np.testing.assert_allclose(tapped - plain, kernel.sum(axis=0)[None], rtol=1e-4)
    assert [tuple(output.shape) for output in outputs] == [(2, 6, 6, 4)]


def test_everything_is_put_back_also_after_an_error(nested: keras.Model) -> None:
    subject = open_subject(nested, np.ones((2, 8, 8, 3)))
    deep = subject.find("deep").layer
    activation = deep.activation
    with pytest.raises(ZeroDivisionError), taps.replaced([taps.Change(deep, "activation", ops.relu)]):
        assert deep.activation is ops.relu
        raise ZeroDivisionError
    assert deep.activation is activation
    with pytest.raises(Exception, match="shape"), taps.added(deep, [ops.ones((5, 5))]):
        subject.run(subject.clip)
    assert not [path for path, layer in walk(nested) if "call" in vars(layer)]


def test_changes_of_one_attribute_nest() -> None:
    layer = layers.Dense(1)
    with taps.replaced([taps.Change(layer, "call", 1)]):
        with taps.replaced([taps.Change(layer, "call", 2), taps.Change(layer, "call", 3)]):
            assert layer.call == 3
        assert layer.call == 1
    assert "call" not in vars(layer)


def test_calls_are_found_in_their_order_with_path_and_shapes(nested: keras.Model) -> None:
    subject = open_subject(nested, np.ones((2, 8, 8, 3)))
    found = [(call.path, call.input_shape, call.shape) for call in subject.calls]
    names = [path for path, _, _ in found]
    assert names.index("frames/outer/inner/deep") < names.index("frames/outer/pool") < names.index("logits")
    assert ("frames/outer/inner/deep", (2, 8, 8, 3), (2, 6, 6, 4)) in found
    assert isinstance(subject.find("inner/deep"), Call)


def test_gradients_of_each_argument() -> None:
    def function(x: keras.KerasTensor, y: keras.KerasTensor, unused: keras.KerasTensor) -> tuple:
        return ops.sum(x * x * y), {"product": x * y}

    x, y = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    value, rest, found = gradients.value_and_gradients(function, [x, y, np.ones((2, 2))])
    assert value == pytest.approx(23)
    np.testing.assert_allclose(rest["product"], [3, 10])
    for gradient, expected in zip(found, ([6, 20], [1, 4], np.zeros((2, 2))), strict=True):
        np.testing.assert_allclose(gradient, expected)
