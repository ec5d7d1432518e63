"""What happens around the epochs of Keras' `fit`."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_actrec import files
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import DivergedError, UserError
from keras_actrec.training import objectives, optimizers, seeding
from keras_actrec.training.checkpoint import Checkpoints, Progress
from keras_actrec.training.loggers import Logger
from keras_actrec.training.run_directory import RunDirectory

CHECK_EVERY_BATCHES = 20
"""Reading the loss waits for the accelerator, so it is not done after each batch."""
NOTHING_READABLE = "no {split} clip can be read; see quarantine.json in the run directory for the reasons."


class Batches(Protocol):
    """The part of `data.pipeline.Loader` that training uses."""

    @property
    def steps(self) -> int:
        """Upper bound of the batches per epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) whose order and random changes the next iteration shows."""

    def dataset(self) -> Any:
        """Batches of ({view name: float32 (B, T, H, W, C)}, one-hot float32 (B, K))."""


class Companion(Protocol):
    """Somebody who goes along with a run and may change its weights between two epochs, such as a swarm."""

    def begin(self, model: keras.Model, progress: Progress) -> None:
        """The first or the restored state is in the model; `progress` tells how many epochs are behind it."""

    def batch_ended(self, batch: int) -> None:
        """A training batch (from 0) has been learnt."""

    def epoch_ended(self, model: keras.Model, progress: Progress) -> None:
        """The state after an epoch has been published; the weights may be changed now.

        A killed run restores the state from before the change, and `begin` has to make the same change again.
        """


class SetEpoch(keras.callbacks.Callback):
    """Tells the loader and the random generators which epoch begins."""

    def __init__(self, loader: Batches, seed: int) -> None:
        super().__init__()
        self.loader = loader
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass the epoch on."""
        self.loader.set_epoch(epoch)
        seeding.seed_epoch(self.seed, epoch)


class FiniteLoss(keras.callbacks.Callback):
    """Stops a run whose loss is not a number any more, or that has no data, before a checkpoint is written of it."""

    def __init__(self) -> None:
        super().__init__()
        self._batches = {"training": 0, "validation": 0}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count anew."""
        self._batches = dict.fromkeys(self._batches, 0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look now and then; a running mean that was NaN once stays so."""
        self._batches["training"] += 1
        if (batch + 1) % CHECK_EVERY_BATCHES == 0:
            _check_finite(logs or {}, f"batch {batch + 1}")

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count."""
        self._batches["validation"] += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the means of the epoch."""
        for split, count in self._batches.items():
            if not count:
                raise UserError(NOTHING_READABLE.format(split=split))
        _check_finite(logs or {}, f"epoch {epoch + 1}")


class EvaluateAverages(keras.callbacks.Callback):
    """Validates with the moving averages of the weights, where the optimiser keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self._swapped = contextlib.ExitStack()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put the averages in."""
        self._swapped.enter_context(optimizers.averaged_weights(self.model))

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put the weights back."""
        self._swapped.close()


class KeepState(keras.callbacks.Callback):
    """Logs an epoch, keeps the best weights, and publishes the state from which a killed run goes on.

    The order makes a kill between any two lines harmless: the loggers first (a repeated epoch overwrites itself
    there), then the best weights, then the state that names them, then history.csv, which is written anew from the
    state.

    Args:
        run: directory and log.
        checkpoints: of the run.
        progress: where the run stands.
        select_by, patience: what is best, and when to stop.
        epochs: length of the whole run.
        quarantine: is counted.
        companion: is told when all is written down.

    Attributes:
        loggers: get the numbers of each epoch.
    """

    def __init__(
        self,
        run: RunDirectory,
        checkpoints: Checkpoints,
        progress: Progress,
        *,
        select_by: str,
        patience: int,
        epochs: int,
        quarantine: Quarantine | None = None,
        companion: Companion | None = None,
    ) -> None:
        super().__init__()
        self.run = run
        self.checkpoints = checkpoints
        self.loggers: Sequence[Logger] = ()
        self.progress = progress
        self.select_by = select_by
        self.patience = patience
        self.epochs = epochs
        self.quarantine = quarantine
        self.companion = companion
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Tell the companion."""
        if self.companion is not None:
            self.companion.batch_ended(batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write everything down."""
        row = self._row(logs or {})
        for logger in self.loggers:
            logger.log(epoch + 1, row)
        self.progress = self.progress.advance(row, self.select_by, self.patience)
        if self.progress.best_epoch == epoch:
            self.checkpoints.save_best(self.model, self.progress)
        self.checkpoints.save_state(self.model, self.progress)
        write_history(self.run, self.progress)
        self._tell(epoch, row, time.monotonic() - self._began)
        if self.progress.stopped:
            self.model.stop_training = True
        if self.companion is not None:
            self.companion.epoch_ended(self.model, self.progress)

    def _row(self, logs: dict[str, Any]) -> dict[str, float]:
        numbers = objectives.row_of(logs, objectives.head_names(self.model), objectives.training_only(self.model))
        return {"learning_rate": optimizers.learning_rate(self.model), **numbers}

    def _tell(self, epoch: int, row: dict[str, float], seconds: float) -> None:
        times = known_times(self.run)
        self.run.add_timing(epochs_sec=[*times[:epoch], round(seconds, 3)])
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        self.run.say(f"epoch {epoch + 1}/{self.epochs}  {numbers}  {seconds:.1f} s{self._lost()}")
        if self.progress.stopped:
            self.run.say(f"stopped: no better {self.select_by} for {self.patience} epochs")

    def _lost(self) -> str:
        """Return how many clips were left out, as the end of a line."""
        if self.quarantine is None:
            return ""
        counts = {split: self.quarantine.count(split) for split in ("train", "unlabelled", "validation")}
        lost = [f"{count} {split}" for split, count in counts.items() if count]
        return f"  (in quarantine: {', '.join(lost)} clips)" if lost else ""


def write_history(run: RunDirectory, progress: Progress) -> None:
    """Publish history.csv as far as the run is."""
    write_rows(run.history, progress.rows)


def write_rows(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Publish one row per epoch as CSV, with numbers that read back exactly and no times."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(rows[0]) if rows else []
    writer.writerow(["epoch", *names])
    for epoch, row in enumerate(rows, start=1):
        writer.writerow([epoch, *(repr(row[name]) for name in names)])
    files.write_text(path, text.getvalue())


def _check_finite(logs: dict[str, Any], where: str) -> None:
    for name, value in logs.items():
        if name.endswith("loss") and not math.isfinite(float(value)):
            raise DivergedError(
                f"training diverged: {name} is {float(value)} at {where}. Try a lower learning rate "
                "(training.optimizer.learning_rate), gradient clipping (training.optimizer.clip_norm=1), a warm-up "
                "(training.schedule.warmup_epochs=1), or training.precision=float32." + _of_half_precision()
            )


def _of_half_precision() -> str:
    """Return a hint at a defect of a backend where it may be what went wrong, else nothing."""
    if keras.config.dtype_policy().name != "mixed_bfloat16" or keras.backend.backend() != "tensorflow":
        return ""
    return (
        " On a CPU, TensorFlow's gradients of 3-D convolutions over few frames may be NaN in bfloat16; "
        "with TF_ENABLE_ONEDNN_OPTS=0 in the environment they are not."
    )


def known_times(run: RunDirectory) -> list[float]:
    """Return the seconds that each epoch so far took, in this session or an earlier one."""
    return files.read_json(run.timing).get("epochs_sec", []) if run.timing.exists() else []
