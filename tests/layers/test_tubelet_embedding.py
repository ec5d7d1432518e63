"""Tubelet embedding against a 3-D convolution, and box by box."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import TubeletEmbedding

SHAPE = (2, 4, 6, 9, 2)
WIDTH = 5
every_tubelet = pytest.mark.parametrize("tubelet", [(2, 3, 3), (1, 2, 3), (4, 6, 9)])


def clips(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def embedding(tubelet: tuple[int, int, int]) -> TubeletEmbedding:
    layer, rng = TubeletEmbedding(WIDTH, tubelet), np.random.default_rng(1)
    layer.build(SHAPE)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    return layer


@every_tubelet
def test_each_token_is_a_sum_over_its_box(tubelet: tuple[int, int, int]) -> None:
    layer, x = embedding(tubelet), clips()
    kernel, bias = layer.get_weights()
    found = keras.ops.convert_to_numpy(layer(x))
    (t, p, q), grid = tubelet, tuple(size // part for size, part in zip(SHAPE[1:4], tubelet, strict=True))
    assert found.shape == (2, *grid, WIDTH)
    for clip, frame, row, column in np.ndindex(2, *grid):
        box = x[clip, frame * t : frame * t + t, row * p : row * p + p, column * q : column * q + q]
        expected = bias.astype("float64")
        for place in np.ndindex(box.shape):
            expected = expected + box[place] * kernel[place].astype("float64")
        np.testing.assert_allclose(found[clip, frame, row, column], expected, rtol=1e-4, atol=1e-4)


@every_tubelet
def test_equals_a_convolution_whose_stride_is_its_kernel(tubelet: tuple[int, int, int]) -> None:
    layer, x = embedding(tubelet), clips()
    convolution = keras.layers.Conv3D(WIDTH, tubelet, strides=tubelet)
    convolution.build(SHAPE)
    convolution.set_weights(layer.get_weights())
    expected = keras.ops.convert_to_numpy(convolution(x))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), expected, rtol=1e-4, atol=1e-4)


def test_a_pixel_reaches_its_own_token_alone() -> None:
    layer, x = embedding((2, 3, 3)), clips()
    changed = x.copy()
    changed[0, 3, 4, 7, 1] += 1
    moved = np.abs(keras.ops.convert_to_numpy(layer(changed)) - keras.ops.convert_to_numpy(layer(x))).max(axis=-1)
    assert {tuple(map(int, place)) for place in np.argwhere(moved > 1e-4)} == {(0, 1, 1, 2)}


@pytest.mark.parametrize(
    ("tubelet", "message"),
    [
        ((3, 3, 3), "the clip's frames, 4, must be a multiple of the tubelet's, 3."),
        ((2, 4, 3), "the clip's height, 6, must be a multiple of the tubelet's, 4."),
        ((2, 3, 2), "the clip's width, 9, must be a multiple of the tubelet's, 2."),
    ],
)
def test_a_clip_must_be_whole_boxes(tubelet: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        TubeletEmbedding(WIDTH, tubelet)(clips())
    assert str(caught.value) == message


@pytest.mark.parametrize(("width", "tubelet"), [(0, (1, 2, 2)), (3, (0, 2, 2)), (3, (2, 2))])
def test_sizes_must_be_positive(width: int, tubelet: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="a width and three sizes of at least 1"):
        TubeletEmbedding(width, tubelet)
