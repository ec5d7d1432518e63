"""Two toy networks that teach each other, and batches for them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_actrec.config import AuxiliaryConfig, SemiSupervisedConfig
from keras_actrec.training import objectives
from keras_actrec.training.semi_batches import INDEX, LABEL, TRUTH, strong_name, weak_name
from keras_actrec.training.semi_learner import PREFIX, SemiSupervisedLearner

CLASSES, LABELLED, RATIO = 3, 2, 3
SHAPES = {"primary": (2, 4, 4, 3), "auxiliary": (3, 4, 4, 3)}


def network(role: str, width: int = 12) -> keras.Model:
    """A network without batch statistics or dropout: what it says of a clip depends on that clip alone."""
    inputs = keras.Input(SHAPES[role], name="rgb")
    features = keras.layers.Dense(width, activation="tanh")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(CLASSES, dtype="float32", name="logits")(features), name=role)


def settings(**changes: Any) -> SemiSupervisedConfig:
    values = {"auxiliary": AuxiliaryConfig(), "threshold": 0.4, "projection": 4, **changes}
    return SemiSupervisedConfig(**values)


def make_learner(roles: tuple[str, ...] = ("primary", "auxiliary"), **changes: Any) -> SemiSupervisedLearner:
    keras.utils.set_random_seed(3)
    networks = {role: network(role) for role in roles}
    learner = SemiSupervisedLearner(networks, settings(**changes), unlabelled=20, prior=np.full(CLASSES, 1 / CLASSES))
    learner.compile(keras.optimizers.SGD(0.1), **objectives.objectives(learner, 0.0, weighted=False))
    return learner


def make_batch(seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    inputs: dict[str, np.ndarray] = {INDEX: rng.permutation(20)[: LABELLED * RATIO].reshape(LABELLED, RATIO)}
    inputs[INDEX] = inputs[INDEX].astype("int32")
    for role, shape in SHAPES.items():
        name = PREFIX[role] + "rgb"
        inputs[name] = rng.normal(size=(LABELLED, *shape)).astype("float32")
        for kind in (weak_name, strong_name):
            inputs[kind(name)] = rng.normal(size=(LABELLED, RATIO, *shape)).astype("float32")
    labels = np.eye(CLASSES, dtype="float32")[rng.integers(CLASSES, size=LABELLED)]
    truth = np.eye(CLASSES, dtype="float32")[rng.integers(CLASSES, size=(LABELLED, RATIO))]
    return inputs, {LABEL: labels, TRUTH: truth}
