"""Where the numbers of an epoch go besides the run directory's own files: TensorBoard, Weights & Biases."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

from keras_actrec.config import LoggingConfig, RunConfig, WandbConfig
from keras_actrec.errors import UserError
from keras_actrec.training.run_directory import RunDirectory


class Logger(Protocol):
    """Takes the numbers of each epoch; an epoch that is computed again after a kill overwrites the first one."""

    def log(self, epoch: int, row: dict[str, float]) -> None:
        """Write the numbers of an epoch (counted from 1) where a kill cannot lose them."""

    def close(self) -> None:
        """Finish."""


class TensorBoardLogger:
    """Scalars per epoch as TensorBoard events.

    The event files are written with TensorBoard's own writer, so no TensorFlow is needed and each backend can use it.
    A resumed run first writes that it starts at its epoch: TensorBoard then drops what an earlier process had written
    of that epoch and later ones.

    Args:
        folder: of the event files.
        first_epoch: the first epoch that will be logged, counted from 1.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=first_epoch, session_log=start))
        self._writer.flush()

    def log(self, epoch: int, row: dict[str, float]) -> None:
        """Write one event with all numbers: `val_loss` as `validation/loss`, `loss` as `train/loss`, `a/b` as it is."""
        from tensorboard.compat.proto import event_pb2, summary_pb2

        values = [summary_pb2.Summary.Value(tag=_tag(name), simple_value=value) for name, value in row.items()]
        summary = summary_pb2.Summary(value=values)
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=epoch, summary=summary))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class WandbLogger:
    """One Weights & Biases run per run directory; a resumed run goes on in it.

    Args:
        run: gives the name and the folder for offline data.
        settings: project and mode.
    """

    def __init__(self, run: RunDirectory, settings: WandbConfig) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("logging.wandb needs Weights & Biases: pip install 'keras-actrec[wandb]'.") from None
        (run.path / "wandb").mkdir(exist_ok=True)
        self._run = wandb.init(
            project=settings.project,
            mode=settings.mode,
            dir=str(run.path),
            id=run.path.name,
            name=run.path.name,
            resume="allow" if settings.mode == "online" else None,
            config=_flat(run.config),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, epoch: int, row: dict[str, float]) -> None:
        """Log the numbers of an epoch."""
        self._run.log({_tag(name): value for name, value in row.items()}, step=epoch)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def open_loggers(run: RunDirectory, settings: LoggingConfig, first_epoch: int) -> list[Logger]:
    """Return the loggers that a configuration asks for."""
    loggers: list[Logger] = []
    if settings.tensorboard:
        loggers.append(TensorBoardLogger(run.tensorboard, first_epoch))
    if settings.wandb is not None:
        loggers.append(WandbLogger(run, settings.wandb))
    return loggers


def _tag(name: str) -> str:
    """Return the name under which both splits' curves share a chart group; a name with its group in it is one."""
    if name == "learning_rate" or "/" in name:
        return name
    return f"validation/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}"


def _flat(config: RunConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")
