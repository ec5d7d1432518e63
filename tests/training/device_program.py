"""Trains on one or several logical CPU devices: python device_program.py OUTPUT DEVICES CLIPS [PRECISION]."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import numpy as np  # noqa: E402
import toys  # noqa: E402

from keras_actrec.backbones.synchronize import synchronize  # noqa: E402
from keras_actrec.errors import UserError  # noqa: E402
from keras_actrec.training import distribution, seeding, supervised, weights  # noqa: E402
from keras_actrec.training.run_directory import RunDirectory  # noqa: E402

TRAINING = {
    "batch_size": 8,
    "optimizer": {"momentum": 0.9, "learning_rate": 0.1, "clip_norm": 0.05, "weight_decay": 0.01, "ema": 0.5},
    "schedule": {"name": "cosine", "warmup_epochs": 1},
}


def main(output: Path, devices: int, clips: int, precision: str) -> None:
    """Train and write the weights of the best epoch, the history and some logits."""
    config = toys.make_config(output, **TRAINING, virtual_cpus=devices, precision=precision)
    run = RunDirectory.create(config, toys.make_manifest(output))
    hardware = distribution.set_up(config.training)
    assert hardware.replicas == max(devices, 1), hardware
    seeding.seed_everything(0)
    with hardware.scope():
        model = toys.make_network(dropout=0.0)
        if devices > 1:
            _refuses_unsynchronised(model, config, run, hardware)
            synchronize(model)
    train = toys.ArrayLoader(*toys.make_arrays(clips), batch_size=8)
    validation = toys.ArrayLoader(*toys.make_arrays(9, seed=1), shuffle=False, batch_size=4)
    fitted = supervised.fit(model, train, validation, config.training, run, hardware=hardware)
    history = np.array([[row[name] for name in ("loss", "val_loss", "val_accuracy")] for row in fitted.rows])
    logits = model.predict_on_batch(toys.make_arrays(5, seed=2)[0])[:5]
    weights.save_model(model, output / "model.keras")
    np.savez(output / "result.npz", *model.get_weights(), history=history, logits=logits)
    _one_strategy_only(config, devices)


def _refuses_unsynchronised(model: object, config: object, run: object, hardware: object) -> None:
    try:
        supervised.fit(model, None, None, config.training, run, hardware=hardware)
    except UserError as error:
        print("refused:", error)


def _one_strategy_only(config: object, devices: int) -> None:
    try:
        distribution.set_up(config.training.model_copy(update={"virtual_cpus": 3}))
    except UserError as error:
        print("once:", error)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "float32")
