"""The encoder layer against NumPy, and what its mask hides."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import TransformerEncoder

RNG = np.random.default_rng(0)


def numpy(x: object) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def layer_norm(x: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + epsilon) * scale + shift


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def oracle(x: np.ndarray, weights: dict[str, np.ndarray], epsilon: float) -> np.ndarray:
    """Eq. (9) to (11) for each head, then residuals and normalisations, in float64."""
    heads = []
    for head in range(weights["attention/query/kernel"].shape[1]):
        query, key, value = (
            x @ weights[f"attention/{name}/kernel"][:, head] + weights[f"attention/{name}/bias"][head]
            for name in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(shares / shares.sum(-1, keepdims=True) @ value)
    output = weights["attention/attention_output/kernel"]
    attended = np.concatenate(heads, axis=-1) @ output.reshape(-1, output.shape[-1])
    attended += weights["attention/attention_output/bias"]
    a = layer_norm(x + attended, weights["attention_norm/gamma"], weights["attention_norm/beta"], epsilon)
    expanded = gelu(a @ weights["expand/kernel"] + weights["expand/bias"])
    projected = expanded @ weights["project/kernel"] + weights["project/bias"]
    return layer_norm(a + projected, weights["output_norm/gamma"], weights["output_norm/beta"], epsilon)


@pytest.mark.parametrize("key_dim", [None, 3])
@pytest.mark.parametrize("attention_dropout", [0.0, 0.3])
def test_against_numpy(key_dim: int | None, attention_dropout: float) -> None:
    """With and without dropout Keras takes two roads (fused, step by step); in inference both are the equations."""
    layer = TransformerEncoder(2, 7, key_dim=key_dim, attention_dropout=attention_dropout, epsilon=1e-4, name="layer")
    x = RNG.normal(size=(2, 5, 6))
    layer.build(x.shape)
    for weight in layer.weights:
        if weight.trainable:
            weight.assign(RNG.normal(size=weight.shape) * 0.5)
    weights = {weight.path.removeprefix("layer/"): numpy(weight).astype("float64") for weight in layer.weights}
    np.testing.assert_allclose(numpy(layer(x.astype("float32"))), oracle(x, weights, 1e-4), atol=1e-4)


def test_released_number_of_parameters() -> None:
    """59,262,784 for DenseNet-201's 1,920 features: 4 heads of full width, dense 64 (printed by the released code)."""
    layer = TransformerEncoder(num_heads=4, dense_dim=64)
    layer.build((None, 4, 1920))
    assert layer.count_params() == 59_262_784


def test_hidden_frames_have_no_influence() -> None:
    layer = TransformerEncoder(num_heads=2, dense_dim=8)
    x = RNG.normal(size=(1, 5, 6)).astype("float32")
    mask = np.array([[True, True, True, False, False]])
    changed = x.copy()
    changed[:, 3:] += 10
    visible = numpy(layer(x, mask=mask))[:, :3]
    np.testing.assert_allclose(numpy(layer(changed, mask=mask))[:, :3], visible, atol=1e-5)
    np.testing.assert_allclose(numpy(layer(x[:, :3])), visible, atol=1e-5)
    assert np.abs(numpy(layer(changed))[:, :3] - visible).max() > 1e-2


def test_without_positions_the_order_of_frames_only_permutes_the_output() -> None:
    layer = TransformerEncoder(num_heads=2, dense_dim=8)
    x = RNG.normal(size=(2, 5, 6)).astype("float32")
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(numpy(layer(x[:, order])), numpy(layer(x))[:, order], atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    layer = TransformerEncoder(num_heads=2, dense_dim=8, attention_dropout=0.5, dropout=0.5)
    x = RNG.normal(size=(2, 5, 6)).astype("float32")
    np.testing.assert_array_equal(numpy(layer(x, training=False)), numpy(layer(x, training=False)))
    assert np.abs(numpy(layer(x, training=True)) - numpy(layer(x, training=False))).max() > 1e-3


def test_no_heads_is_refused() -> None:
    with pytest.raises(UserError, match="num_heads"):
        TransformerEncoder(num_heads=0, dense_dim=8)
