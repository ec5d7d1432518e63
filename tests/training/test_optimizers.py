from typing import Any

import keras
import numpy as np
import pytest
import toys

from keras_actrec.config import OptimizerConfig
from keras_actrec.training import optimizers


def dense(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    clip = keras.Input((4,))
    return keras.Model(clip, keras.layers.Dense(3)(clip))


def train(model: keras.Model, config: OptimizerConfig, batches: list[Any], rate: float = 0.1, **options: Any) -> None:
    optimizer = optimizers.build_optimizer(config, model, rate, **options)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    for inputs, labels in batches:
        model.train_on_batch(inputs, labels)


def batches_of(size: int, count: int = 24) -> list[Any]:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(count, 4)).astype("float32")
    labels = np.eye(3, dtype="float32")[rng.integers(0, 3, count)]
    return [(inputs[i : i + size], labels[i : i + size]) for i in range(0, count, size)]


def gradient(kernel: np.ndarray, bias: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> Any:
    logits = inputs @ kernel + bias
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    error = (exponentials / exponentials.sum(-1, keepdims=True) - labels) / len(inputs)
    return inputs.T @ error, error.sum(0)


def numpy_sgd(kernel: Any, bias: Any, batches: list[Any], rate: float, config: OptimizerConfig) -> Any:
    """SGD with momentum, global clipping, accumulation, decoupled decay of the kernel alone, and EMA, in float64."""
    values = [np.array(kernel, np.float64), np.array(bias, np.float64)]
    momenta = [np.zeros_like(value) for value in values]
    average = None
    for start in range(0, len(batches) - config.accumulate + 1, config.accumulate):
        parts = [gradient(*values, *batch) for batch in batches[start : start + config.accumulate]]
        mean = [sum(part[i] for part in parts) / config.accumulate for i in range(2)]
        norm = np.sqrt(sum((part**2).sum() for part in mean))
        if config.clip_norm:
            mean = [part * min(1.0, config.clip_norm / norm) for part in mean]
        values[0] = values[0] * (1 - config.weight_decay * rate)
        for i in range(2):
            momenta[i] = config.momentum * momenta[i] - rate * mean[i]
            values[i] = values[i] + momenta[i]
        share = 0.0 if average is None else config.ema
        average = [share * (average[i] if average else 0) + (1 - share) * values[i] for i in range(2)]
    return values, average


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("ema", [0.0, 0.7])
@pytest.mark.parametrize("clip_norm", [0.0, 0.05])
def test_everything_together_against_numpy(accumulate: int, ema: float, clip_norm: float) -> None:
    config = OptimizerConfig(
        name="sgd", momentum=0.5, weight_decay=0.2, clip_norm=clip_norm, accumulate=accumulate, ema=ema
    )
    model = dense()
    values, average = numpy_sgd(*model.get_weights(), batches_of(4), 0.1, config)
    train(model, config, batches_of(4))
    for found, expected in zip(model.get_weights(), values, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    if ema:
        with optimizers.averaged_weights(model):
            for found, expected in zip(model.get_weights(), average, strict=True):
                np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_accumulating_equals_a_larger_batch(name: str) -> None:
    weights = []
    for size, accumulate in ((8, 1), (2, 4)):
        model = dense()
        config = OptimizerConfig(name=name, accumulate=accumulate, ema=0.6, weight_decay=0.1, clip_norm=1.0)
        train(model, config, batches_of(size))
        with optimizers.averaged_weights(model):
            weights.append([*model.get_weights()])
        weights[-1] += model.get_weights()
    for first, second in zip(*weights, strict=True):
        np.testing.assert_allclose(first, second, atol=2e-5)


def test_decay_spares_biases_and_normalisation() -> None:
    clip = keras.Input((6, 8))
    x = keras.layers.MultiHeadAttention(2, 4, name="attention")(clip, clip)
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = keras.layers.GRU(5, name="gru")(x)
    model = keras.Model(clip, keras.layers.BatchNormalization()(x))
    spared = {variable.path for variable in optimizers.undecayed(model)}
    decayed = {variable.path for variable in model.trainable_variables} - spared
    assert {path.rpartition("/")[2] for path in decayed} == {"kernel", "recurrent_kernel"}
    assert len(decayed) == 6
    assert any(path.startswith("attention/query/bias") for path in spared)  # of rank 2
    assert any(path.endswith("gru_cell/bias") for path in spared)  # of rank 2


def test_averages_swap_without_rounding() -> None:
    model = dense()
    train(model, OptimizerConfig(ema=0.5), batches_of(4))
    model.layers[-1].kernel.assign(np.full((4, 3), 1e-9, "float32"))  # 1 + 1e-9 - 1 is 0 in float32
    before = model.get_weights()
    with optimizers.averaged_weights(model):
        inside = model.get_weights()
    assert not np.array_equal(inside[0], before[0])
    for first, second in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_no_average_changes_nothing() -> None:
    model = dense()
    train(model, OptimizerConfig(), batches_of(4))
    before = model.get_weights()
    with optimizers.averaged_weights(model):
        for first, second in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(first, second)


def test_float16_scales_the_loss() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    model = toys.make_network(shape=(1, 4, 4, 3))
    config = OptimizerConfig(ema=0.5, accumulate=2, clip_norm=1.0, weight_decay=0.1)
    optimizer = optimizers.build_optimizer(config, model, 0.1, float16=True)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    assert model.optimizer is optimizer  # not wrapped once more
    clips, labels = toys.make_arrays(8, shape=(1, 4, 4, 3))
    before = model.get_weights()
    for _ in range(4):
        loss = model.train_on_batch(clips, labels)
    assert np.isfinite(loss)
    assert not np.array_equal(before[0], model.get_weights()[0])
    assert len(optimizers.averages(model)) == len(model.trainable_variables)
    assert optimizers.learning_rate(model) == pytest.approx(0.1)
