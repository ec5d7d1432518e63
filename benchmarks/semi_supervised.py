"""What a step of semi-supervised training costs: beside its parts, and at full size.

    python benchmarks/semi_supervised.py [--check] [--rounds 7]
    python benchmarks/semi_supervised.py --full-size [--rematerialize]

The step of `configs/semi_supervised/actnetformer.yaml` (all losses, audit and optimiser included) is compared, in turns
in one process, with the sum of its parts: for each network one forward and one backward pass over as many clips as the
step shows it, each view once. A step that ran a view twice would cost more. Reads and cuts of the input pipeline are
counted as well, on videos of random numbers: each video of a batch is to be decoded once for all of its views, and each
view cut once. `--check` exits with 1 when the step costs more than 1.15 of its parts, or the counts are others.

`--full-size`: two steps of the paper's pair (3-D ResNet-50 with 8 frames and TimeSformer-S, 224 pixels, 1 labelled and
5 unlabelled clips) in this process, their time, and the process's peak memory.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from keras_actrec import models  # noqa: E402
from keras_actrec.config import RunConfig, SemiSupervisedConfig, load_config  # noqa: E402
from keras_actrec.data import augment  # noqa: E402
from keras_actrec.data.decode import VideoInfo  # noqa: E402
from keras_actrec.data.manifest import Clip, Manifest  # noqa: E402
from keras_actrec.data.quarantine import Quarantine  # noqa: E402
from keras_actrec.training.inputs import Inputs  # noqa: E402
from keras_actrec.training.semi_batches import (  # noqa: E402
    INDEX,
    LABEL,
    TRUTH,
    strong_name,
    training_batches,
    weak_name,
)
from keras_actrec.training.semi_learner import AUXILIARY, PREFIX, PRIMARY, SemiSupervisedLearner  # noqa: E402

LIMIT = 1.15
CLASSES = 12
SMALL = ROOT / "configs" / "semi_supervised" / "actnetformer.yaml"
FULL = ROOT / "configs" / "papers" / "actnetformer" / "ucf101_1_actnetformer.yaml"


def main() -> int:
    """Measure what is asked for; return 1 when a check fails."""
    options = _parser().parse_args()
    if options.full_size:
        full_size(options.rematerialize)
        return 0
    once = count_work(load_config(SMALL))
    ratio = compare(load_config(SMALL), options.rounds)
    return int(options.check and (ratio > LIMIT or not once))


class Noise:
    """A source of random frames, which counts how many videos were read. Safe to use from several threads."""

    def __init__(self) -> None:
        self.read_clips: list[str] = []

    def probe(self, clip: Clip) -> VideoInfo:
        """Return what each of the videos holds."""
        return VideoInfo(frames=40, fps=25.0, width=86, height=64, rotation=0)

    def read(self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Any = None, modality: str = "rgb") -> Any:
        """Return frames (T, 64, 86, 3)."""
        self.read_clips.append(clip.path)
        return np.random.default_rng(len(indices)).integers(0, 256, (len(indices), 64, 86, 3), np.uint8)


def count_work(config: RunConfig, steps: int = 3) -> bool:
    """Print how often the videos of some batches are decoded, and their views cut; return whether it is once each."""
    training = config.training.model_copy(update={"steps_per_epoch": steps})
    data = config.data.model_copy(update=config.training.semi_supervised.auxiliary.data_changes)
    networks = {PREFIX[PRIMARY]: config.data, PREFIX[AUXILIARY]: data}
    source, manifest = Noise(), _noise_manifest()
    inputs = {
        prefix: Inputs(
            config.model_copy(update={"training": training, "data": own}), manifest, source, Quarantine(), "zero_one"
        )
        for prefix, own in networks.items()
    }
    with mock.patch.object(augment, "apply", wraps=augment.apply) as cut:
        for _ in training_batches(inputs).dataset():
            pass
    labelled = steps * training.batch_size
    unlabelled = labelled * training.semi_supervised.unlabelled_ratio
    views = len(networks) * (labelled + 2 * unlabelled)
    print(f"{labelled + unlabelled} clips: decoded {len(source.read_clips)} times")
    print(f"{views} views of them: cut {cut.call_count} times")
    return len(source.read_clips) == labelled + unlabelled and cut.call_count == views


def _noise_manifest() -> Manifest:
    names = [f"{number:02d}" for number in range(CLASSES)]
    labelled = [Clip(f"labelled/{name}.mp4", name, "train") for name in names]
    others = [Clip(f"unlabelled/{name}-{copy}.mp4", None, "unlabelled") for name in names for copy in range(8)]
    return Manifest.from_clips("noise", ".", 1, [*labelled, *others])


def compare(config: RunConfig, rounds: int) -> float:
    """Print the step's time, that of its parts, and return the median of their ratios."""
    networks, semi = networks_of(config), config.training.semi_supervised
    batch = batch_of(networks, config.training.batch_size, semi.unlabelled_ratio)
    learner = learner_of(networks, semi)
    whole = _step(learner, batch)
    parts = [_forward_backward(network, batch, PREFIX[role]) for role, network in networks.items()]
    for function in (whole, *parts):
        function()
    rows = [[_seconds(function) for function in (whole, *parts)] for _ in range(rounds)]
    for name, times in zip(("step", *networks), zip(*rows, strict=True), strict=True):
        print(f"{name:<10} {1000 * statistics.median(times):8.1f} ms")
    ratio = statistics.median(row[0] / sum(row[1:]) for row in rows)
    print(f"step over its parts: {ratio:.3f} (limit {LIMIT})")
    return ratio


