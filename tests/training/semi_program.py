"""Fits two toy networks that teach each other, on any backend, and prints the numbers of each epoch as JSON.

python semi_program.py [DEVICES]: with more than one, without the contrastive loss, which compares the clips of one
device's share alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from semi_toys import make_batch, make_learner  # noqa: E402

from keras_actrec.config import TrainingConfig  # noqa: E402
from keras_actrec.training import distribution  # noqa: E402

OPTIONS = {"teacher": 0.5, "alignment": True, "class_thresholds": True, "threshold": 0.3, "ramp_epochs": 3.0}


def main(devices: int) -> None:
    """Fit for two epochs of three batches; the weights are set, since backends draw different ones."""
    hardware = distribution.set_up(TrainingConfig(virtual_cpus=devices, deterministic=False))
    with hardware.scope():
        learner = make_learner(**OPTIONS, contrastive_weight=2.0 if devices == 0 else 0.0)
    rng = np.random.default_rng(1)
    fill([*learner._networks.values(), *learner._projections.values()], rng)
    for teacher in learner._teachers.values():
        teacher.copy.set_weights([np.zeros(weight.shape, weight.dtype) for weight in teacher.copy.weights])
    batches = [make_batch(seed) for seed in range(3)]
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(batches),
        output_signature=tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), batches[0]),
    )
    hardware.guard_end_of_data(learner)
    hardware.forget_every_gradient(learner)
    history = learner.fit(dataset, epochs=2, verbose=0, shuffle=False).history
    print(json.dumps({name: [float(value) for value in values] for name, values in history.items()}))


def fill(models: list[keras.Model | None], rng: np.random.Generator) -> None:
    """Set all weights to the same random numbers on each backend."""
    for model in filter(None, models):
        model.set_weights([rng.normal(scale=0.3, size=weight.shape).astype("float32") for weight in model.weights])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
