"""The slow copy of a network: what follows, what stands still, and what an optimiser and a checkpoint see of it."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import compiled
import keras
import numpy as np
import pytest
import toys

from keras_actrec import models
from keras_actrec.errors import UserError
from keras_actrec.training.learner import Learner
from keras_actrec.training.pseudo_labels import PseudoLabels
from keras_actrec.training.teacher import Teacher


class Pair(keras.Model):
    """A network under training, and pseudo-labels by its slow copy."""

    def __init__(self, network: keras.Model, momentum: float = 0.75) -> None:
        super().__init__()
        self.network = network
        self.teacher = Teacher(network, momentum)
        self.labels = PseudoLabels(3, 0.4, alignment=True, alignment_momentum=0.5, class_thresholds=True, examples=9)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        slow = self.teacher(inputs["clips"], training=training)
        targets, accepted = self.labels(slow, inputs["index"], training=training)
        logits = self.network(inputs["clips"], training=training)
        return logits + 0 * keras.ops.cast(targets * keras.ops.cast(accepted, "int32"), logits.dtype)[:, None]


@pytest.fixture
def network() -> keras.Model:
    """A tiny network with dropout and batch normalisation, whose weights and statistics are all drawn."""
    made = toys.make_network()
    rng = np.random.default_rng(0)
    made.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in made.weights])
    return made


def values(layer: keras.Layer) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(weight.value)) for weight in layer.weights]


def random_states(layer: keras.Layer) -> list[np.ndarray]:
    states = [variable for variable in layer.variables if "seed" in variable.path]
    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in states]


def shift(network: keras.Model, by: float) -> None:
    network.set_weights([weight + by for weight in network.get_weights()])


def near(found: list[np.ndarray], wanted: list[np.ndarray], **tolerance: float) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


def test_it_begins_as_the_network_and_follows_in_training_alone(network: keras.Model) -> None:
    clips, _ = toys.make_arrays(4)
    teacher = Teacher(network, 0.75)
    before = values(network)
    logits = network.predict(clips, verbose=0)
    for training in (False, None):
        np.testing.assert_allclose(compiled.call(teacher, clips, training=training), logits, rtol=1e-5)
        shift(network, 1.0)
    near(values(teacher), before, rtol=0)


def test_every_floating_weight_follows_by_hand(network: keras.Model) -> None:
    clips, _ = toys.make_arrays(4)
    teacher, start = Teacher(network, 0.75), values(network)
    states = random_states(teacher)
    shift(network, 1.0)
    logits = teacher(clips, training=True)  # 1/4 of the way, then answers
    near(values(teacher), [weight + 0.25 for weight in start], rtol=1e-6)
    inferred = keras.ops.convert_to_numpy(teacher.copy(clips, training=False))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(logits), inferred, rtol=1e-5)
    shift(network, 1.0)
    teacher(clips, training=True)  # 0.25 * 0.75 + 2 * 0.25
    near(values(teacher), [weight + 0.6875 for weight in start], rtol=1e-6)
    near(values(network), [weight + 2.0 for weight in start], rtol=1e-6)
    near(random_states(teacher), states, rtol=0)
    assert any("moving_mean" in weight.path for weight in teacher.weights) and states


def test_compiled_calls_follow_as_well(network: keras.Model) -> None:
    clips, _ = toys.make_arrays(4)
    teacher, start = Teacher(network, 0.5), values(network)
    shift(network, 2.0)
    compiled.call(teacher, clips, training=True)
    near(values(teacher), [weight + 1.0 for weight in start], rtol=1e-6)
    compiled.call(teacher, clips, training=True)
    near(values(teacher), [weight + 1.5 for weight in start], rtol=1e-6)


def test_equal_weights_stay_exactly_equal(network: keras.Model) -> None:
    clips, _ = toys.make_arrays(2)
    teacher = Teacher(network, 0.9)
    for _ in range(3):
        teacher(clips, training=True)
    near(values(teacher), values(network), rtol=0)
    shift(network, 0.3)
    quick = Teacher(network, 0.0)
    shift(network, 0.3)
    quick(clips, training=True)
    near(values(quick), values(network), rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_small_steps_survive_mixed_precision(policy: str) -> None:
    keras.config.set_dtype_policy(policy)
    network = toys.make_network()
    network.set_weights([np.ones(weight.shape) for weight in network.weights])
    teacher = Teacher(network, 0.999)
    inputs = keras.Input((2, 8, 8, 3))
    parent = keras.Model(inputs, teacher(inputs))  # opens a scope of casts of its own
    shift(network, 1.0)
    logits = parent(toys.make_arrays(2)[0], training=True)
    near(values(teacher), [np.full(weight.shape, 1.001) for weight in teacher.weights], rtol=1e-6)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert teacher.copy.layers[1].compute_dtype == policy.removeprefix("mixed_")


def test_the_network_is_no_part_of_it_and_it_stays_frozen(network: keras.Model) -> None:
    pair = Pair(network)
    own, others = {id(v) for v in network.variables}, {id(v) for v in pair.teacher.variables}
    assert not own & others and len(others) == len(network.variables)
    assert len(pair.variables) == 2 * len(network.variables) + 2
    assert {id(v) for v in pair.trainable_variables} == {id(v) for v in network.trainable_variables}
    pair.trainable = False
    pair.trainable = True
    assert {id(v) for v in pair.trainable_variables} == {id(v) for v in network.trainable_variables}
    assert not any(variable.trainable for variable in pair.teacher.variables if "seed" not in variable.path)
    assert not pair.teacher.trainable_variables and not pair.teacher.trainable


def test_frozen_layers_are_paired_with_their_own() -> None:
    network = toys.make_network()
    network.layers[1].trainable = False
    teacher = Teacher(network, 0.5)
    paths = [weight.path.rpartition("/")[2] for weight in network.weights]
    assert [weight.path.rpartition("/")[2] for weight in teacher.weights] == paths
    shift(network, 1.0)
    expected = [weight - 0.5 for weight in network.get_weights()]
    teacher(toys.make_arrays(2)[0], training=True)
    near(values(teacher), expected, atol=1e-6)


def test_training_moves_the_network_and_then_the_copy(network: keras.Model, tmp_path: Path) -> None:
    """On each backend through Keras' own training step, which JAX runs without side effects."""
    pair = Pair(network)
    pair.compile(keras.optimizers.SGD(0.05), keras.losses.CategoricalCrossentropy(from_logits=True))
    clips, targets = toys.make_arrays(6)
    inputs = {"clips": clips, "index": np.array([0, 1, 2, 3, 8, 5], "int32")}
    slow = values(network)
    for step in range(3):
        fast = values(network)
        slow = [0.75 * one + 0.25 * other for one, other in zip(slow, fast, strict=True)]
        pair.train_on_batch(inputs, targets)
        near(values(pair.teacher), slow, rtol=1e-5, atol=1e-6)
        assert step == 0 or all(np.abs(a - b).max() > 0 for a, b in zip(fast, values(network), strict=True))
    last = keras.ops.convert_to_numpy(pair.labels.last)
    assert (last[[4, 6, 7]] == -1).all() and (last >= 0).any()
    assert np.abs(keras.ops.convert_to_numpy(pair.labels.mean) - 1 / 3).max() > 1e-3

    pair.test_on_batch(inputs, targets)
    near(values(pair.teacher), slow, rtol=1e-5, atol=1e-6)

    pair.save_weights(tmp_path / "pair.weights.h5")
    other = Pair(toys.make_network())
    other.build({"clips": (None, *clips.shape[1:]), "index": (None,)})
    other.load_weights(tmp_path / "pair.weights.h5")
    near(values(other), values(pair), rtol=0)


