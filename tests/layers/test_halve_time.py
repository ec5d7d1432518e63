"""Pooling of neighbouring frames, written out in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import HalveTime
from keras_actrec.layers.halve_time import POOLINGS

WIDTH = 3


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("class_token", [True, False])
def test_two_frames_become_one(pooling: str, class_token: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6 + class_token, WIDTH)).astype("float32")
    layer = HalveTime(pooling, class_token)
    layer.build(x.shape)
    if pooling == "convolution":
        layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
        kernel, bias = layer.get_weights()
    found = keras.ops.convert_to_numpy(layer(x))
    assert found.shape == (2, 3 + class_token, WIDTH)
    if class_token:
        np.testing.assert_array_equal(found[:, 0], x[:, 0])
    for b, frame in np.ndindex(2, 3):
        first, second = x[b, class_token + 2 * frame], x[b, class_token + 2 * frame + 1]
        if pooling == "max":
            expected = np.maximum(first, second)
        elif pooling == "average":
            expected = (first + second) / 2
        else:
            expected = first @ kernel[0] + second @ kernel[1] + bias
        np.testing.assert_allclose(found[b, class_token + frame], expected, atol=1e-5)


def test_the_convolution_is_that_of_keras() -> None:
    x = np.random.default_rng(0).normal(size=(2, 6, WIDTH)).astype("float32")
    layer, theirs = HalveTime("convolution", class_token=False), keras.layers.Conv1D(WIDTH, 2, strides=2)
    layer.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights(layer.get_weights())
    ours, expected = (keras.ops.convert_to_numpy(one(x)) for one in (layer, theirs))
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_only_the_convolution_has_weights() -> None:
    sizes = {}
    for pooling in POOLINGS:
        layer = HalveTime(pooling)
        layer.build((None, 5, WIDTH))
        sizes[pooling] = layer.count_params()
    assert sizes == {"max": 0, "average": 0, "convolution": (2 * WIDTH + 1) * WIDTH}


def test_mistakes() -> None:
    with pytest.raises(UserError, match="Did you mean 'average'"):
        HalveTime("averge")
    with pytest.raises(UserError, match="even number of tokens can be halved, not 3"):
        HalveTime("max").build((None, 4, WIDTH))
