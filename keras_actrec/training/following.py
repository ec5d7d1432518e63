"""What a process does that computes along with the chief: the same training, without a trace on its disk."""

from __future__ import annotations

import tempfile

from keras_actrec.config import RunConfig, parse_config
from keras_actrec.errors import UserError
from keras_actrec.training import datasets
from keras_actrec.training.fold import train_only
from keras_actrec.training.multi_worker import SharedHardware
from keras_actrec.training.run_directory import RunDirectory

_NO_LOGS = {"tensorboard": False, "wandb": None}


class _Unseen(RunDirectory):
    """A run directory that is thrown away; its lines are the chief's to tell."""

    def say(self, line: str) -> None:
        """Say nothing."""


def follow(hardware: SharedHardware) -> None:
    """Train what the chief says, until it has finished; it alone evaluates.

    Raises:
        UserError: the chief has gone, or this process has another data set.
    """
    while (task := hardware.links.from_chief()) is not None:
        config = parse_config(task["config"])
        with tempfile.TemporaryDirectory(prefix="keras_actrec-") as folder:
            _train(config, task["manifest"], folder, hardware)


def _train(config: RunConfig, manifest_hash: str, folder: str, hardware: SharedHardware) -> None:
    manifest = datasets.load(config)
    if manifest.hash != manifest_hash:
        raise UserError(
            f"the data set '{manifest.name}' at {manifest.root} is another one here than on the chief: manifest "
            f"{manifest.hash[:12]}, there {manifest_hash[:12]}. Give all nodes the same files."
        )
    document = config.model_dump(mode="json") | {"output": folder, "logging": _NO_LOGS}
    with _Unseen.create(parse_config(document), manifest) as directory:
        train_only(directory, manifest, hardware)