def test_nothing_flows_back(network: keras.Model) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("gradients of a whole layer are asked for in TensorFlow's way")
    import tensorflow as tf

    teacher, clips = Teacher(network, 0.5), tf.constant(toys.make_arrays(2)[0])
    with tf.GradientTape() as tape:
        tape.watch([clips, *[weight.value for weight in (*network.weights, *teacher.weights)]])
        total = tf.reduce_sum(teacher(clips, training=True))
    assert not any(g is not None for g in tape.gradient(total, [clips, *[w.value for w in network.weights]]))


def test_seeds_that_are_drawn_later_are_the_same_without_it() -> None:
    network = toys.make_network()
    keras.utils.set_random_seed(5)
    expected = keras.layers.Dense(3)
    expected.build((None, 4))
    keras.utils.set_random_seed(5)
    state = random.getstate()
    Teacher(network, 0.9)
    assert random.getstate() == state
    found = keras.layers.Dense(3)
    found.build((None, 4))
    near(values(found), values(expected), rtol=0)


def test_a_compiled_learner_with_several_inputs_and_outputs() -> None:
    first, second = keras.Input((3,), name="rgb"), keras.Input((3,), name="flow")
    code = keras.layers.Dense(4)(keras.layers.Concatenate()([first, second]))
    learner = type("Whole", (Learner, keras.Model), {})(
        {"rgb": first, "flow": second}, {"logits": keras.layers.Dense(2)(code), "code": code}
    )
    learner.compile("sgd", "mse")
    teacher = Teacher(learner, 0.5)
    assert not teacher.copy.compiled
    inputs = {name: np.ones((2, 3), "float32") for name in ("rgb", "flow")}
    found, expected = teacher(inputs, training=True), learner(inputs, training=False)
    assert set(found) == {"logits", "code"}
    for name in found:
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(found[name]), keras.ops.convert_to_numpy(expected[name]), rtol=1e-5
        )


def test_an_architecture_of_the_package() -> None:
    """Layers of its own, tables of positions, and a block that is written down inside of another one."""
    options = {"frames": 2, "size": 16, "patch": 8, "width": 8, "depth": 1, "heads": 2, "dense_dim": 8}
    network = models.build_model("timesformer", 3, **options)
    teacher = Teacher(network, 0.5)
    clips = np.random.default_rng(0).normal(size=(2, *network.inputs[0].shape[1:])).astype("float32")
    expected = network.predict(clips, verbose=0)
    np.testing.assert_allclose(compiled.call(teacher, clips, training=True), expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_is_said(network: keras.Model) -> None:
    for momentum in (-0.1, 1.0, math.nan):
        with pytest.raises(UserError, match="momentum of a teacher must be at least 0 and below 1"):
            Teacher(network, momentum)

    class Subclassed(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(UserError, match="wants a functional network, 'lonely' has no graph"):
        Teacher(Subclassed(name="lonely"), 0.5)

    inputs = keras.Input((3,))
    unclonable = keras.Model(inputs, WithArray(np.ones(3))(inputs), name="special")
    with pytest.raises(UserError, match="network 'special' cannot be copied"):
        Teacher(unclonable, 0.5)


class WithArray(keras.layers.Layer):
    """A layer that cannot be written down."""

    def __init__(self, table: np.ndarray, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table

    def call(self, inputs: Any) -> Any:
        return inputs + keras.ops.convert_to_tensor(self.table, inputs.dtype)
