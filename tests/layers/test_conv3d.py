"""The folded 3-D convolution has Keras' arguments, weights and numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec import layers
from keras_actrec.layers import conv3d

SHAPE = (2, 5, 6, 7, 4)


@pytest.fixture(autouse=True, params=[True, False], ids=["folded", "plain"])
def folding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways of computing, whatever this backend's own is."""
    backends = frozenset({keras.backend.backend()} if request.param else ())
    monkeypatch.setattr(conv3d, "FASTER_ON", backends)
    return request.param


def compare(*arguments: Any, shape: tuple[int, ...] = SHAPE, **options: Any) -> None:
    """Check outputs and announced shapes of both layers with the same weights."""
    theirs, ours = keras.layers.Conv3D(*arguments, **options), layers.Conv3D(*arguments, **options)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    expected = keras.ops.convert_to_numpy(theirs(x))
    ours.build(shape)
    assert [weight.shape for weight in ours.weights] == [weight.shape for weight in theirs.weights]
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ours(x)), expected, rtol=1e-4, atol=1e-5)
    clip = keras.Input(shape[1:])
    assert ours(clip).shape == theirs(clip).shape == (None, *expected.shape[1:])


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 3)])
@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (3, 1, 1), (2, 1, 1), (3, 3, 3), (1, 2, 3)])
def test_numbers_are_those_of_keras(kernel: tuple[int, ...], strides: tuple[int, ...], padding: str) -> None:
    compare(3, kernel, strides, padding, bias_initializer="ones", activation="relu")


@pytest.mark.parametrize("options", [{"dilation_rate": (1, 2, 2)}, {"dilation_rate": (2, 1, 1)}, {"use_bias": False}])
def test_other_options_are_those_of_keras(options: dict[str, Any]) -> None:
    compare(6, (1, 3, 3), **options)
    compare(6, (3, 1, 1), **options)


def test_kernels_of_one_frame_or_one_pixel_are_folded(folding: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = []
    original = keras.ops.conv

    def spy(x: Any, *arguments: Any, **named: Any) -> Any:
        ranks.append(len(x.shape))
        return original(x, *arguments, **named)

    monkeypatch.setattr(conv3d.ops, "conv", spy)
    monkeypatch.setattr("keras.src.layers.convolutional.base_conv.ops.conv", spy)
    x = np.ones(SHAPE, "float32")
    for size in ((1, 3, 3), (3, 1, 1), (3, 3, 3)):
        layer = layers.Conv3D(3, size)
        layer.build(SHAPE)
        layer.convolution_op(x, layer.kernel)
    assert ranks == ([4, 4, 5] if folding else [5, 5, 5])


def test_files_of_keras_s_layer_are_read(tmp_path: Any) -> None:
    """The weights are Keras' own, so a checkpoint fits either layer."""
    clip = keras.Input(SHAPE[1:])
    theirs = keras.Model(clip, keras.layers.Conv3D(3, (3, 1, 1), name="c")(clip))
    ours = keras.Model(clip, layers.Conv3D(3, (3, 1, 1), name="c")(clip))
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    np.testing.assert_array_equal(ours.get_weights()[0], theirs.get_weights()[0])
