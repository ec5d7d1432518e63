"""The class token: Dosovitskiy et al. 2021, Eq. 1."""

from __future__ import annotations

import keras
import numpy as np

from keras_actrec.layers import ClassToken


def test_the_same_token_stands_before_those_of_each_clip() -> None:
    layer, x = ClassToken(), np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    layer.build(x.shape)
    layer.token.assign(np.arange(5))
    y = keras.ops.convert_to_numpy(layer(x))
    assert y.shape == (3, 5, 5)
    np.testing.assert_array_equal(y[:, 1:], x)
    for clip in y:
        np.testing.assert_array_equal(clip[0], [0, 1, 2, 3, 4])


def test_starts_small_and_not_at_zero() -> None:
    layer = ClassToken()
    layer.build((None, 4, 4096))
    token = keras.ops.convert_to_numpy(layer.token)
    assert 0.01 < token.std() < 0.03
    assert np.abs(token).max() <= 0.04 + 1e-6
