"""A training program for tests that kill it: python resumable_program.py OUTPUT [seconds of pause per batch]."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import keras  # noqa: E402
import toys  # noqa: E402

from keras_actrec.training import distribution, seeding, supervised  # noqa: E402
from keras_actrec.training.run_directory import RunDirectory  # noqa: E402

TRAINING = {
    "epochs": 4,
    "label_smoothing": 0.1,
    "patience": 3,
    "optimizer": {
        "name": "adamw",
        "learning_rate": 0.02,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "accumulate": 2,
        "ema": 0.8,
    },
    "schedule": {"name": "cosine", "warmup_epochs": 1},
}


class SlowLoader(toys.ArrayLoader):
    """Gives the killer time to strike in the middle of an epoch."""

    pause_sec = 0.0

    def batches(self) -> Iterator[Any]:
        for batch in super().batches():
            time.sleep(self.pause_sec)
            yield batch


def main(output: Path, pause_sec: float) -> None:
    """Train, or resume, and keep the weights."""
    config = toys.make_config(output, logging={"tensorboard": True}, **TRAINING)
    manifest = toys.make_manifest(output)
    run = RunDirectory.find_resumable(config, manifest) or RunDirectory.create(config, manifest)
    hardware = distribution.set_up(config.training)
    seeding.seed_everything(config.seed, config.training.deterministic)
    model = toys.make_network()
    loader = SlowLoader(*toys.make_arrays(21))
    loader.pause_sec = pause_sec
    validation = toys.ArrayLoader(*toys.make_arrays(9, seed=1), shuffle=False)
    with run.interruptible():
        supervised.fit(model, loader, validation, config.training, run, hardware=hardware)
    model.save_weights(run.path / "final.weights.h5")
    keras.utils.clear_session()
    run.mark_finished()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
