import json
import sys
import time
from pathlib import Path

import pytest
import toys

from keras_actrec.config import LoggingConfig
from keras_actrec.errors import UserError
from keras_actrec.training import loggers
from keras_actrec.training.run_directory import RunDirectory


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def test_tensorboard_after_a_resume(tmp_path: Path) -> None:
    first = loggers.TensorBoardLogger(tmp_path, 1)
    for epoch in (1, 2, 3):
        first.log(epoch, {"loss": float(epoch), "val_loss": 2.0 * epoch, "learning_rate": 0.5})
    # Killed here: the state of epoch 3 was never published, so epoch 3 is computed again.
    time.sleep(1.1)  # event files are named by the second
    second = loggers.TensorBoardLogger(tmp_path, 3)
    for epoch in (3, 4):
        second.log(epoch, {"loss": 10.0 * epoch, "val_loss": 0.0, "learning_rate": 0.25})
    first.close()
    second.close()

    found = scalars(tmp_path)
    assert found["train/loss"] == [(1, 1.0), (2, 2.0), (3, 30.0), (4, 40.0)]
    assert found["validation/loss"][:2] == [(1, 2.0), (2, 4.0)]
    assert found["learning_rate"] == [(1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25)]


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    settings = {"tensorboard": False, "wandb": {"project": "tests", "mode": "offline"}}
    config = toys.make_config(tmp_path, logging=settings)
    with RunDirectory.create(config, toys.make_manifest(tmp_path)) as run:
        for first_epoch in (1, 2):  # the second time as after a resume
            (logger,) = loggers.open_loggers(run, config.logging, first_epoch)
            logger.log(first_epoch, {"loss": 0.5, "val_accuracy": 0.25})
            logger.close()
        files = list((run.path / "wandb").glob("offline-run-*/*.wandb"))
        assert len(files) == 2
        content = b"".join(path.read_bytes() for path in files)
        assert b"validation/accuracy" in content
        assert run.path.name.encode() in content
        assert json.dumps(config.name).encode() in content


def test_wandb_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = toys.make_config(tmp_path, logging={"wandb": {}})
    with (
        RunDirectory.create(config, toys.make_manifest(tmp_path)) as run,
        pytest.raises(UserError, match="pip install"),
    ):
        loggers.open_loggers(run, config.logging, 1)


def test_nothing_asked_for(tmp_path: Path) -> None:
    with RunDirectory.create(toys.make_config(tmp_path), toys.make_manifest(tmp_path)) as run:
        assert loggers.open_loggers(run, LoggingConfig(tensorboard=False), 1) == []
