"""Starting from weights that were trained before, and keeping a network without its optimiser."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_actrec import files, tensor_file
from keras_actrec.errors import UserError
from keras_actrec.evaluation import run_search
from keras_actrec.training import optimizers
from keras_actrec.training.checkpoint import Checkpoints
from keras_actrec.training.run_directory import RunDirectory

KINDS = "a run directory, a .keras model, a .weights.h5 file or a .safetensors checkpoint"
SHOWN_DIFFERENCES = 5

Named = list[tuple[str, np.ndarray]]


def init_from(model: keras.Model, source: str | os.PathLike[str], say: Callable[[str], None] = print) -> None:
    """Copy weights into a model of the same architecture; a classifier for other classes keeps its random weights.

    Args:
        model: gets the weights.
        source: a run directory (its kept model, else its best checkpoint), `.keras`, `.weights.h5` or `.safetensors`.
        say: gets the notice about a classifier that was left alone.

    Raises:
        UserError: there is no such file, or it does not fit; the first differences are listed and nothing is changed.
    """
    path = _resolve(Path(source))
    weights = _weights(model)
    if path.name.endswith(".h5"):
        found = _read_h5(path, model)
    elif path.suffix == ".keras":
        found = [(variable.path, optimizers.to_numpy(variable)) for variable in _weights(_load(path))]
    else:
        found = _read_safetensors(path)
    left = _compare(found, weights, path, model.output_shape[-1])
    for index, ((_, value), variable) in enumerate(zip(found, weights, strict=True)):
        if index not in left:
            variable.assign(value)
    if left:
        theirs, ours = found[min(left)][1].shape[-1], model.output_shape[-1]
        say(f"{path} has {theirs} classes, this model {ours}: the classifier starts from random weights")


def save_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Publish a `.keras` file of the network alone: no optimiser in it, and loadable on each backend."""
    synchronised = [layer for layer in batch_normalisations(model) if layer.synchronized]
    for layer in synchronised:
        layer.synchronized = False
    try:
        with files.publish(path) as temporary:
            _uncompiled(model).save(temporary)
    finally:
        for layer in synchronised:
            layer.synchronized = True


def batch_normalisations(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the batch normalisations anywhere inside a model."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


def _uncompiled(model: keras.Model) -> keras.Model:
    """Return a model of the same layers and weights that knows nothing of training."""
    return keras.Model(model.input, model.output, name=model.name)


def _resolve(path: Path) -> Path:
    if path.is_dir():
        return _kept(RunDirectory.open(path))
    if not path.is_file():
        raise UserError(f"training.init_from: there is no {path}; expected {KINDS}.")
    if not path.name.endswith((".keras", ".weights.h5", ".safetensors")):
        raise UserError(f"training.init_from: {path.name} is of no known kind; expected {KINDS}.")
    return path


def _kept(run: RunDirectory) -> Path:
    """Return the model of a run; of an unfinished one, the best weights so far."""
    if run.model.is_file():
        return run.model
    checkpoints = Checkpoints(run.checkpoints, {})
    for state in reversed(checkpoints.states()):
        with contextlib.suppress(tensor_file.DamagedFileError):
            best = checkpoints.best_path(tensor_file.load_notes(state)["progress"]["best_epoch"])
            if best.is_file():
                return best
    run_search.check_one_network(run.path)
    raise UserError(f"training.init_from: the run {run.path} holds neither a model.keras nor a checkpoint yet.")


def _load(path: Path) -> keras.Model:
    importlib.import_module("keras_actrec.models.frames")  # registers the package's layers

    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"training.init_from: {path} cannot be loaded as a Keras model: {first}") from None


def _read_safetensors(path: Path) -> Named:
    arrays, _ = tensor_file.load(path)
    names = sorted(name for name in arrays if name.startswith("model/"))
    return [(name.split("/", 2)[2], arrays[name]) for name in names if not name.endswith("seed_generator_state")]


def _read_h5(path: Path, model: keras.Model) -> Named:
    """Return the arrays of a weights file in the order of the model's weights.

    The model's own weights, numbered, are saved and laid beside the file, which tells where each one lies in it.
    """
    numbered = keras.models.clone_model(_uncompiled(model))
    for index, variable in enumerate(_weights(numbered)):
        variable.assign(np.full(variable.shape, index))
    with tempfile.TemporaryDirectory() as folder:
        numbered.save_weights(Path(folder) / "numbered.weights.h5")
        layout = _datasets(Path(folder) / "numbered.weights.h5")
    try:
        found = _datasets(path)
    except OSError:
        raise UserError(f"training.init_from: {path} is no HDF5 file of weights.") from None
    # States of random generators are integers, and not among the weights.
    places = {int(value.flat[0]): name for name, value in layout.items() if np.issubdtype(value.dtype, np.floating)}
    return [(places[index], found.get(places[index], np.zeros(0))) for index in range(len(places))]


def _datasets(path: Path) -> dict[str, np.ndarray]:
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.array(item)

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    return arrays


def _weights(model: keras.Model) -> list[keras.Variable]:
    """Return all variables but the states of random generators."""
    return list(model.weights)


def _compare(found: Named, weights: Sequence[keras.Variable], path: Path, classes: int) -> set[int]:
    """Return the positions of the classifier's weights where it is for other classes; refuse all other differences."""
    shapes = [(array.shape, tuple(variable.shape)) for (_, array), variable in zip(found, weights, strict=False)]
    different = [index for index, (theirs, ours) in enumerate(shapes) if theirs != ours]
    pairs = {(shapes[index][0][-1:], shapes[index][1][-1:]) for index in different}
    other_classes = (
        len(found) == len(weights)
        and len(pairs) == 1
        and all(shapes[index][0][:-1] == shapes[index][1][:-1] for index in different)
        and all(shapes[index][1][-1:] == (classes,) for index in different)
        and all(index >= len(weights) - 2 for index in different)
    )
    if (different and not other_classes) or len(found) != len(weights):
        raise UserError(_differences(found, weights, different, path))
    return set(different)


def _differences(found: Named, weights: Sequence[keras.Variable], different: list[int], path: Path) -> str:
    lines = [f"{weights[i].path} is {tuple(weights[i].shape)}, there {found[i][1].shape}" for i in different]
    if len(found) != len(weights):
        lines.insert(0, f"the model has {len(weights)} weights, the file {len(found)}")
    more = f" and {len(lines) - SHOWN_DIFFERENCES} more" if len(lines) > SHOWN_DIFFERENCES else ""
    return (
        f"training.init_from: {path} holds another architecture: {'; '.join(lines[:SHOWN_DIFFERENCES])}{more}. "
        "Use the model section of the configuration that it was trained with."
    )
