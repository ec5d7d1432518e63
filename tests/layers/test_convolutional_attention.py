"""Attention with convolutional mappings against CTN's Eq. (4.6), written out in loops over NumPy arrays."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import ConvolutionalAttention, SelfAttention

GRID, WIDTH, HEADS = (2, 3, 4), 6, 2
PLACES = 2 * 3 * 4


def tokens(aside: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, aside + PLACES, WIDTH)).astype("float32")


def attention(x: np.ndarray, kernel_size: int = 3, **options: Any) -> ConvolutionalAttention:
    """A built layer with a random weight everywhere, moving statistics and biases included."""
    layer = ConvolutionalAttention(HEADS, GRID, kernel_size, **options)
    layer.build(x.shape)
    rng = np.random.default_rng(2)
    for weight in layer.weights:
        values = rng.normal(scale=0.5, size=weight.shape)
        weight.assign(np.abs(values) + 0.1 if weight.path.endswith("variance") else values)
    return layer


def array(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def depthwise(maps: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve (B, T, H, W, D), zeros outside: place by place, each channel and each step of time by itself."""
    size = len(kernel)
    _, _, height, width, _ = maps.shape
    out = np.zeros_like(maps, dtype="float64")
    for row in range(height):
        for column in range(width):
            for i in range(size):
                for j in range(size):
                    y, x = row + i - size // 2, column + j - size // 2
                    if 0 <= y < height and 0 <= x < width:
                        out[:, :, row, column] += maps[:, :, y, x] * kernel[i, j, :, 0]
    return out


def mapped(layer: ConvolutionalAttention, name: str, x: np.ndarray) -> np.ndarray:
    """Queries, keys or values, (B, N, D)."""
    aside = x.shape[1] - PLACES
    maps = depthwise(x[:, aside:].reshape(-1, *GRID, WIDTH), array(getattr(layer, f"{name}_depthwise").kernel))
    if layer.batch_norm:
        gamma, beta, mean, variance = getattr(layer, f"{name}_norm").get_weights()
        maps = (maps - mean) / np.sqrt(variance + layer.epsilon) * gamma + beta
    kernel, bias = getattr(layer, name).get_weights()
    return np.concatenate([x[:, :aside], maps.reshape(len(x), PLACES, WIDTH)], axis=1) @ kernel + bias


def oracle(layer: ConvolutionalAttention, x: np.ndarray) -> np.ndarray:
    query, key, value = (mapped(layer, name, x) for name in ("query", "key", "value"))
    attended = np.zeros(x.shape)
    depth = WIDTH // HEADS
    for head in range(HEADS):
        part = slice(head * depth, (head + 1) * depth)
        for clip in range(len(x)):
            scores = np.exp(query[clip, :, part] @ key[clip, :, part].T / np.sqrt(depth))
            attended[clip, :, part] = scores / scores.sum(axis=1, keepdims=True) @ value[clip, :, part]
    kernel, bias = layer.output_projection.get_weights()
    return attended @ kernel + bias


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("aside", [0, 1, 2])
def test_numbers_are_those_of_the_formulas(kernel_size: int, batch_norm: bool, aside: int) -> None:
    x = tokens(aside)
    layer = attention(x, kernel_size, batch_norm=batch_norm)
    np.testing.assert_allclose(array(layer(x, training=False)), oracle(layer, x), rtol=2e-4, atol=2e-4)


