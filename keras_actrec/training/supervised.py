"""Supervised training: Keras' own `fit`, called once for all epochs, in a run directory that can be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_actrec import files
from keras_actrec.config import TrainingConfig
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UserError
from keras_actrec.training import callbacks, loggers, optimizers, schedules
from keras_actrec.training.callbacks import Batches, Companion
from keras_actrec.training.checkpoint import Checkpoints, Progress, Unwritten
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.learner import Learner
from keras_actrec.training.objectives import objectives
from keras_actrec.training.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What training gives beside the weights, which are those of the best epoch.

    Attributes:
        rows: the logged numbers of each epoch, as in history.csv.
        best_epoch: counted from 1.
        best_value: its validation accuracy or loss.
        stopped: whether early stopping ended the run.
    """

    rows: tuple[dict[str, float], ...]
    best_epoch: int
    best_value: float
    stopped: bool


def fit(
    model: keras.Model,
    train: Batches,
    validation: Batches,
    settings: TrainingConfig,
    run: RunDirectory,
    *,
    hardware: Hardware,
    quarantine: Quarantine | None = None,
    companion: Companion | None = None,
    before_validation: Sequence[keras.callbacks.Callback] = (),
) -> Fitted:
    """Train a model, from the start or from the newest state in `run.checkpoints`, and give it its best weights.

    On a CPU, with deterministic kernels, a run that is killed at any moment and called again ends with the same bits
    as one that is left alone.

    Args:
        model: gives logits (B, K); built inside of `hardware.scope()`. It may be half frozen.
        train: loader whose order and random changes depend on the epoch alone.
        validation: loader that is the same in each epoch.
        settings: optimiser, schedule, length, choice of the best epoch.
        run: gets checkpoints, history.csv, TensorBoard events, log lines; locked by the caller.
        hardware: from `distribution.set_up`.
        quarantine: of the loaders, to tell after each epoch how many clips could not be read.
        companion: is told of each batch and epoch, and may change the weights between two epochs.
        before_validation: callbacks that see the weights which are validated, and may change the frozen ones.

    Raises:
        UserError: the loss is not finite, no clip can be read, or the checkpoints belong to something else.
    """
    trainer = Trainer(
        model,
        train,
        validation,
        settings,
        run,
        hardware=hardware,
        quarantine=quarantine,
        companion=companion,
        before_validation=before_validation,
    )
    trainer.train(settings.epochs)
    return trainer.finish()


