"""The code of a clip: where it lies in each architecture, and the network that metric learning trains."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.models.codes import encoder_of, with_code

TINY = {"frames": 4, "size": 32, "base_width": 4}


def clips(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 4, 32, 32, 3)).astype("float32")


def test_the_code_is_what_the_classifier_sees() -> None:
    network = models.build_model("r3d_18", 3, **TINY)
    codes = encoder_of(network).predict(clips(), verbose=0)
    kernel, bias = network.get_layer("logits").get_weights()
    np.testing.assert_allclose(network.predict(clips(), verbose=0), codes @ kernel + bias, atol=1e-5)


def test_a_network_gets_a_code_and_a_frozen_classifier() -> None:
    network = models.build_model("r3d_18", 3, **TINY)
    coded = with_code(network, width=5)
    assert encoder_of(coded).output_shape == (None, 5)
    assert coded.output_shape == (None, 3)
    assert not coded.get_layer("logits").trainable
    trainable = {weight.path for weight in coded.trainable_weights}
    assert {path.split("/")[0] for path in trainable} >= {"code"}
    assert not [path for path in trainable if path.startswith("logits")]


def test_its_body_is_shared() -> None:
    network = models.build_model("r3d_18", 3, **TINY)
    coded = with_code(network, width=5)
    before = network.predict(clips(), verbose=0)
    layer = next(layer for layer in coded.layers if isinstance(layer, keras.layers.Conv3D))
    layer.set_weights([weight * 2 for weight in layer.get_weights()])
    assert np.abs(network.predict(clips(), verbose=0) - before).max() > 1e-6


def test_codes_of_length_one() -> None:
    coded = with_code(models.build_model("r3d_18", 3, **TINY), width=5, normalize=True)
    codes = encoder_of(coded).predict(clips(), verbose=0)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-5)


def test_codes_are_exact_under_mixed_precision() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        coded = with_code(models.build_model("r3d_18", 3, **TINY), width=5, normalize=True, standardize=True)
    finally:
        keras.config.set_dtype_policy(before)
    assert encoder_of(coded).output.dtype == "float32"
    codes = encoder_of(coded).predict(clips(), verbose=0)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-5)


def test_standardised_codes() -> None:
    """In training each number has mean 0 and variance 1 over the batch, whatever all codes have in common."""
    coded = with_code(models.build_model("r3d_18", 3, **TINY), width=5, standardize=True)
    coded.get_layer("code").set_weights([coded.get_layer("code").get_weights()[0] * 30, np.full(5, 100.0)])
    codes = keras.ops.convert_to_numpy(encoder_of(coded)(clips(6), training=True))
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(codes.std(axis=0), 1, atol=0.2)


def test_the_statistics_of_standardised_codes_keep_up_with_an_epoch() -> None:
    """An epoch of a small data set has some thirty batches; validation must not see the codes of long ago."""
    coded = with_code(models.build_model("r3d_18", 3, **TINY), width=5, standardize=True)
    layer = coded.get_layer("standard_code")
    for _ in range(30):
        layer(np.full((6, 5), 100.0, "float32"), training=True)
    assert np.abs(keras.ops.convert_to_numpy(layer.moving_mean) - 100).max() < 5


def test_a_code_of_its_own_is_kept() -> None:
    clip = keras.Input((4,), name="rgb")
    code = keras.layers.Dense(7, name="code")(clip)
    network = keras.Model(clip, keras.layers.Dense(3, name="logits")(code), name="own")
    coded = with_code(network, width=5)
    assert encoder_of(coded).output_shape == (None, 7)
    assert coded.get_layer("code") is network.get_layer("code")


def test_a_code_for_each_frame_is_refused() -> None:
    clip = keras.Input((2, 4), name="rgb")
    logits = keras.layers.Dense(3, name="logits")(clip)
    with pytest.raises(UserError, match=r"classifies \(2, 4\) per clip"):
        encoder_of(keras.Model(clip, keras.layers.GlobalAveragePooling1D()(logits), name="each"))


def test_no_classifier() -> None:
    clip = keras.Input((4,), name="rgb")
    with pytest.raises(UserError, match="no layer 'logits'"):
        encoder_of(keras.Model(clip, keras.layers.Dense(3)(clip), name="bare"))
