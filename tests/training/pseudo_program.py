"""Trains a toy whose pseudo-labels are data, so that they can be counted: python pseudo_program.py OUTPUT [DEVICES]."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import keras  # noqa: E402
import numpy as np  # noqa: E402
import toys  # noqa: E402
from keras import ops  # noqa: E402

from keras_actrec.training import distribution, seeding, supervised  # noqa: E402
from keras_actrec.training.learner import LOGITS, Learner  # noqa: E402
from keras_actrec.training.pseudo_audit import KeepAudit, PseudoAudit  # noqa: E402
from keras_actrec.training.run_directory import RunDirectory  # noqa: E402

CLASSES = ("bend", "sit / down", "jump")
ROLES = ("primary", "auxiliary")
THRESHOLD = 0.45
EPOCHS = 3
CLIPS = 20


class Toy(Learner, keras.Model):
    """Learns from labels alone, and gives what its input says as pseudo-labels of two networks."""

    audit: PseudoAudit

    def regime_loss(self, labels: Any, outputs: dict[str, Any]) -> Any:
        """Count the pseudo-labels (B, 2, K) of the batch; return the cross entropy."""
        says = {role: outputs["says"][:, index] for index, role in enumerate(self.audit.roles)}
        self.audit.update_state(
            targets={role: ops.argmax(own, axis=-1) for role, own in says.items()},
            accepted={role: ops.cast(ops.max(own, axis=-1) >= THRESHOLD, "float32") for role, own in says.items()},
            truth=outputs["truth"],
        )
        return ops.mean(ops.categorical_crossentropy(labels, outputs[LOGITS], from_logits=True))


class PowerCutError(Exception):
    """Stands for the end of the process."""


@dataclasses.dataclass
class Loader(toys.ArrayLoader):
    """Adds what two networks say of other clips, and the truth of these, of which every fifth is unknown."""

    cut: tuple[int, int] = (-1, -1)

    def batches(self) -> Iterator[Any]:
        """Yield the batches; fail at batch `cut[1]` of epoch `cut[0]`."""
        rng = np.random.default_rng((5, self.epoch))
        for index, (inputs, targets) in enumerate(super().batches()):
            if (self.epoch, index) == self.cut:
                raise PowerCutError
            yield inputs | made_up(rng, len(targets)), targets

    def dataset(self) -> Any:
        """Return the batches."""
        inputs = {"rgb": self.clips[:1]} | made_up(np.random.default_rng(0), 1)
        return distribution.dataset_from(self.batches, (inputs, self.targets[:1]))


def made_up(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Return {"says": probabilities (count, 2, K), right more often than not; "truth": one-hot (count, K)}."""
    truth = rng.integers(0, 3, count)
    says = rng.dirichlet((1, 1, 1), (count, 2)) + 0.4 * np.eye(3)[truth][:, None]
    known = (rng.random(count) > 0.2)[:, None]
    shares = says / says.sum(axis=-1, keepdims=True)
    return {"says": shares.astype("float32"), "truth": (np.eye(3)[truth] * known).astype("float32")}


def make_toy(roles: tuple[str, ...] = ROLES) -> Toy:
    """Return the network under training; call it in the scope of the devices."""
    network = toys.make_network(dropout=0.0, normalise=False)
    says, truth = keras.Input((2, 3), name="says"), keras.Input((3,), name="truth")
    inputs = {"rgb": network.input, "says": says, "truth": truth}
    outputs = {"says": keras.layers.Identity()(says), "truth": keras.layers.Identity()(truth)}
    toy = Toy(inputs, {LOGITS: network.output, **outputs})
    toy.audit = PseudoAudit(3, roles)
    return toy


def training_loader() -> Loader:
    """Return what is trained on."""
    return Loader(*toys.make_arrays(CLIPS))


def train(output: Path, devices: int = 0, cut: tuple[int, int] = (-1, -1), parts: tuple[int, ...] = ()) -> RunDirectory:
    """Train or resume; `parts` are epochs at which training pauses."""
    config = toys.make_config(output, epochs=EPOCHS, virtual_cpus=devices, logging={"tensorboard": True})
    manifest = toys.make_manifest(output)
    run = RunDirectory.find_resumable(config, manifest) or RunDirectory.create(config, manifest)
    with run:
        hardware = distribution.set_up(config.training)
        seeding.seed_everything(0)
        with hardware.scope():
            toy = make_toy()
        loader = training_loader()
        loader.cut = cut
        validation = Loader(*toys.make_arrays(6, seed=1), shuffle=False)
        keep = KeepAudit(toy.audit, CLASSES, run)
        trainer = supervised.Trainer(
            toy, loader, validation, config.training, run, hardware=hardware, before_validation=(keep,)
        )
        for epochs in (*parts, EPOCHS):
            trainer.train(epochs)
        trainer.finish()
    return run


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