class Trainer:
    """Training that can be done in parts: `train(5)`, something else, `train(10)`, `finish()`.

    The arguments are those of `fit`. Making one compiles the model and restores the newest state.

    Attributes:
        progress: how far the run is.
    """

    def __init__(
        self,
        model: keras.Model,
        train: Batches,
        validation: Batches,
        settings: TrainingConfig,
        run: RunDirectory,
        *,
        hardware: Hardware,
        quarantine: Quarantine | None = None,
        companion: Companion | None = None,
        before_validation: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        hardware.check(model)
        _check_replicas(settings, hardware)
        compile_model(model, settings, train.steps, hardware)
        self._model = model
        self._train, self._validation = (
            hardware.own_share(loader, filled) for loader, filled in ((train, False), (validation, True))
        )
        self._settings, self._run, self._hardware = settings, run, hardware
        self._quarantine, self._companion = quarantine, companion
        self._before_validation = tuple(before_validation)
        kind = Checkpoints if hardware.writes else Unwritten
        self._checkpoints = kind(run.checkpoints, provenance(run))
        self.progress = hardware.start_from(self._checkpoints, model)
        callbacks.write_history(run, self.progress)
        if companion is not None:
            companion.begin(model, self.progress)

    def train(self, epochs: int) -> Progress:
        """Go on until `epochs` epochs are done, or early stopping ends the run; return the progress."""
        if self.progress.epochs < epochs and not self.progress.stopped:
            together = self._hardware.callbacks(self._quarantine)
            preparations = callbacks.EvaluateAverages(), *self._before_validation, *together
            self.progress = _run(
                self._model, self._train, self._validation, preparations, self._keeper(), epochs, self._hardware
            )
        return self.progress

    def finish(self) -> Fitted:
        """Give the model its best weights."""
        progress = self.progress
        self._checkpoints.load_best(self._model, progress)
        return Fitted(progress.rows, (progress.best_epoch or 0) + 1, progress.best_value, progress.stopped)

    def _keeper(self) -> callbacks.KeepState:
        settings = self._settings
        return callbacks.KeepState(
            self._run,
            self._checkpoints,
            self.progress,
            select_by=settings.select_by,
            patience=settings.patience,
            epochs=settings.epochs,
            quarantine=self._quarantine,
            companion=self._companion,
        )


def compile_model(model: keras.Model, settings: TrainingConfig, steps_per_epoch: int, hardware: Hardware) -> None:
    """Give the model its loss, metrics and (built) optimiser."""
    schedule = schedules.build_schedule(settings.optimizer, settings.schedule, steps_per_epoch, settings.epochs)
    with hardware.scope():
        optimizer = optimizers.build_optimizer(
            settings.optimizer,
            model,
            schedule,
            float16=settings.precision == "mixed_float16",
            replicas=hardware.replicas,
        )
        model.compile(
            optimizer=optimizer,
            **objectives(model, settings.label_smoothing, weighted=hardware.replicas > 1),
            jit_compile=hardware.jit_compile,
        )
    hardware.guard_end_of_data(model)
    hardware.forget_every_gradient(model)


def arrange(dataset: Any, model: keras.Model) -> Any:
    """Give the inputs in the structure that the model takes: a lone array, or the dictionary by name.

    A learner that takes all views gets them as they are.

    Args:
        dataset: batches of ({view name: array}, labels), or with weights after them.
        model: its inputs bear names of views.

    Raises:
        UserError: when an input has no view of its name.
    """
    if isinstance(model, Learner) and model.takes_all_views:
        return dataset
    given = list(dataset.element_spec[0])
    wanted = [tensor.name for tensor in model.inputs]
    missing = [name for name in wanted if name not in given]
    if missing:
        raise UserError(f"the model takes an input '{missing[0]}', the data gives {', '.join(given)}.")
    if isinstance(model.input, (list, dict)):
        return dataset.map(lambda inputs, *targets: ({name: inputs[name] for name in wanted}, *targets))
    return dataset.map(lambda inputs, *targets: (inputs[wanted[0]], *targets))


def provenance(run: RunDirectory) -> dict[str, Any]:
    """Return what goes into each checkpoint: data set, fold, manifest hash, class map, model and seed."""
    lock = files.read_json(run.path / "manifest.lock")
    return {
        "dataset": lock["name"],
        "fold": lock["fold"],
        "manifest": lock["hash"],
        "classes": lock["classes"],
        "model": run.config.model.name,
        "options": run.config.model.options,
        "seed": run.config.seed,
    }


def _run(
    model: keras.Model,
    train: Batches,
    validation: Batches,
    preparations: Sequence[keras.callbacks.Callback],
    keep: callbacks.KeepState,
    epochs: int,
    hardware: Hardware,
) -> Progress:
    """Call Keras' `fit` for the epochs that are left until `epochs` are done."""
    run, done = keep.run, keep.progress.epochs
    if done and not keep.companion:
        run.say(f"resuming after epoch {done} of {keep.epochs}")
    train.set_epoch(done)
    keep.loggers = loggers.open_loggers(run, run.config.logging, done + 1)
    try:
        with _quiet():
            model.fit(
                hardware.training_batches(arrange(train.dataset(), model)),
                validation_data=hardware.validation_batches(arrange(validation.dataset(), model)),
                epochs=epochs,
                initial_epoch=done,
                shuffle=False,
                callbacks=[
                    callbacks.SetEpoch(train, run.config.seed),
                    callbacks.FiniteLoss(),
                    *preparations,
                    keep,
                ],
                verbose=1 if sys.stdout.isatty() else 0,
            )
    except UserError:
        raise
    except Exception:
        _explain(train, "training")
        _explain(validation, "validation")
        raise
    finally:
        for logger in keep.loggers:
            logger.close()
    return keep.progress


def _explain(loader: Batches, split: str) -> None:
    """After Keras has failed, raise the reason if it lies in the data.

    TensorFlow reports a worker's error as a long text of its own, so the loader keeps the error itself. Without a
    single batch Keras fails on its metrics.
    """
    failure = getattr(loader, "failure", None)
    if isinstance(failure, Exception):
        raise failure from None
    if next(iter(loader.dataset()), None) is None:
        raise UserError(callbacks.NOTHING_READABLE.format(split=split)) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide Keras' warning about an unknown number of batches: clips that cannot be read are left out as they come."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ran out of data.*")
        yield


def _check_replicas(settings: TrainingConfig, hardware: Hardware) -> None:
    """Refuse what several devices cannot do."""
    if settings.batch_size < hardware.replicas:
        raise UserError(
            f"training.batch_size is {settings.batch_size}, but {hardware.replicas} devices share a batch: "
            f"choose at least {hardware.replicas}."
        )
    if hardware.parts_evenly and settings.batch_size % hardware.replicas:
        raise UserError(
            f"training.batch_size is {settings.batch_size}, and the {hardware.replicas} devices of all processes share "
            f"a batch equally: choose a multiple of {hardware.replicas}."
        )
    if hardware.replicas > 1 and settings.optimizer.accumulate > 1:
        raise UserError(
            "training.optimizer.accumulate works on one device only, as TensorFlow lets no device decide alone when "
            "to update: set it to 1 and choose a larger training.batch_size, or name one device."
        )
