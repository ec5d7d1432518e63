"""One battery for all models: a new architecture adds a row to CASES in `model_cases.py`, and nothing else."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from case import CLASSES, Case
from model_cases import CASES

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.evaluation import flops

ROOT = Path(__file__).parent.parent.parent
# One row for each architecture, the last: its steps are compiled. Other rows differ in options, not in how they run.
COMPILED = {case.name: label for label, case in CASES.items()}.values()


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.fixture
def compiled(case: Case, request: pytest.FixtureRequest) -> bool:
    """Whether this row stands for its architecture where Keras or XLA compile: that takes most of a test's time."""
    return keras.backend.backend() != "tensorflow" or request.node.callspec.params["case"] in COMPILED


@pytest.fixture
def network(case: Case, request: pytest.FixtureRequest) -> keras.Model:
    """The network of this row, built once for all tests that look at it and change nothing."""
    return built(request.node.callspec.params["case"])


@functools.cache
def built(label: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build(CASES[label])


def build(case: Case, **changes: Any) -> keras.Model:
    return models.build_model(case.name, num_classes=CLASSES, **case.options | changes)


def clips(model: keras.Model, batch: int = 4) -> dict[str, np.ndarray]:
    """Named inputs, as the pipeline yields them."""
    rng = np.random.default_rng(0)
    return {tensor.name: rng.normal(size=(batch, *tensor.shape[1:])).astype(tensor.dtype) for tensor in model.inputs}


def infer(model: keras.Model, x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(x, training=False))


@pytest.mark.filterwarnings("error:The structure of `inputs`")
def test_input_and_logits(case: Case, network: keras.Model) -> None:
    shapes = {name: (None, *shape) for name, shape in case.shapes().items()}
    assert {tensor.name: tensor.shape for tensor in network.inputs} == shapes
    logits = infer(network, clips(network))
    assert logits.shape == (4, CLASSES)
    assert np.isfinite(logits).all()
    assert np.abs(logits.sum(axis=1) - 1).max() > 1e-3, "these look like probabilities, expected logits"


def test_config_has_what_the_pipeline_asks_for(case: Case) -> None:
    config = models.make_config(case.name, num_classes=CLASSES, **case.options)
    assert (config.num_classes, config.frames, config.size) == (CLASSES, case.options["frames"], case.options["size"])
    assert config.normalization == case.normalization
    assert dataclasses.is_dataclass(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.frames = 5


def test_options_are_not_the_defaults(case: Case) -> None:
    """So that a field that the builder ignores has a chance to be noticed in the number of parameters."""
    config = models.make_config(case.name, num_classes=CLASSES, **case.options)
    defaults = models.make_config(case.name, num_classes=CLASSES)
    assert all(getattr(config, name) != getattr(defaults, name) for name in case.options if name != "frames")


def test_one_clip_alone_equals_its_row_of_a_batch(network: keras.Model) -> None:
    x = clips(network, batch=2)
    first = {name: value[:1] for name, value in x.items()}
    np.testing.assert_allclose(infer(network, first), infer(network, x)[:1], atol=1e-5)


def test_save_and_load_gives_the_same_numbers(network: keras.Model, tmp_path: Path) -> None:
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = clips(network)
    np.testing.assert_array_equal(infer(loaded, x), infer(network, x))
    assert loaded.count_params() == network.count_params()


def test_weights_file_fits_a_model_built_anew(case: Case, network: keras.Model, tmp_path: Path) -> None:
    network.save_weights(tmp_path / "model.weights.h5")
    keras.utils.set_random_seed(1)
    again = build(case)
    again.load_weights(tmp_path / "model.weights.h5")
    x = clips(network)
    np.testing.assert_array_equal(infer(again, x), infer(network, x))


def test_every_weight_moves_within_three_steps(case: Case, compiled: bool) -> None:
    model = build(case)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, run_eagerly=not compiled)
    before = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights}
    x, labels = clips(model, batch=6), np.eye(CLASSES, dtype="float32")[[0, 1, 2, 0, 1, 2]]
    losses = [float(model.train_on_batch(x, labels)) for _ in range(3)]
    assert np.isfinite(losses).all()
    still = [
        weight.path
        for weight in model.trainable_weights
        if np.array_equal(before[weight.path], keras.ops.convert_to_numpy(weight))
        and not weight.path.endswith(case.unmoved or "/never")
    ]
    assert not still


def test_logits_are_float32_under_mixed_precision(case: Case, compiled: bool, policy: str) -> None:
    model = build(case)
    # TensorFlow's max-pooling over time takes float16 on a CPU only where XLA compiles it.
    by_xla = policy == "mixed_float16" and keras.backend.backend() == "tensorflow" and not case.frame_wise and compiled
    logits = _by_xla(model) if by_xla else model(clips(model))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert np.isfinite(keras.ops.convert_to_numpy(logits)).all()
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert any(layer.compute_dtype == policy.removeprefix("mixed_") for layer in model.layers)


def _by_xla(model: keras.Model) -> Any:
    """Let XLA compile a forward pass; Keras would not, once a test before has asked for deterministic kernels."""
    import tensorflow as tf

    return tf.function(model, jit_compile=True)(clips(model))


