"""The multi-scale temporal encoder against its formula, with each layer of the Transformer written out in NumPy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import MultiScaleTemporalEncoder, TransformerBlock

SHAPE = (2, 8, 6)
OPTIONS = {"depth": 2, "num_heads": 2, "head_dim": 4, "dense_dim": 5}


def clips(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def made(**options: Any) -> MultiScaleTemporalEncoder:
    layer = MultiScaleTemporalEncoder(**OPTIONS | options)
    layer.build(SHAPE)
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    return layer


def array(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def dense(layer: keras.Layer, x: np.ndarray) -> np.ndarray:
    kernel, bias = layer.get_weights()
    return x @ kernel + bias


def normalised(layer: keras.Layer, x: np.ndarray) -> np.ndarray:
    gamma, beta = layer.get_weights()
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6) * gamma + beta


def attended(layer: Any, x: np.ndarray) -> np.ndarray:
    query, key, value = (dense(sub, x) for sub in (layer.query, layer.key, layer.value))
    gathered = np.zeros_like(query)
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = np.exp(query[:, part] @ key[:, part].T / 2)
        gathered[:, part] = scores / scores.sum(axis=-1, keepdims=True) @ value[:, part]
    return dense(layer.output_projection, gathered)


def transformer(blocks: list[TransformerBlock], x: np.ndarray) -> np.ndarray:
    """One sequence (T, D)."""
    for block in blocks:
        x = x + attended(block.attention, normalised(block.attention_norm, x))
        hidden = dense(block.expand, normalised(block.dense_norm, x))
        gelu = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / 2**0.5))
        x = x + dense(block.project, gelu)
    return x


def position(frames: int, width: int) -> np.ndarray:
    """Eq. 2.9 and 2.10."""
    table = np.zeros((frames, width))
    for pos, index in np.ndindex(frames, width):
        angle = pos / 10000 ** (2 * (index // 2) / width)
        table[pos, index] = math.sin(angle) if index % 2 == 0 else math.cos(angle)
    return table


def oracle(layer: MultiScaleTemporalEncoder, x: np.ndarray) -> np.ndarray:
    results = np.zeros(x.shape)
    for clip, sequence in enumerate(x.astype("float64")):
        for number, scale in enumerate(layer.scales):
            blocks = layer.blocks if layer.shared else layer.blocks[2 * number : 2 * number + 2]
            coarse = np.array([sequence[start : start + scale].mean(axis=0) for start in range(0, len(x[0]), scale)])
            encoded = transformer(blocks, coarse + position(*coarse.shape))
            for frame in range(len(sequence)):
                results[clip, frame] += encoded[frame // scale] / len(layer.scales)
    return results


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("scales", [(1,), (1, 2, 4), (8, 2)])
def test_numbers_are_those_of_the_formula(scales: tuple[int, ...], shared: bool) -> None:
    layer, x = made(scales=scales, shared=shared), clips()
    np.testing.assert_allclose(array(layer(x, training=False)), oracle(layer, x), rtol=1e-3, atol=1e-3)


def test_sharing_saves_the_weights_of_every_other_scale() -> None:
    one, shared, apart = made(scales=(1,)), made(), made(shared=False)
    assert shared.count_params() == one.count_params()
    assert apart.count_params() == 3 * one.count_params()
    assert [block.name for block in shared.blocks] == ["block1", "block2"]
    assert [block.name for block in apart.blocks][2:4] == ["scale2_block1", "scale2_block2"]


def test_equal_weights_apart_are_as_good_as_shared() -> None:
    shared, apart = made(), made(shared=False)
    for index, block in enumerate(apart.blocks):
        block.set_weights(shared.blocks[index % 2].get_weights())
    np.testing.assert_allclose(array(apart(clips())), array(shared(clips())), rtol=1e-5, atol=1e-5)


def test_a_coarse_scale_sees_no_order_within_its_steps() -> None:
    """Swapping the two frames of each pair changes what scale 1 says, not what scale 2 does."""
    swapped = clips().reshape(2, 4, 2, 6)[:, :, ::-1].reshape(SHAPE)
    coarse, fine = made(scales=(2,)), made(scales=(1,))
    np.testing.assert_allclose(array(coarse(swapped)), array(coarse(clips())), rtol=1e-4, atol=1e-4)
    assert not np.allclose(array(fine(swapped)), array(fine(clips())), atol=0.1)


def test_every_scale_sees_the_order_of_its_steps() -> None:
    layer, x = made(scales=(4,)), clips()
    reverse = array(layer(x[:, ::-1]))[:, ::-1]
    assert not np.allclose(reverse, array(layer(x)), atol=0.05)


@pytest.mark.parametrize("shared", [True, False])
def test_all_weights_are_in_the_file(shared: bool, tmp_path: Path) -> None:
    sequence = keras.Input(SHAPE[1:])
    layer = MultiScaleTemporalEncoder(**OPTIONS, shared=shared)
    model = keras.Model(sequence, layer(sequence))
    for weight in model.weights:
        weight.assign(np.random.default_rng(5).normal(size=weight.shape))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_rematerialised_layers_learn_alike() -> None:
    weights = []
    for rematerialize in (False, True):
        keras.utils.set_random_seed(0)
        sequence = keras.Input(SHAPE[1:])
        layer = MultiScaleTemporalEncoder(**OPTIONS | {"depth": 1}, scales=(2,), rematerialize=rematerialize)
        model = keras.Model(sequence, layer(sequence))
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        model.train_on_batch(clips(), clips())
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth of a temporal encoder must be at least 1, got 0"),
        ({"scales": ()}, "scales of a temporal encoder are different numbers"),
        ({"scales": (2, 2)}, "scales of a temporal encoder are different numbers"),
        ({"scales": (1, 3)}, "8 frames cannot be cut into sequences by the scales [1, 3]"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        made(**options)
    assert message in str(caught.value)
