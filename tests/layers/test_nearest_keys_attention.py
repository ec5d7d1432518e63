"""k-NN attention against its definition, written out query by query in NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import NearestKeysAttention, SelfAttention

SHAPE = (2, 10, 6)
HEADS, WIDTH = 2, 4


def tokens(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def built(layer: keras.Layer) -> Any:
    layer.build(SHAPE)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    return layer


def made(keys_kept: float | int) -> NearestKeysAttention:
    return built(NearestKeysAttention(HEADS, keys_kept=keys_kept, head_dim=WIDTH))


def array(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def project(layer: keras.Layer, x: np.ndarray) -> np.ndarray:
    kernel, bias = layer.get_weights()
    return x.astype("float64") @ kernel + bias


def oracle(layer: NearestKeysAttention, x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Each query of each head: sort the keys, keep the first, softmax, weighted sum."""
    query, key, value = (project(sub, x) for sub in (layer.query, layer.key, layer.value))
    weights = np.zeros((len(x), HEADS, x.shape[1], x.shape[1]))
    gathered = np.zeros((len(x), x.shape[1], HEADS * WIDTH))
    for clip, head, one in np.ndindex(len(x), HEADS, x.shape[1]):
        part = slice(head * WIDTH, (head + 1) * WIDTH)
        scores = key[clip, :, part] @ query[clip, one, part] / WIDTH**0.5
        nearest = sorted(range(x.shape[1]), key=lambda index: -scores[index])[:count]
        raised = {index: np.exp(scores[index] - max(scores)) for index in nearest}
        for index in nearest:
            weights[clip, head, one, index] = raised[index] / sum(raised.values())
        gathered[clip, one, part] = weights[clip, head, one] @ value[clip, :, part]
    return project(layer.output_projection, gathered), weights


@pytest.mark.parametrize(("keys_kept", "count"), [(0.7, 7), (0.25, 2), (3, 3), (1, 1), (0.01, 1), (1.0, 10), (99, 10)])
def test_numbers_are_those_of_the_definition(keys_kept: float | int, count: int) -> None:
    layer, x = made(keys_kept), tokens()
    assert layer.count_kept(10) == count
    outputs, scores = layer(x, return_attention_scores=True)
    expected, weights = oracle(layer, x, count)
    np.testing.assert_allclose(array(scores), weights, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(array(outputs), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-3, atol=1e-3)
    assert ((array(scores) > 0).sum(axis=-1) == count).all()


@pytest.mark.parametrize("keys_kept", [1.0, 10])
def test_all_keys_kept_is_plain_attention(keys_kept: float | int) -> None:
    plain = built(SelfAttention(HEADS, WIDTH))
    np.testing.assert_allclose(array(made(keys_kept)(tokens())), array(plain(tokens())), rtol=1e-4, atol=1e-4)


def test_a_share_is_rounded_down_whatever_its_binary_form() -> None:
    assert [made(share).count_kept(keys) for share, keys in ((0.29, 100), (0.7, 49), (0.7, 196), (0.7, 10))] == [
        29,
        34,
        137,
        7,
    ]


def test_equal_scores_all_count() -> None:
    """Four equal tokens and one other: of the four neither is nearer than the rest."""
    layer = NearestKeysAttention(1, keys_kept=2, head_dim=WIDTH)
    layer.build((1, 5, 6))
    scores = np.array([[[[3.0, 1.0, 1.0, 1.0, 0.0]]]], "float32")
    kept = array(layer.keep(keras.ops.convert_to_tensor(scores)))
    np.testing.assert_array_equal(kept > -1e6, [[[[True, True, True, True, False]]]])
    equal = np.ones((1, 5, 6), "float32")
    _, weights = layer(equal, return_attention_scores=True)
    np.testing.assert_allclose(array(weights), 0.2, atol=1e-6)


def test_tokens_may_be_permuted() -> None:
    layer, x = made(0.5), tokens()
    order = np.random.default_rng(3).permutation(10)
    np.testing.assert_allclose(array(layer(x[:, order])), array(layer(x))[:, order], rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_kept_keys_alone() -> None:
    """The last token's key is the smallest score of every query: its value gets no gradient, others' do."""

    class Scores(keras.layers.Layer):
        """The kept scores of one row, which are weights here."""

        def build(self, input_shape: Any) -> None:
            self.row = self.add_weight(name="row", shape=(5,), initializer="zeros")
            self.row.assign([0.5, 2.0, 1.0, -1.0, 1.5])

        def call(self, inputs: Any) -> Any:
            scores = keras.ops.reshape(keras.ops.convert_to_tensor(self.row), (1, 1, 1, 5))
            weights = keras.ops.softmax(attention.keep(scores), axis=-1)
            return inputs * keras.ops.sum(weights[0, 0, 0] * keras.ops.arange(5, dtype="float32"))

    attention = NearestKeysAttention(1, keys_kept=3)
    number = keras.Input((1,))
    layer = Scores()
    model = keras.Model(number, layer(number))
    before = array(layer.row)
    model.compile(keras.optimizers.SGD(1.0), lambda _, y: keras.ops.mean(y), jit_compile=False)
    model.train_on_batch(np.ones((1, 1), "float32"), np.zeros((1, 1), "float32"))
    weights = np.exp([2.0, 1.0, 1.5]) / np.exp([2.0, 1.0, 1.5]).sum()
    places = np.array([1, 2, 4])
    expected = np.zeros(5)
    expected[places] = weights * (places - weights @ places)
    np.testing.assert_allclose(before - array(layer.row), expected, rtol=1e-4, atol=1e-6)


def test_half_precision_keeps_as_many() -> None:
    """In half precision too the scores are compared as float32."""
    layer = NearestKeysAttention(HEADS, keys_kept=0.5, head_dim=WIDTH, dtype="mixed_bfloat16")
    built(layer)
    _, weights = layer(tokens(), return_attention_scores=True)
    kept = (array(keras.ops.cast(weights, "float32")) > 0).sum(axis=-1)
    assert (kept >= 5).all() and (kept < 10).all()


@pytest.mark.parametrize("keys_kept", [0, 0.0, -1, 1.5])
def test_mistakes(keys_kept: float | int) -> None:
    with pytest.raises(UserError, match="keys_kept is a share in"):
        NearestKeysAttention(HEADS, keys_kept=keys_kept)