def test_number_of_parameters(case: Case, network: keras.Model) -> None:
    # The state of random layers (seeds) is kept with the model, but Keras does not count it.
    assert network.count_params() == case.parameters


def test_the_price_of_every_layer_is_known(network: keras.Model) -> None:
    counted = flops.count(network)
    assert counted.unknown == ()
    assert counted.total > 2 * sum(layer.count_params() for layer in network.layers if layer.name == "logits")


def test_the_global_seed_decides_the_initial_weights_and_every_random_draw(case: Case, network: keras.Model) -> None:
    """Dropout, noise and the choice of a frame follow it too, and go on from step to step."""

    def drawn() -> tuple[list[np.ndarray], list[np.ndarray]]:
        keras.utils.set_random_seed(3)
        model = build(case)
        start = model.get_weights()
        return start, [keras.ops.convert_to_numpy(model(clips(model), training=True)) for _ in range(2)]

    (start, first), (start_again, again) = drawn(), drawn()
    assert all(np.array_equal(a, b) for a, b in zip(start, start_again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(start, network.get_weights(), strict=True)), "of another seed"
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(*first), "both steps drew the same"


def test_the_classifier_is_the_last_layer_with_weights(network: keras.Model) -> None:
    """What other heads on the same body, and the import of weights for other classes, rely on."""
    last = [layer for layer in network.layers if layer.weights][-1]
    assert (type(last), last.name, last.dtype_policy.name) == (keras.layers.Dense, "logits", "float32")
    assert last.units == CLASSES


def test_split_at_features_shares_weights_and_equals_the_model(case: Case, network: keras.Model) -> None:
    if not case.frame_wise:
        with pytest.raises(UserError, match="has no frame features"):
            models.split_at_features(network)
        return
    model = build(case)
    features, head = models.split_at_features(model)
    x = clips(model)
    kept = infer(features, x)
    assert kept.shape == (4, case.options["frames"], case.options["widths"][-1])
    np.testing.assert_allclose(infer(head, {"frame_features": kept}), infer(model, x), atol=1e-6)
    ours = {id(weight) for weight in model.trainable_weights}
    parts = {id(weight) for weight in features.trainable_weights} | {id(weight) for weight in head.trainable_weights}
    assert parts == ours
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    before = infer(model, x)
    first.kernel.assign(first.kernel * 2 + 1)
    assert not np.allclose(infer(model, x), before, atol=1e-2)
    np.testing.assert_allclose(infer(head, {"frame_features": kept}), infer(model, x), atol=1e-5)


def moving_patches(count: int, case: Case, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two classes that only time tells apart: a bright patch climbs, or the same frames in reverse order."""
    frames, size = max(case.lengths, default=case.options["frames"]), case.options["size"]
    patch, way = size // 4, size - size // 4
    channels = sum(channels for _, channels in case.inputs)
    clips = rng.normal(scale=0.2, size=(count, frames, size, size, channels)).astype("float32")
    for clip, column in zip(clips, rng.integers(0, way, count), strict=True):
        for frame, row in enumerate(np.linspace(way, 0, frames).round().astype(int)):
            clip[frame, row : row + patch, column : column + patch] += 1.5
    labels = np.arange(count) % 2
    clips[labels == 1] = clips[labels == 1, ::-1]
    ends = np.cumsum([channels for _, channels in case.inputs])
    parts = np.split(clips, ends[:-1], axis=-1)
    named = {
        name: part[:, np.linspace(0, frames - 1, length).round().astype(int)]
        for (name, (length, *_)), part in zip(case.shapes().items(), parts, strict=True)
    }
    return named, np.eye(CLASSES, dtype="float32")[labels]


@pytest.mark.slow
def test_learns_two_classes_that_only_time_tells_apart(case: Case) -> None:
    """Models with a sense of time tell new clips apart; the baselines stay near chance."""
    rng = np.random.default_rng(1)
    train, test = moving_patches(case.training_clips, case, rng), moving_patches(96, case, rng)
    model = build(case)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(case.learning_rate), loss, metrics=["accuracy"])
    model.fit(*train, batch_size=16, epochs=40, verbose=0)
    accuracy = model.evaluate(*test, verbose=0)[1]
    assert accuracy > 0.9 if case.sees_order else 0.3 < accuracy < 0.7


# --- Nothing was forgotten when an architecture was added -------------------------------------------------------------


@pytest.mark.parametrize("name", models.list_models())
def test_step_three_a_row_in_this_battery(name: str) -> None:
    assert name in {case.name for case in CASES.values()}, (
        f"add a tiny, non-default config of '{name}' to CASES in model_cases.py"
    )


@pytest.mark.parametrize("name", models.list_models())
def test_step_four_a_config(name: str) -> None:
    paths = sorted((ROOT / "configs").rglob("*.yaml"))
    named = {(yaml.safe_load(path.read_text()).get("model") or {}).get("name") for path in paths}
    assert name in named, f"add a run of '{name}' under configs/"


@pytest.mark.parametrize("name", models.list_models())
def test_step_five_a_row_in_the_readme(name: str) -> None:
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]
    assert any(f"`{name}`" in row for row in rows), f"add a row for `{name}` to the README's table of models"
