"""The non-local block against Wang et al. 2018, Eq. (1) to (6), written out in NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import non_local
from keras_actrec.layers.non_local import NonLocalBlock

SHAPE = (2, 3, 4, 5, 6)
INNER = 4
every_kind = pytest.mark.parametrize("kind", non_local.KINDS)
both_samplings = pytest.mark.parametrize("subsample", [False, True])


def clips(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def block(kind: str, subsample: bool = True, **options: Any) -> NonLocalBlock:
    """A built block with a random weight everywhere, moving statistics and biases included."""
    keras.utils.set_random_seed(1)
    layer = NonLocalBlock(kind, subsample, INNER, **options)
    layer.build(SHAPE)
    rng = np.random.default_rng(2)
    for weight in layer.weights:
        values = rng.normal(scale=0.5, size=weight.shape)
        weight.assign(np.abs(values) + 0.1 if weight.path.endswith("variance") else values)
    return layer


def array(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1, x.shape[-1])


def project(convolution: keras.Layer, x: np.ndarray) -> np.ndarray:
    kernel, bias = convolution.get_weights()
    return flat(x).astype("float64") @ kernel[0, 0, 0] + bias


def pooled(x: np.ndarray) -> np.ndarray:
    """The largest of each 2x2 pixels of a frame; a last odd row or column is dropped."""
    batch, frames, height, width, channels = x.shape
    x = x[:, :, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, frames, height // 2, 2, width // 2, 2, channels).max(axis=(3, 5))


def oracle_scores(layer: NonLocalBlock, x: np.ndarray) -> np.ndarray:
    """f / C, pair by pair."""
    keys = pooled(x) if layer.subsample else x
    if layer.kind == "gaussian":
        theta, phi = flat(x).astype("float64"), flat(keys)
    else:
        theta, phi = project(layer.theta, x), project(layer.phi, keys)
    if layer.kind == "concatenation":
        pairs = [[[np.concatenate([q, k]) for k in ks] for q in qs] for qs, ks in zip(theta, phi, strict=True)]
        return np.maximum(np.array(pairs) @ array(layer.w_f), 0) / phi.shape[1]
    products = np.einsum("bic,bjc->bij", theta, phi)
    if layer.kind == "dot_product":
        return products / phi.shape[1]
    products = np.exp(products / (theta.shape[-1] ** 0.5 if layer.scaled else 1))
    return products / products.sum(axis=-1, keepdims=True)


def oracle(layer: NonLocalBlock, x: np.ndarray) -> np.ndarray:
    y = oracle_scores(layer, x) @ project(layer.g, pooled(x) if layer.subsample else x)
    kernel, bias = layer.out.get_weights()
    gamma, beta, mean, variance = layer.bn.get_weights()
    normalised = (y @ kernel[0, 0, 0] + bias - mean) / np.sqrt(variance + layer.epsilon) * gamma + beta
    return x + normalised.reshape(x.shape)


@every_kind
@both_samplings
def test_numbers_are_those_of_the_formulas(kind: str, subsample: bool) -> None:
    layer, x = block(kind, subsample), clips()
    np.testing.assert_allclose(array(layer(x, training=False)), oracle(layer, x), rtol=2e-4, atol=2e-4)


@every_kind
@both_samplings
def test_scores_are_those_of_the_formulas(kind: str, subsample: bool) -> None:
    layer, x = block(kind, subsample), clips()
    outputs, scores = layer(x, training=False, return_attention_scores=True)
    np.testing.assert_allclose(array(scores), oracle_scores(layer, x), rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(array(outputs), array(layer(x, training=False)), rtol=2e-4, atol=2e-4)
    assert scores.shape == (2, 3 * 4 * 5, np.prod(layer.key_grid(SHAPE)))


@pytest.mark.parametrize("kind", non_local.SOFTMAX_KINDS)
def test_scores_of_a_softmax_sum_to_one(kind: str) -> None:
    _, scores = block(kind)(clips(), return_attention_scores=True)
    np.testing.assert_allclose(array(scores).sum(axis=-1), 1, atol=1e-5)


def test_dot_products_are_scaled_on_request() -> None:
    layer, x = block("embedded_gaussian", scaled=True), clips()
    np.testing.assert_allclose(array(layer(x, training=False)), oracle(layer, x), rtol=2e-4, atol=2e-4)
    plain = block("embedded_gaussian")
    assert not np.allclose(array(layer(x, training=False)), array(plain(x, training=False)), atol=1e-3)


@every_kind
@pytest.mark.parametrize("training", [False, True])
def test_a_new_block_is_an_identity(kind: str, training: bool) -> None:
    x = clips()
    np.testing.assert_array_equal(array(NonLocalBlock(kind)(x, training=training)), x)


@every_kind
def test_sublayers_have_the_names_of_the_paper(kind: str) -> None:
    names = {weight.path.split("/")[-2] for weight in block(kind).weights if not weight.path.endswith("w_f")}
    embeddings = set() if kind == "gaussian" else {"theta", "phi"}
    assert names == {"g", "out", "bn"} | embeddings
    # Four of a batch normalisation, two of a convolution, and w_f.
    assert len(block(kind).weights) == 4 + 2 * (2 + len(embeddings)) + (kind == "concatenation")


def test_width_inside_is_half_unless_told() -> None:
    layer = NonLocalBlock()
    layer.build(SHAPE)
    assert layer.theta.filters == 3
    assert block("embedded_gaussian").theta.filters == INNER


def test_sides_of_one_pixel_are_not_pooled() -> None:
    layer = NonLocalBlock()
    _, scores = layer(clips((2, 3, 1, 4, 6)), return_attention_scores=True)
    assert layer.key_grid((2, 3, 1, 4, 6)) == (3, 1, 2)
    assert scores.shape == (2, 12, 6)


@every_kind
def test_places_may_be_permuted(kind: str) -> None:
    """Without sub-sampling the block knows no order: reversing the frames reverses the answer."""
    layer, x = block(kind, subsample=False), clips()
    reverse = array(layer(x[:, ::-1], training=False))
    np.testing.assert_allclose(reverse[:, ::-1], array(layer(x, training=False)), rtol=1e-3, atol=1e-3)


def test_symbolic_scores_have_a_shape() -> None:
    clip = keras.Input(SHAPE[1:])
    outputs, scores = NonLocalBlock()(clip, return_attention_scores=True)
    assert outputs.shape == (None, *SHAPE[1:])
    assert scores.shape == (None, 60, 3 * 2 * 2)
    model = keras.Model(clip, [outputs, scores])
    assert array(model(clips())[1]).shape == (2, 60, 12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gausian"}, "no non-local block of kind 'gausian'. Did you mean 'gaussian'?"),
        ({"inner_width": 0}, "inner_width of a non-local block must be at least 1, got 0"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        NonLocalBlock(**options)
    assert message in str(caught.value)
