"""Trains with a teacher and pseudo-labels on one or several logical CPU devices: teacher_program.py OUTPUT DEVICES."""

import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import toys  # noqa: E402

from keras_actrec.backbones.synchronize import synchronize  # noqa: E402
from keras_actrec.config import TrainingConfig  # noqa: E402
from keras_actrec.training import distribution, seeding  # noqa: E402
from keras_actrec.training.distribution import Hardware  # noqa: E402
from keras_actrec.training.pseudo_labels import PseudoLabels  # noqa: E402
from keras_actrec.training.teacher import Teacher  # noqa: E402

EXAMPLES = 24


class Pair(keras.Model):
    """A network under training, and pseudo-labels by its slow copy."""

    def __init__(self) -> None:
        super().__init__()
        self.network = toys.make_network(dropout=0.0)
        synchronize(self.network)
        self.teacher = Teacher(self.network, 0.75)
        self.labels = make_labels()

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the network's logits, after the copy has given pseudo-labels."""
        self.labels(self.teacher(inputs["clips"], training=training) * 8, inputs["index"], training=training)
        return self.network(inputs["clips"], training=training)


def make_labels() -> PseudoLabels:
    """Return pseudo-labels with all the state that they can have."""
    return PseudoLabels(3, 0.5, alignment=True, alignment_momentum=0.5, class_thresholds=True, examples=EXAMPLES)


def train(hardware: Hardware) -> Pair:
    """Train for two epochs of three batches of eight clips."""
    with hardware.scope():
        pair = Pair()
        pair.compile(keras.optimizers.SGD(0.1, momentum=0.9), keras.losses.CategoricalCrossentropy(from_logits=True))
    clips, targets = toys.make_arrays(EXAMPLES)
    batches = tf.data.Dataset.from_tensor_slices(({"clips": clips, "index": np.arange(EXAMPLES)}, targets)).batch(8)
    pair.fit(batches, epochs=2, shuffle=False, verbose=0)
    return pair


def on_each(variable: keras.Variable) -> list[np.ndarray]:
    """Return the value of a variable on each device."""
    return [value.numpy() for value in getattr(variable.value, "values", [variable.value])]


def clash(hardware: Hardware) -> PseudoLabels:
    """Give two devices one clip with two classes, one with one class, and one each of their own; none twice else.

    Device 0 sees the clips 0, 1, 2 and 3 as classes 0, 1, 2 and none; device 1 the clips 0, 1, 4 and 4 as 2, 1, none
    and 1.
    """
    certain = 20 * np.eye(3, dtype="float32")
    none = np.zeros((1, 3), "float32")
    logits = np.concatenate([certain, none]), np.concatenate([certain[[2, 1]], none, certain[[1]]])
    indices = np.array([[0, 1, 2, 3], [0, 1, 4, 4]], "int32")
    with hardware.scope():
        labels = make_labels()
    parts = [
        hardware.strategy.experimental_distribute_values_from_function(
            lambda context, arrays=arrays: tf.constant(arrays[context.replica_id_in_sync_group])
        )
        for arrays in (logits, indices)
    ]
    tf.function(lambda: hardware.strategy.run(lambda *both: labels(*both, training=True)[0], args=parts))()
    return labels


def main(output: Path, devices: int) -> None:
    """Train and write all state of the copy and of the pseudo-labels."""
    hardware = distribution.set_up(TrainingConfig(virtual_cpus=devices))
    assert hardware.replicas == max(devices, 1), hardware
    seeding.seed_everything(0)
    pair = train(hardware)
    state = [*pair.teacher.weights, *pair.labels.weights]
    for variable in state:
        first, *others = on_each(variable)
        assert len(others) == hardware.replicas - 1
        assert all((first == other).all() for other in others), variable.path
    result = {f"{index:03d}": on_each(variable)[0] for index, variable in enumerate([*pair.network.weights, *state])}
    if devices > 1:
        labels = clash(hardware)
        result |= {"clash_last": on_each(labels.last)[1], "clash_mean": on_each(labels.mean)[1]}
    np.savez(output, **result)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
