"""Self-attention against its formula, written out head by head and pair by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from attention_oracle import array, attend, randomize, scores_of

from keras_actrec.errors import UserError
from keras_actrec.layers import SelfAttention, self_attention

SHAPE = (2, 5, 6)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "wider heads": {"head_dim": 4},
    "no key bias": {"key_bias": False},
    "no bias": {"use_bias": False, "head_dim": 1},
}
every_kind = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)


def tokens(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def attention(kind: type[SelfAttention] = SelfAttention, **options: Any) -> SelfAttention:
    layer = kind(2, name="attention", **options)
    layer.build(SHAPE)
    randomize(layer)
    return layer


def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Count the calls of the fused operation."""
    calls: list[None] = []
    original = self_attention.ops.dot_product_attention

    def counted(*args: Any, **named: Any) -> Any:
        calls.append(None)
        return original(*args, **named)

    monkeypatch.setattr(self_attention.ops, "dot_product_attention", counted)
    return calls


@every_kind
def test_numbers_are_those_of_the_formula(options: dict[str, Any]) -> None:
    layer, x = attention(**options), tokens()
    expected = np.stack([attend(layer, clip) for clip in x.astype("float64")])
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-4, atol=1e-5)


@every_kind
def test_scores_are_those_of_the_formula(options: dict[str, Any]) -> None:
    layer, x = attention(**options), tokens()
    outputs, scores = layer(x, return_attention_scores=True)
    expected = np.stack([scores_of(layer, clip) for clip in x.astype("float64")])
    np.testing.assert_allclose(array(scores), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(array(scores).sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(array(outputs), array(layer(x)), rtol=1e-4, atol=1e-5)


def test_biases_are_there_as_asked() -> None:
    def biased(**options: Any) -> set[str]:
        return {weight.path.split("/")[-2] for weight in attention(**options).weights if weight.path.endswith("bias")}

    assert biased() == {"query", "key", "value", "output"}
    assert biased(key_bias=False) == {"query", "value", "output"}
    assert biased(use_bias=False) == set()


def test_a_key_bias_changes_nothing() -> None:
    """Each row of scores grows by the same number, of which a softmax takes no notice."""
    layer, x = attention(), tokens()
    before = array(layer(x))
    layer.key.bias.assign(layer.key.bias + 3.0)
    np.testing.assert_allclose(array(layer(x)), before, atol=1e-5)


def test_tokens_may_be_permuted() -> None:
    layer, x, order = attention(), tokens(), [3, 1, 4, 0, 2]
    np.testing.assert_allclose(array(layer(x[:, order])), array(layer(x))[:, order], atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_runs_fused_while_nobody_needs_the_scores(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fused_calls(monkeypatch)
    attention()(tokens(), training=training)
    assert len(calls) == 1
    attention()(tokens(), training=training, return_attention_scores=True)
    assert len(calls) == 1


def test_dropout_needs_the_scores_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fused_calls(monkeypatch)
    layer, x = attention(dropout=0.5), tokens()
    layer(x, training=True)
    assert not calls
    np.testing.assert_allclose(array(layer(x, training=False)), array(attention()(x)), atol=1e-6)
    assert len(calls) == 2


def test_dropout_drops_weights_and_not_tokens() -> None:
    """With the identity for values and output, each number is a sum of the weights that stay, doubled."""
    layer = SelfAttention(1, dropout=0.5)
    layer.build((None, 6, 6))
    for dense in (layer.value, layer.output_projection):
        dense.set_weights([np.eye(6), np.zeros(6)])
    x = np.repeat(np.eye(6, dtype="float32")[None], 50, axis=0)
    _, scores = layer(x, training=False, return_attention_scores=True)
    ratio = array(layer(x, training=True)) / array(scores)[:, 0]
    assert set(np.unique(ratio.round(4))) == {0.0, 2.0}
    assert 0.4 < (ratio > 1).mean() < 0.6


class Biased(SelfAttention):
    """Adds the sum of a query's first two numbers, times the distance of the tokens."""

    def score_bias(self, query: Any) -> Any:
        distance = np.abs(np.arange(5)[:, None] - np.arange(5)[None]).astype("float32")
        first = keras.ops.sum(query[..., :2], axis=-1)
        return keras.ops.transpose(first, (0, 2, 1))[..., None] * keras.ops.convert_to_tensor(distance)


class LooksBack(SelfAttention):
    """Lets no token see a later one."""

    def keep(self, scores: Any) -> Any:
        return keras.ops.where(np.tril(np.ones((5, 5), bool)), scores, -1e9)


def test_a_subclass_may_add_to_the_scaled_scores() -> None:
    layer, x = attention(Biased, head_dim=2), tokens()
    outputs, scores = layer(x, return_attention_scores=True)
    np.testing.assert_allclose(array(outputs), array(layer(x)), rtol=1e-4, atol=1e-5)
    query = array(layer.query(x)).reshape(2, 5, 2, 2)
    for clip in range(2):
        for head in range(2):
            sums = query[clip, :, head].sum(axis=-1)
            expected = scores_of(layer, x[clip].astype("float64"), lambda e, i, j, s=sums: e + s[i] * abs(i - j))[head]
            np.testing.assert_allclose(array(scores)[clip, head], expected, rtol=1e-3, atol=1e-5)


def test_a_subclass_may_choose_the_keys_that_count() -> None:
    layer, x = attention(LooksBack), tokens()
    outputs, scores = layer(x, return_attention_scores=True)
    assert not np.triu(array(scores), k=1).any()
    expected = attend(layer, x[0].astype("float64"), lambda e, i, j: e if j <= i else -1e9)
    np.testing.assert_allclose(array(outputs)[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(layer(x)), array(outputs), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
@pytest.mark.parametrize("with_scores", [False, True])
def test_half_precision_is_near(policy: str, with_scores: bool) -> None:
    exact, x = attention(), tokens()
    half = SelfAttention(2, dtype=policy)
    half.build(SHAPE)
    half.set_weights(exact.get_weights())
    outputs = half(x, return_attention_scores=with_scores)
    outputs = outputs[0] if with_scores else outputs
    assert keras.backend.standardize_dtype(outputs.dtype) == policy.removeprefix("mixed_")
    np.testing.assert_allclose(array(outputs), array(exact(x)), atol=0.03 if "bfloat16" in policy else 0.004)


def test_scores_far_apart_stay_finite_in_half_precision() -> None:
    half = SelfAttention(2, dtype="mixed_float16")
    half.build(SHAPE)
    randomize(half, scale=4.0)
    outputs, scores = half(tokens() * 3, return_attention_scores=True)
    assert np.isfinite(array(scores)).all()
    assert np.isfinite(array(outputs)).all()


def test_symbolic_scores_have_a_shape(tmp_path: Path) -> None:
    inputs = keras.Input(SHAPE[1:])
    outputs, scores = attention()(inputs, return_attention_scores=True)
    assert (outputs.shape, scores.shape) == ((None, 5, 6), (None, 2, 5, 5))
    model = keras.Model(inputs, [outputs, scores])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(again(tokens()), model(tokens()), strict=True):
        np.testing.assert_array_equal(array(one), array(other))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 0}, "num_heads of self-attention must be at least 1, got 0."),
        ({"num_heads": 2, "head_dim": 0}, "head_dim of self-attention must be at least 1, got 0."),
        ({"num_heads": 4}, "a width of 6 cannot be shared by 4 heads; choose a divisor of it."),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        SelfAttention(**options).build(SHAPE)
    assert str(caught.value) == message