def full_size(rematerialize: bool) -> None:
    """Run two steps of the paper's pair and print what they took."""
    config = load_config(FULL)
    extra = {"rematerialize": True} if rematerialize else {}
    networks, training = networks_of(config, extra), config.training
    batch = batch_of(networks, 1, training.semi_supervised.unlabelled_ratio)
    step = _step(learner_of(networks, training.semi_supervised), batch)
    seconds = [_seconds(step) for _ in range(2)]
    clips = {role: "x".join(map(str, network.inputs[0].shape[1:4])) for role, network in networks.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    for role, network in networks.items():
        print(f"{role:<10} {network.name}, {network.count_params() / 1e6:.1f} M parameters, clips of {clips[role]}")
    print(f"1 labelled and {training.semi_supervised.unlabelled_ratio} unlabelled clips")
    print(f"second step {seconds[1]:.1f} s; peak memory of the process {peak:.1f} GB")


def networks_of(config: RunConfig, extra: dict[str, Any] | None = None) -> dict[str, keras.Model]:
    """Build the networks that a configuration names; `extra` options go to those that know them."""
    auxiliary = config.training.semi_supervised.auxiliary
    wanted = {PRIMARY: (config.model, config.data)}
    wanted[AUXILIARY] = (auxiliary.model, config.data.model_copy(update=auxiliary.data_changes))
    networks = {}
    for role, (model, data) in wanted.items():
        known = {option.name for option in models.describe(model.name)}
        options = model.options | {name: value for name, value in (extra or {}).items() if name in known}
        networks[role] = models.build_from_config(
            model.name, models.make_config_for(model.name, CLASSES, data, options)
        )
    return networks


def batch_of(networks: dict[str, keras.Model], labelled: int, ratio: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a batch as `semi_batches` gives it, of random numbers."""
    rng = np.random.default_rng(0)
    inputs: dict[str, Any] = {INDEX: tf.zeros((labelled, ratio), tf.int32)}
    for role, network in networks.items():
        for tensor in network.inputs:
            name, shape = PREFIX[role] + tensor.name, tensor.shape[1:]
            inputs[name] = tf.constant(rng.normal(size=(labelled, *shape)), tf.float32)
            for kind in (weak_name, strong_name):
                inputs[kind(name)] = tf.constant(rng.normal(size=(labelled, ratio, *shape)), tf.float32)
    labels = tf.one_hot(tf.range(labelled) % CLASSES, CLASSES)
    return inputs, {LABEL: labels, TRUTH: tf.zeros((labelled, ratio, CLASSES))}


def learner_of(networks: dict[str, keras.Model], semi: SemiSupervisedConfig) -> SemiSupervisedLearner:
    """Return the compiled learner, which accepts every pseudo-label: none of the work is spared."""
    everything = semi.model_copy(update={"threshold": 0.0})
    learner = SemiSupervisedLearner(networks, everything, unlabelled=100, prior=np.full(CLASSES, 1 / CLASSES))
    learner.compile(optimizer=keras.optimizers.SGD(1e-4, momentum=0.9), jit_compile=False)
    return learner


def _step(learner: SemiSupervisedLearner, batch: Any) -> Callable[[], Any]:
    compiled = tf.function(learner.train_step, jit_compile=False)
    return lambda: compiled(batch)["loss"].numpy()


def _forward_backward(network: keras.Model, batch: Any, prefix: str) -> Callable[[], Any]:
    """Return one forward and one backward pass over all views of a batch that a network sees."""
    views = {}
    for tensor in network.inputs:
        name, shape = prefix + tensor.name, tensor.shape[1:]
        arrays = [batch[0][kind(name)] for kind in (str, strong_name, weak_name)]
        views[tensor.name] = tf.concat([tf.reshape(array, (-1, *shape)) for array in arrays], axis=0)
    inputs = views if len(views) > 1 else next(iter(views.values()))

    @tf.function
    def passes() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(inputs, training=True)))
        gradients = tape.gradient(loss, network.trainable_variables)
        return tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])

    return lambda: passes().numpy()


def _seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help=f"exit with 1 above {LIMIT}")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument(
        "--rematerialize", action="store_true", help="full size: compute activations again, to save memory"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
