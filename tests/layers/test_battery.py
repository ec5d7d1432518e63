"""One battery for all layers: a new layer adds a row to CASES, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_actrec.layers
from keras_actrec import layers
from keras_actrec.backbones import tiny


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer as it is made, and what it is given.

    Attributes:
        make: returns a new layer with arguments that are not its defaults.
        shape: input shape without the batch.
        unmoved: weights that have no gradient by their mathematics, by the end of their path.
    """

    make: Callable[[], keras.Layer]
    shape: tuple[int, ...]
    unmoved: tuple[str, ...] = ()


CASES = {
    "TimeDistributed": Case(
        lambda: layers.TimeDistributed(keras.layers.Conv2D(3, 2, strides=2, activation="tanh")), (3, 6, 4, 2)
    ),
    "SinusoidalPosition": Case(lambda: layers.SinusoidalPosition(base=50.0), (5, 6)),
    "LearnedPosition": Case(lambda: layers.LearnedPosition(length=5), (5, 6)),
    "TransformerEncoder": Case(
        lambda: layers.TransformerEncoder(
            num_heads=2, dense_dim=7, key_dim=3, attention_dropout=0.2, dropout=0.1, epsilon=1e-5
        ),
        (4, 6),
        # The softmax over keys does not change when a constant is added to all keys.
        unmoved=("attention/key/bias",),
    ),
    "PickFrame": Case(lambda: layers.PickFrame(seed=7), (5, 3, 2)),
    "NonLocalBlock": Case(
        lambda: layers.NonLocalBlock(
            subsample=False, inner_width=3, scaled=True, initial_gamma=0.5, momentum=0.8, epsilon=1e-4
        ),
        (2, 3, 2, 4),
        # The softmax over keys takes no notice of a constant added to all keys, nor the normalisation of one added to
        # all its inputs, as the biases of values and of `out` do.
        unmoved=("phi/bias", "g/bias", "out/bias"),
    ),
    "MaxPooling3D": Case(lambda: layers.MaxPooling3D((2, 3, 2), strides=(1, 2, 1), padding="same"), (4, 5, 5, 2)),
    "Conv3D": Case(
        lambda: layers.Conv3D(3, (1, 2, 2), strides=(1, 2, 1), padding="same", activation="tanh"), (3, 4, 5, 2)
    ),
    "ConvolutionalAttention": Case(
        lambda: layers.ConvolutionalAttention(
            num_heads=2, grid=(2, 3, 2), kernel_size=5, momentum=0.8, epsilon=1e-4, head_dim=4, dropout=0.1
        ),
        (13, 6),
        # The softmax over keys does not change when a constant is added to all keys.
        unmoved=("key/bias",),
    ),
    "CentralDifferenceConv3D": Case(
        lambda: layers.CentralDifferenceConv3D(
            3, 3, kind="t", theta=0.4, strides=(1, 2, 1), padding="same", activation="tanh"
        ),
        (3, 4, 5, 2),
    ),
    "NearestKeysAttention": Case(
        lambda: layers.NearestKeysAttention(num_heads=2, keys_kept=0.5, head_dim=3, dropout=0.1),
        (5, 6),
        # The softmax over keys does not change when a constant is added to all keys.
        unmoved=("key/bias",),
    ),
    "MultiScaleTemporalEncoder": Case(
        lambda: layers.MultiScaleTemporalEncoder(
            depth=1, num_heads=2, dense_dim=5, head_dim=3, scales=(1, 3), shared=False, dropout=0.1
        ),
        (6, 4),
        unmoved=("key/bias",),
    ),
    "RepeatEdges": Case(lambda: layers.RepeatEdges(2), (4, 3, 2)),
    "ResampleTime": Case(lambda: layers.ResampleTime(6), (4, 3, 2)),
    "RelativePositionAttention": Case(
        lambda: layers.RelativePositionAttention(
            2, (2, 3), True, "clip", 2, 0.4, 3.0, share_heads=False, initial_stddev=0.5, head_dim=3
        ),
        (7, 6),
        # The softmax over keys does not change when a constant is added to all keys.
        unmoved=("key/bias",),
    ),
    "TopStdBlock": Case(
        lambda: layers.TopStdBlock(layers.SelfAttention(2, key_bias=False), 7, 4, 2, dropout=0.1, norm="post"), (6, 6)
    ),
    "HalveTime": Case(lambda: layers.HalveTime("convolution", class_token=False), (6, 4)),
    "SelfAttention": Case(
        lambda: layers.SelfAttention(2, head_dim=4, use_bias=False, key_bias=False, dropout=0.1), (5, 6)
    ),
    "TransformerBlock": Case(
        lambda: layers.TransformerBlock(
            layers.SelfAttention(2, name="attention"),
            7,
            norm="post",
            activation="gelu_tanh",
            dropout=0.1,
            drop_path=0.1,
            epsilon=1e-4,
        ),
        (5, 6),
        unmoved=("attention/key/bias",),
    ),
    "DividedSpaceTimeBlock": Case(
        lambda: layers.DividedSpaceTimeBlock(
            layers.SelfAttention(2, name="time_attention"),
            layers.SelfAttention(3, name="attention"),
            frames=2,
            dense_dim=7,
            without_time=False,
            activation="gelu_tanh",
            epsilon=1e-4,
            rematerialize=True,
        ),
        (7, 6),
        unmoved=("attention/key/bias",),
    ),
    "TubeletEmbedding": Case(lambda: layers.TubeletEmbedding(5, (2, 2, 3)), (4, 4, 6, 2)),
    "ClassToken": Case(layers.ClassToken, (4, 3)),
    "Coordinates": Case(tiny.Coordinates, (4, 3, 2)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(autouse=True)
def _same_weights_each_time() -> None:
    """Attention to the nearest keys alone may choose otherwise in bfloat16, where two scores are almost equal."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def policy() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def random_input(case: Case, batch: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, *case.shape)).astype("float32")


def functional(case: Case) -> keras.Model:
    inputs = keras.Input(case.shape)
    return keras.Model(inputs, case.make()(inputs))


def infer(layer: keras.Layer, x: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(layer(x, training=False), "float32"))


def test_every_layer_has_a_row() -> None:
    """Fails for a layer of the package that nobody put into CASES."""
    found = set()
    for info in pkgutil.iter_modules(keras_actrec.layers.__path__):
        module = importlib.import_module(f"keras_actrec.layers.{info.name}")
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, keras.Layer) and value.__module__ == module.__name__:
                found.add(name)
    assert found, "no layer was found: the search is broken"
    assert found <= set(CASES), f"add a row to CASES for {sorted(found - set(CASES))}"


def test_every_exported_layer_is_registered(case: Case) -> None:
    assert keras.saving.get_registered_name(type(case.make())).startswith("keras_actrec>")


def test_output_shape_is_the_announced_one_and_finite(case: Case) -> None:
    x = random_input(case)
    layer = case.make()
    y = infer(layer, x)
    assert y.shape == tuple(layer.compute_output_shape(x.shape))
    assert layer.compute_output_shape((None, *case.shape)) == (None, *y.shape[1:])
    assert np.isfinite(y).all()
    trained = keras.ops.convert_to_numpy(layer(x, training=True))
    assert trained.shape == y.shape
    assert np.isfinite(trained).all()


def test_config_round_trip(case: Case) -> None:
    layer = case.make()
    config = layer.get_config()
    again = type(layer).from_config(copy.deepcopy(config))
    assert again.get_config() == config
    mandatory = {
        name
        for name, parameter in inspect.signature(type(layer).__init__).parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    assert mandatory <= set(config), "get_config leaves out an argument"


def test_save_and_load_gives_the_same_numbers(case: Case, tmp_path: Path) -> None:
    x = random_input(case)
    model = functional(case)
    path = tmp_path / "model.keras"
    model.save(path)
    np.testing.assert_array_equal(infer(keras.models.load_model(path), x), infer(model, x))


def test_gradients_reach_every_weight(case: Case) -> None:
    x = random_input(case, batch=4)
    model = functional(case)
    before = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights}
    if not before:
        pytest.skip("the layer has no weights")
    target = np.random.default_rng(1).normal(size=(4, *model.output_shape[1:])).astype("float32")
    # The batteries of models compile layers; eagerly a single step takes a third of the time.
    model.compile(keras.optimizers.SGD(0.5), loss="mse", run_eagerly=keras.backend.backend() == "tensorflow")
    model.train_on_batch(x, target)
    still = [
        weight.path
        for weight in model.trainable_weights
        if np.array_equal(before[weight.path], keras.ops.convert_to_numpy(weight))
        and not weight.path.endswith(case.unmoved or "/never")
    ]
    assert not still


@pytest.mark.usefixtures("policy")
def test_mixed_precision(case: Case) -> None:
    x = random_input(case)
    mixed = case.make()
    y = mixed(x, training=False)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert {weight.dtype for weight in mixed.trainable_weights} <= {"float32"}
    keras.config.set_dtype_policy("float32")
    exact = case.make()
    infer(exact, x)
    exact.set_weights(mixed.get_weights())
    np.testing.assert_allclose(keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")), infer(exact, x), atol=0.08)


def test_clips_of_a_batch_do_not_influence_each_other(case: Case) -> None:
    x = random_input(case)
    layer = case.make()
    together = infer(layer, x)
    np.testing.assert_allclose(infer(layer, x[1:2]), together[1:2], atol=1e-5)


def test_unknown_batch_size(case: Case) -> None:
    """`predict` with a last batch that is smaller than the others."""
    x = random_input(case, batch=5)
    model = functional(case)
    np.testing.assert_allclose(model.predict(x, batch_size=2, verbose=0), infer(model, x), atol=1e-5)