def test_scores_are_returned_and_do_not_change_the_output() -> None:
    x = tokens()
    layer = attention(x)
    outputs, scores = layer(x, training=False, return_attention_scores=True)
    assert scores.shape == (2, HEADS, 1 + PLACES, 1 + PLACES)
    np.testing.assert_allclose(array(scores).sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(array(outputs), oracle(layer, x), rtol=2e-4, atol=2e-4)


def test_kernels_that_pick_the_middle_make_it_plain_self_attention() -> None:
    x = tokens()
    layer, plain = attention(x, batch_norm=False), SelfAttention(HEADS)
    plain.build(x.shape)
    for name in ("query", "key", "value"):
        middle = np.zeros((3, 3, WIDTH, 1))
        middle[1, 1] = 1
        getattr(layer, f"{name}_depthwise").kernel.assign(middle)
        getattr(plain, name).set_weights(getattr(layer, name).get_weights())
    plain.output_projection.set_weights(layer.output_projection.get_weights())
    np.testing.assert_allclose(array(layer(x)), array(plain(x)), rtol=1e-4, atol=1e-5)


def test_a_token_reaches_its_neighbours_on_the_map_and_no_other_step_of_time() -> None:
    """Among queries: of the second step's place (1, 1), all but the last column of its map, the class token nothing."""
    x = tokens()
    layer = attention(x)
    changed = x.copy()
    changed[:, 1 + 12 + 1 * 4 + 1] += 1
    before, after = (array(layer.project(values, training=False)[0]) for values in (x, changed))
    touched = np.abs(after - before).max(axis=(0, 2)) > 1e-6
    expected = np.zeros((2, 3, 4), bool)
    expected[1, :, :3] = True
    assert not touched[0]
    np.testing.assert_array_equal(touched[1:].reshape(2, 3, 4), expected)


def test_in_training_the_statistics_are_those_of_the_batch_and_are_remembered() -> None:
    x = tokens()
    layer = attention(x, momentum=0.75)
    mean_before = array(layer.key_norm.moving_mean)
    convolved = depthwise(x[:, 1:].reshape(-1, *GRID, WIDTH), array(layer.key_depthwise.kernel)).reshape(-1, WIDTH)
    _, key, _ = layer.project(x, training=True)
    normal = (convolved - convolved.mean(axis=0)) / np.sqrt(convolved.var(axis=0) + layer.epsilon)
    gamma, beta = layer.key_norm.get_weights()[:2]
    kernel, bias = layer.key.get_weights()
    expected = (normal * gamma + beta) @ kernel + bias
    np.testing.assert_allclose(array(key)[:, 1:].reshape(-1, WIDTH), expected, rtol=1e-3, atol=1e-3)
    remembered = 0.75 * mean_before + 0.25 * convolved.mean(axis=0)
    np.testing.assert_allclose(array(layer.key_norm.moving_mean), remembered, rtol=1e-4, atol=1e-4)


def test_in_a_new_layer_the_depth_wise_convolution_keeps_the_variance() -> None:
    keras.utils.set_random_seed(0)
    layer = ConvolutionalAttention(2, (1, 16, 16), 3, batch_norm=False)
    x = np.random.default_rng(0).normal(size=(4, 256, 64)).astype("float32")
    layer.build(x.shape)
    inner = array(layer.query_depthwise(x.reshape(4, 16, 16, 64)))[:, 1:-1, 1:-1]
    assert inner.var() == pytest.approx(1, rel=0.2)


def test_number_of_weights() -> None:
    """Per mapping: nine weights a channel, and the four of a batch normalisation, more than plain self-attention."""
    x = tokens()
    plain = SelfAttention(HEADS)
    plain.build(x.shape)
    assert attention(x).count_params() == plain.count_params() + 3 * (9 + 4) * WIDTH
    assert attention(x, 5, batch_norm=False).count_params() == plain.count_params() + 3 * 25 * WIDTH


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (2, 3)}, "expected T, H and W"),
        ({"grid": (0, 3, 4)}, "each at least 1"),
        ({"kernel_size": 4}, "must be odd, such as 3 or 5; got 4"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ConvolutionalAttention(**{"num_heads": 2, "grid": GRID} | options)


def test_too_few_tokens_for_the_grid() -> None:
    with pytest.raises(UserError, match="got 23 tokens"):
        ConvolutionalAttention(HEADS, GRID).build((None, PLACES - 1, WIDTH))
