"""Trains as one of several processes, or alone: python cluster_program.py OUTPUT '{"training": .., "clips": ..}'.

Besides the keys of the section `training` the document has `clips` (number of training clips), `bad` (indices of those
that cannot be read), `pause_sec` (per batch), `dies_in_step` (number of the batch in which a worker is killed),
`dies_before_the_cluster` (whether it is killed as soon as all have met).
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import numpy as np  # noqa: E402
import toys  # noqa: E402

from keras_actrec.backbones.synchronize import synchronize  # noqa: E402
from keras_actrec.cli import guard, leave  # noqa: E402
from keras_actrec.training import distribution, forming, multi_worker, seeding, supervised, weights  # noqa: E402
from keras_actrec.training.cluster import find_place  # noqa: E402
from keras_actrec.training.run_directory import RunDirectory  # noqa: E402

TRAINING = {
    "epochs": 4,
    "batch_size": 8,
    "label_smoothing": 0.1,
    "patience": 3,
    "optimizer": {"name": "adamw", "learning_rate": 0.02, "weight_decay": 0.01, "clip_norm": 0.05, "ema": 0.5},
    "schedule": {"name": "cosine", "warmup_epochs": 1},
}


def die_in_step(number: int) -> None:
    """Kill this process when it has agreed on a batch, and the others compute with it already."""
    original, seen = multi_worker._part, []

    def part(*arguments: Any) -> Any:
        seen.append(1)
        if len(seen) == number:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    multi_worker._part = part


class Loader(toys.ArrayLoader):
    """Takes its time, so that somebody can strike within an epoch."""

    pause_sec = 0.0

    def batches(self) -> Iterator[Any]:
        for batch in super().batches():
            time.sleep(self.pause_sec)
            yield batch


def main(output: Path, document: dict[str, Any]) -> None:
    """Train, or resume, and write the weights of the best epoch, the history and some logits."""
    config = toys.make_config(output, **{**TRAINING, **document.get("training", {})})
    place = find_place(config.training.cluster, os.environ)
    if document.get("dies_before_the_cluster"):
        forming._strategy = lambda place: os.kill(os.getpid(), signal.SIGKILL)
    hardware = distribution.set_up(config.training) if place is None else forming.form(config, place)
    if place is None:
        train(output, config, hardware, document)
        return
    with hardware.links.accounted_for(), hardware.together(config, toys.make_manifest(output)):
        if not hardware.writes:
            hardware.links.from_chief()
            die_in_step(document.get("dies_in_step", 0))
        train(output, config, hardware, document)


def train(output: Path, config: Any, hardware: Any, document: dict[str, Any]) -> None:
    """As `keras_actrec.training.fold` does it."""
    manifest = toys.make_manifest(output)
    with RunDirectory.find_resumable(config, manifest) or RunDirectory.create(config, manifest) as run:
        seeding.seed_everything(0)
        with hardware.scope():
            model = toys.make_network(dropout=document.get("dropout", 0.0))
            synchronize(model, hardware.strategy is not None)
        loader = Loader(*toys.make_arrays(document.get("clips", 21)), batch_size=8)
        loader.pause_sec = document.get("pause_sec", 0.0)
        validation = toys.ArrayLoader(*toys.make_arrays(9, seed=1), shuffle=False, batch_size=8)
        fitted = supervised.fit(model, loader, validation, config.training, run, hardware=hardware)
        run.mark_finished()
    columns = ("learning_rate", "loss", "accuracy", "val_loss", "val_accuracy")
    history = np.array([[row[name] for name in columns] for row in fitted.rows])
    np.savez(output / "last.npz", history=history, best=fitted.best_epoch)
    if not hardware.writes:
        return
    weights.save_model(model, output / "model.keras")
    kept = hardware.alone(model, output / "model.keras")
    logits = kept.predict_on_batch(toys.make_arrays(5, seed=2)[0])
    np.savez(output / "result.npz", *model.get_weights(), history=history, logits=logits)


if __name__ == "__main__":
    raise SystemExit(leave(guard(lambda: main(Path(sys.argv[1]), json.loads(sys.argv[2])))))
