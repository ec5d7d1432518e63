"""Attention with relative positions against RPE-STDT, Eq. 3.7, written out in NumPy, pair by pair."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import RelativePositionAttention, SelfAttention

GRID, WIDTH, HEADS = (3, 4), 6, 2
SHAPE = (2, 1 + 12, WIDTH)
both = pytest.mark.parametrize("share_heads", [True, False])


def array(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def tokens(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def layer(share_heads: bool = True, shape: tuple[int, ...] = SHAPE, **options: Any) -> RelativePositionAttention:
    """A built layer with a random weight everywhere."""
    made = RelativePositionAttention(HEADS, **{"grid": GRID, "reach": 2, "share_heads": share_heads} | options)
    made.build(shape)
    rng = np.random.default_rng(1)
    for weight in made.weights:
        weight.assign(rng.normal(scale=0.7, size=weight.shape))
    return made


def oracle(made: RelativePositionAttention, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and scores."""
    (q, k, v), n = (project(part, x) for part in (made.query, made.key, made.value)), x.shape[1]
    d, index, clusters = q.shape[-1], made.cluster_index(), array(made.clusters)
    scores = np.zeros((len(x), HEADS, n, n))
    for b, h, i, j in np.ndindex(scores.shape):
        p = clusters[index[i, j]] if made.share_heads else clusters[h, index[i, j]]
        scores[b, h, i, j] = (q[b, i, h] @ k[b, j, h] + q[b, i, h] @ p) / d**0.5
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    attended = np.stack(
        [[[scores[b, h, i] @ v[b, :, h] for h in range(HEADS)] for i in range(n)] for b in range(len(x))]
    )
    kernel, bias = made.output_projection.get_weights()
    return attended.reshape(len(x), n, -1) @ kernel + bias, scores


def project(part: keras.layers.Dense, x: np.ndarray) -> np.ndarray:
    kernel, bias = part.get_weights()
    return (x.astype("float64") @ kernel + bias).reshape(*x.shape[:2], HEADS, -1)


@both
@pytest.mark.parametrize("mapping", ["sectioned", "clip"])
@pytest.mark.parametrize("head_dim", [None, 5])
def test_numbers_are_those_of_the_formula(share_heads: bool, mapping: str, head_dim: int | None) -> None:
    made, x = layer(share_heads, mapping=mapping, head_dim=head_dim), tokens()
    outputs, scores = oracle(made, x)
    np.testing.assert_allclose(array(made(x)), outputs, atol=2e-5)
    again, found = made(x, return_attention_scores=True)
    np.testing.assert_allclose(array(again), outputs, atol=2e-5)
    np.testing.assert_allclose(array(found), scores, atol=2e-6)


@both
def test_numbers_over_time_and_without_a_class_token(share_heads: bool) -> None:
    made, x = layer(share_heads, (2, 7, WIDTH), grid=(7,), class_token=False), tokens((2, 7, WIDTH))
    np.testing.assert_allclose(array(made(x)), oracle(made, x)[0], atol=2e-5)


def test_one_cluster_of_each_head_or_of_all() -> None:
    """(2 y + 1)^2 = 25 and one for the class token, 3 wide."""
    assert layer(True).clusters.shape == (26, 3)
    assert layer(False).clusters.shape == (2, 26, 3)
    assert RelativePositionAttention(2, (14, 14)).number_of_clusters == 50


def test_heads_that_hold_the_same_vectors_are_heads_that_share_them() -> None:
    shared, own, x = layer(True), layer(False), tokens()
    own.set_weights([np.broadcast_to(w, v.shape) for w, v in zip(shared.get_weights(), own.get_weights(), strict=True)])
    np.testing.assert_allclose(array(own(x)), array(shared(x)), atol=1e-6)


def test_without_vectors_it_is_plain_self_attention() -> None:
    made, x = layer(), tokens()
    made.clusters.assign(np.zeros(made.clusters.shape))
    plain = SelfAttention(HEADS)
    plain.build(SHAPE)
    plain.set_weights([weight for weight in made.get_weights() if weight.shape != made.clusters.shape])
    np.testing.assert_allclose(array(made(x)), array(plain(x)), atol=1e-6)


def test_places_may_be_moved_but_not_permuted() -> None:
    """What it is for. A whole turn of the tokens is seen, as long as distances are not what they were."""
    x = tokens((2, 6, WIDTH))
    order = np.array([3, 0, 5, 1, 4, 2])
    plain, relative = SelfAttention(HEADS), layer(shape=x.shape, grid=(6,), class_token=False)
    np.testing.assert_allclose(array(plain(x[:, order])), array(plain(x))[:, order], atol=1e-5)
    assert np.abs(array(relative(x[:, order])) - array(relative(x))[:, order]).max() > 1e-2


def test_distances_alone_count() -> None:
    """A token and its neighbours give the same scores wherever they stand, up to the softmax's sum."""
    made = layer(shape=(1, 6, WIDTH), grid=(6,), class_token=False)
    x = np.repeat(tokens((1, 1, WIDTH)), 6, axis=1)
    scores = np.log(array(made(x, return_attention_scores=True)[1]))
    np.testing.assert_allclose(np.diff(scores[0, :, 2, 0:4]), np.diff(scores[0, :, 3, 1:5]), atol=1e-4)


def test_along_one_axis_there_may_be_fewer_tokens() -> None:
    """They are then the first ones: what is left of frames after pooling is counted anew."""
    long, short = (layer(shape=(2, 1 + frames, WIDTH), grid=(frames,)) for frames in (6, 4))
    x = tokens((2, 5, WIDTH))
    np.testing.assert_allclose(array(long(x)), array(short(x)), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 12, 6), (2, 14, 6), (2, 5, 6)])
def test_as_many_tokens_as_the_grid_has(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=f"3 x 4 and a class token makes 13 tokens, got {shape[1]}"):
        layer(shape=shape)


def test_mistakes() -> None:
    with pytest.raises(UserError, match="Did you mean 'clip'"):
        RelativePositionAttention(2, (2, 2), mapping="clipp")


def test_gradients_of_the_clusters_are_those_of_finite_differences() -> None:
    made, x = layer(), tokens((1, 13, WIDTH))
    inputs = keras.Input(SHAPE[1:])
    model = keras.Model(inputs, made(inputs))
    model.compile(keras.optimizers.SGD(1.0), loss="mse")
    target = np.zeros((1, 13, WIDTH), "float32")
    before = array(made.clusters)

    def loss(clusters: np.ndarray) -> float:
        made.clusters.assign(clusters)
        return float(np.square(array(made(x)).astype("float64")).mean())

    numeric = np.zeros_like(before)
    for place in np.ndindex(before.shape):
        step = np.zeros_like(before)
        step[place] = 1e-2
        numeric[place] = (loss(before + step) - loss(before - step)) / 2e-2
    made.clusters.assign(before)
    model.train_on_batch(x, target)
    np.testing.assert_allclose(before - array(made.clusters), numeric, atol=2e-4)
    assert np.abs(numeric).max() > 1e-2
