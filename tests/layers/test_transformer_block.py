"""The encoder layer of a Transformer against its equations, with attention written out pair by pair."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from attention_oracle import array, attend, feed_forward, normalized, randomize

from keras_actrec.errors import UserError
from keras_actrec.layers import SelfAttention, TransformerBlock

SHAPE = (2, 4, 6)
ROOT = Path(__file__).parent.parent.parent


def tokens(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, *SHAPE[1:])).astype("float32")


def block(**options: Any) -> TransformerBlock:
    layer = TransformerBlock(SelfAttention(2, name="attention"), 7, name="block", **options)
    layer.build(SHAPE)
    randomize(layer)
    return layer


def parts(layer: TransformerBlock, x: np.ndarray, attention: float = 1, dense: float = 1) -> np.ndarray:
    """One clip (N, D) through a block with normalisation first, whose sub-layers are scaled."""
    x = x + attention * attend(layer.attention, normalized(layer.attention_norm, x))
    return x + dense * feed_forward(layer, normalized(layer.dense_norm, x))


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_pre_norm_is_that_of_the_equations(activation: str) -> None:
    layer, x = block(activation=activation, epsilon=0.01), tokens()
    expected = np.stack([parts(layer, clip) for clip in x.astype("float64")])
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-4, atol=1e-4)


def test_post_norm_is_that_of_the_equations() -> None:
    layer, x = block(norm="post", epsilon=0.01), tokens()
    for found, clip in zip(array(layer(x)), x.astype("float64"), strict=True):
        middle = normalized(layer.attention_norm, clip + attend(layer.attention, clip))
        expected = normalized(layer.dense_norm, middle + feed_forward(layer, middle))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_activations_differ() -> None:
    exact, near = array(block()(tokens())), array(block(activation="gelu_tanh")(tokens()))
    assert 1e-6 < np.abs(exact - near).max() < 0.02


def test_stochastic_depth_leaves_whole_sub_layers_out() -> None:
    """Each clip is one of four: with and without attention, with and without the dense part; what stays is doubled."""
    layer, x = block(drop_path=0.5), np.repeat(tokens(1), 64, axis=0)
    outcomes = np.stack([parts(layer, x[0].astype("float64"), a, d) for a in (0, 2) for d in (0, 2)])
    found = array(layer(x, training=True))
    distances = np.abs(found[:, None] - outcomes[None]).max(axis=(2, 3))
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-3)
    assert set(distances.argmin(axis=1)) == {0, 1, 2, 3}
    np.testing.assert_allclose(array(layer(x, training=False))[0], parts(layer, x[0].astype("float64")), atol=1e-4)


def test_dropout_acts_in_training_alone() -> None:
    layer, x = block(dropout=0.5), tokens()
    np.testing.assert_allclose(array(layer(x, training=False)), array(block()(x)), atol=1e-6)
    assert np.abs(array(layer(x, training=True)) - array(layer(x, training=True))).max() > 0.1


def step(policy: str, rematerialize: bool, jit: bool = False) -> tuple[list[float], list[np.ndarray], int]:
    """Losses of three steps of `fit`, the weights after them, and how often the inside of the block ran as code."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input(SHAPE[1:])
    attention = SelfAttention(2, name="attention", dtype=policy)
    layer = TransformerBlock(attention, 7, rematerialize=rematerialize, dtype=policy)
    runs: list[None] = []
    original = layer._encode

    def counted(x: Any, training: bool | None) -> Any:
        runs.append(None)
        return original(x, training)

    object.__setattr__(layer, "_encode", counted)
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(layer(inputs)))
    randomize(layer)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit)
    target = np.random.default_rng(5).normal(size=(6, 4, 3)).astype("float32")
    runs.clear()
    history = model.fit(tokens(6), target, batch_size=2, shuffle=False, verbose=0)
    return history.history["loss"], [array(weight) for weight in model.trainable_weights], len(runs)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_rematerialised_training_equals_plain_training(policy: str) -> None:
    """Three steps under `fit`, in a graph where the backend has one: the same weights, each of them moved."""
    losses, plain, runs = step(policy, rematerialize=False)
    again, rematerialized, more = step(policy, rematerialize=True)
    np.testing.assert_allclose(again, losses, rtol=1e-3 if policy != "float32" else 1e-6)
    for one, other in zip(rematerialized, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-3 if policy != "float32" else 1e-6)
    assert more > runs, "the block's inside did not run again for the gradient"


def test_inference_is_not_rematerialised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras, "remat", lambda function: pytest.fail("remat was called"))
    layer, x = block(rematerialize=True), tokens()
    np.testing.assert_array_equal(array(layer(x, training=False)), array(block()(x, training=False)))


PEAK = """
import resource, sys, keras, numpy as np
from keras_actrec.layers import SelfAttention, TransformerBlock
keras.utils.set_random_seed(0)
x = inputs = keras.Input((512, 64))
for _ in range(8):
    x = TransformerBlock(SelfAttention(4), 256, rematerialize=sys.argv[1] == "True")(x)
model = keras.Model(inputs, x)
model.compile("sgd", "mse", jit_compile=False)
clips = np.zeros((4, 512, 64), "float32")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    model.train_on_batch(clips, clips)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def peak_of_training(rematerialize: bool) -> int:
    """By how much the peak of a process's memory grows in three training steps, in KiB."""
    command = [sys.executable, "-c", PEAK, str(rematerialize)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="needs getrusage")
def test_rematerialised_training_needs_less_memory() -> None:
    plain, rematerialized = peak_of_training(False), peak_of_training(True)
    assert rematerialized < 0.6 * plain, f"{rematerialized} KiB with rematerialize, {plain} KiB without"


def test_sublayers_have_these_names_after_loading(tmp_path: Path) -> None:
    inputs = keras.Input(SHAPE[1:])
    model = keras.Model(inputs, block()(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    names = [weight.path for weight in model.weights if "seed" not in weight.path]
    assert [weight.path for weight in again.weights if "seed" not in weight.path] == names
    dense = {f"attention/{name}" for name in ("query", "key", "value", "output")} | {"expand", "project"}
    kernels = {f"block/{name}/{kind}" for name in dense for kind in ("kernel", "bias")}
    scales = {f"block/{name}/{kind}" for name in ("attention_norm", "dense_norm") for kind in ("gamma", "beta")}
    assert set(names) == kernels | scales
    np.testing.assert_array_equal(array(again(tokens())), array(model(tokens())))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dense_dim": 0}, "a dense_dim of at least 1 and norm pre or post, got 0, pre"),
        ({"norm": "middle"}, "a dense_dim of at least 1 and norm pre or post, got 7, middle"),
        ({"activation": "relu"}, "activation of a block must be gelu or gelu_tanh, got relu"),
        ({"rematerialize": True, "dropout": 0.1}, "a block that is rematerialised cannot drop"),
        ({"rematerialize": True, "drop_path": 0.1}, "a block that is rematerialised cannot drop"),
        ({"rematerialize": True, "attention": SelfAttention(2, dropout=0.1)}, "that is rematerialised cannot drop"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TransformerBlock(**({"attention": SelfAttention(2), "dense_dim": 7} | options))
