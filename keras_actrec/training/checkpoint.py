"""The full state of a training run in one safetensors file per epoch, so that a resumed run equals an undisturbed one.

A state holds each variable of the model (weights, statistics of batch normalisation, seed generators) and of the
optimiser (moments, moving averages, accumulated gradients, number of batches), and the progress as JSON. Variables are
kept by position, because Keras counts layer names up within a process; the last part of the name, shape and type are
compared when they are read back.
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_actrec import tensor_file
from keras_actrec.errors import UserError
from keras_actrec.training import optimizers

KEPT_STATES = 2
"""So many states are kept; the older one serves when the newest is damaged."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        epochs: whole epochs behind it.
        rows: one dictionary of logged numbers per epoch.
        best_epoch: the epoch (from 0) with the best `best_value`; None before the first.
        best_value: its validation accuracy or loss.
        waited: epochs since then.
        stopped: whether early stopping has ended the run.
    """

    epochs: int = 0
    rows: tuple[dict[str, float], ...] = ()
    best_epoch: int | None = None
    best_value: float | None = None
    waited: int = 0
    stopped: bool = False

    def advance(self, row: dict[str, float], select_by: str, patience: int) -> Progress:
        """Return the progress after one more epoch; an equal value is no improvement, a NaN never is one.

        With "last" each epoch is better than the one before; its value is the validation accuracy.
        """
        value = row["val_accuracy" if select_by == "last" else select_by]
        better = value == value and (self.best_value is None or _better(value, self.best_value, select_by))
        better = better or select_by == "last"
        waited = 0 if better else self.waited + 1
        return Progress(
            epochs=self.epochs + 1,
            rows=(*self.rows, row),
            best_epoch=self.epochs if better else self.best_epoch,
            best_value=value if better else self.best_value,
            waited=waited,
            stopped=0 < patience <= waited,
        )


def _better(value: float, best: float, select_by: str) -> bool:
    if select_by == "last":
        return True
    return value < best if select_by.endswith("loss") else value > best


class Checkpoints:
    """The training states and best weights in one folder.

    Args:
        folder: where they lie.
        provenance: goes into each file: data set, fold, manifest hash, class map, model name and options, ...
    """

    def __init__(self, folder: Path, provenance: dict[str, Any]) -> None:
        self.folder = folder
        self.provenance = provenance

    def save_state(self, model: keras.Model, progress: Progress) -> Path:
        """Publish the state after an epoch and remove files that no kept state needs."""
        path = self.folder / f"state-{progress.epochs:04d}.safetensors"
        arrays = collect("model", model.variables) | collect("optimizer", model.optimizer.variables)
        notes = {"kind": "state", "progress": dataclasses.asdict(progress), "provenance": self.provenance}
        tensor_file.save(path, arrays, notes)
        self._prune()
        return path

    def save_best(self, model: keras.Model, progress: Progress) -> Path:
        """Publish the weights that are evaluated (moving averages where there are some) as the best so far."""
        path = self.best_path(progress.best_epoch)
        known = optimizers.averages(model)
        variables = [known.get(id(variable), variable) for variable in model.variables]
        arrays = collect("model", variables, model.variables)
        notes = {"kind": "best", "epoch": progress.best_epoch, "value": progress.best_value}
        tensor_file.save(path, arrays, notes | {"provenance": self.provenance})
        return path

    def best_path(self, epoch: int | None) -> Path:
        """Return where the best weights of an epoch lie."""
        return self.folder / f"best-{(epoch or 0) + 1:04d}.safetensors"

    def load_best(self, model: keras.Model, progress: Progress) -> None:
        """Put the best weights into the model."""
        arrays, _ = tensor_file.load(self.best_path(progress.best_epoch))
        restore(arrays, "model", model.variables)

    def restore_state(self, model: keras.Model) -> Progress:
        """Put the newest whole state into model and optimiser; fall back to the one before when it is damaged.

        Returns:
            The progress it stands for; that of a new run when there is no state.

        Raises:
            UserError: when there are states and none can be read, or they belong to another model or data set.
        """
        for leftover in self.folder.glob(".*.safetensors"):  # of a process that was killed while writing
            leftover.unlink(missing_ok=True)
        states = self.states()
        for path in reversed(states):
            try:
                arrays, notes = tensor_file.load(path)
                self._need_best(notes)
            except tensor_file.DamagedFileError as error:
                warnings.warn(f"{error} The state before it is used.", stacklevel=2)
                continue
            return self._apply(path, arrays, notes, model)
        if states:
            raise UserError(f"no training state in {self.folder} can be read; start a new run without --resume.")
        return Progress()

    def states(self) -> list[Path]:
        """Return the files of the training states, oldest first."""
        return sorted(self.folder.glob("state-*.safetensors"), key=_number)

    def _need_best(self, notes: dict[str, Any]) -> None:
        """A state is of use only together with the best weights that it names."""
        epoch = notes["progress"]["best_epoch"]
        if epoch is not None:
            tensor_file.load(self.best_path(epoch))

    def _apply(self, path: Path, arrays: dict[str, np.ndarray], notes: dict[str, Any], model: keras.Model) -> Progress:
        for key, value in self.provenance.items():
            if notes["provenance"].get(key) != _plain(value):
                raise UserError(f"{path} belongs to another run: '{key}' differs; start a new run without --resume.")
        restore(arrays, "model", model.variables)
        restore(arrays, "optimizer", model.optimizer.variables)
        progress = notes["progress"]
        return Progress(**{**progress, "rows": tuple(progress["rows"])})

    def _prune(self) -> None:
        states = self.states()
        for path in states[:-KEPT_STATES]:
            path.unlink()
        wanted = {self.best_path(_best_epoch(path)) for path in states[-KEPT_STATES:]}
        for path in self.folder.glob("best-*.safetensors"):
            if path not in wanted:
                path.unlink()


class Unwritten(Checkpoints):
    """The checkpoints of a process that computes along with another one, which keeps them."""

    def save_state(self, model: keras.Model, progress: Progress) -> Path:
        """Write nothing."""
        return self.folder

    def save_best(self, model: keras.Model, progress: Progress) -> Path:
        """Write nothing."""
        return self.folder

    def load_best(self, model: keras.Model, progress: Progress) -> None:
        """Leave the last weights: only the other process goes on with the model."""


def collect(
    prefix: str, variables: Sequence[keras.Variable], named_like: Sequence[keras.Variable] | None = None
) -> dict[str, np.ndarray]:
    """Return the values of variables under names such as "model/00003/dense/kernel"."""
    named_like = variables if named_like is None else named_like
    pairs = enumerate(zip(variables, named_like, strict=True))
    return {f"{prefix}/{index:05d}/{named.path}": optimizers.to_numpy(variable) for index, (variable, named) in pairs}


def restore(arrays: dict[str, np.ndarray], prefix: str, variables: Sequence[keras.Variable]) -> None:
    """Put values back into variables, by position, after comparing names, shapes and types.

    Raises:
        UserError: when they are not those of the same network; nothing is changed then.
    """
    names = sorted(name for name in arrays if name.startswith(f"{prefix}/"))
    if len(names) != len(variables):
        raise UserError(f"the file holds {len(names)} variables of the {prefix}, this one has {len(variables)}.")
    for name, variable in zip(names, variables, strict=True):
        found = (name.rpartition("/")[2], arrays[name].shape, arrays[name].dtype.name)
        wanted = (_stem(variable.path), tuple(variable.shape), keras.backend.standardize_dtype(variable.dtype))
        if (_stem(found[0]), *found[1:]) != wanted:
            raise UserError(
                f"the file's variable {name} is {found[1:]}, the {prefix} has {variable.path} {wanted[1:]}."
            )
    for name, variable in zip(names, variables, strict=True):
        variable.assign(arrays[name])


def _stem(path: str) -> str:
    """Return the last part of a variable's name without the numbers that Keras counts up."""
    return re.sub(r"_\d+(?=_|$)", "", path.rpartition("/")[2])


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _best_epoch(path: Path) -> int | None:
    """Return the best epoch that a state names; a damaged one names none."""
    try:
        return tensor_file.load_notes(path)["progress"]["best_epoch"]
    except tensor_file.DamagedFileError:
        return None


def _plain(value: Any) -> Any:
    """Return a value as JSON would give it back."""
    return json.loads(json.dumps(value))
