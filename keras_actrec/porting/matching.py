"""Find the place of each tensor in a network, and refuse what does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.porting.family import Family
from keras_actrec.porting.layouts import Place
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Target, targets

SHOWN = 10
# These are long, and all of them usually have one cause.
SHOWN_MISTAKES = 3
NO_RULE = "the family has no rule for it"


@dataclasses.dataclass(frozen=True)
class Stranger:
    """A tensor of the file without a place.

    Attributes:
        name: in the file.
        shape: there.
        reason: why it has none.
        known: whether the family has a rule for it, so that the network lacks a layer that it should have.
    """

    name: str
    shape: tuple[int, ...]
    reason: str
    known: bool


@dataclasses.dataclass(frozen=True)
class Orphan:
    """A weight of the network without a tensor.

    Attributes:
        path: of the weight.
        shape: of it.
        optional: whether the family's published files may lack it.
    """

    path: str
    shape: tuple[int, ...]
    optional: bool


@dataclasses.dataclass(frozen=True)
class Match:
    """What goes where.

    Attributes:
        values: path of a weight -> its value, with Keras' axes.
        strangers: tensors of the file without a place.
        orphans: weights of the network without a tensor.
        ignored: names of tensors that the network does not need.
    """

    values: Mapping[str, np.ndarray]
    strangers: tuple[Stranger, ...]
    orphans: tuple[Orphan, ...]
    ignored: tuple[str, ...]

    @property
    def incomplete(self) -> bool:
        """Whether the result would be another network than the file's: `--allow-partial` permits it."""
        return any(not orphan.optional for orphan in self.orphans) or any(stranger.known for stranger in self.strangers)


def match(
    network: keras.Model, family: Family, tensors: Tensors, names: Mapping[str, str], settings: Settings
) -> Match:
    """Match tensors and weights.

    Args:
        network: gets the weights; it is not changed.
        family: the rules.
        tensors: by plain name.
        names: plain name -> name in the file.
        settings: of the folder.

    Raises:
        UserError: a shape that does not fit (both are named, and the likely cause), two tensors for one weight, or a
            tensor that holds no finite numbers.
    """
    weights = {variable.path: tuple(variable.shape) for variable in network.weights}
    wanted = {plain: targets(family.rules, plain) for plain in tensors if not family.ignores(plain)}
    strangers = [
        Stranger(names[plain], tensors[plain].shape, reason, known=bool(found))
        for plain, found in wanted.items()
        if (reason := _reason(found, weights))
    ]
    without = {stranger.name for stranger in strangers}
    moves = [
        _move(names[plain], tensors[plain], target, Place(target.path, weights[target.path], network, settings))
        for plain, found in wanted.items()
        if names[plain] not in without
        for target in found
    ]
    values = _checked(moves, other_models(family, network.name))
    orphans = [
        Orphan(path, shape, optional=path.rpartition("/")[0] in family.optional)
        for path, shape in weights.items()
        if path not in values
    ]
    ignored = tuple(names[plain] for plain in tensors if family.ignores(plain))
    return Match(values, tuple(strangers), tuple(orphans), ignored)


def other_models(family: Family, model: str) -> str:
    """Return a sentence about the other models that a family's names fit, or nothing."""
    others = [name for name in family.models if name != model]
    return f" Networks of the model {' or '.join(others)} have the same names." if others else ""


def refuse_incomplete(found: Match, others: str) -> None:
    """Raise a `UserError` that lists what is missing on either side, and ends with the other models that may fit."""
    missing = [f"{orphan.path} {orphan.shape}" for orphan in found.orphans if not orphan.optional]
    extra = [f"{stranger.name}: {stranger.reason}" for stranger in found.strangers if stranger.known]
    parts = []
    if missing:
        parts.append(_listed(f"weights of the network without a tensor in the file, {len(missing)}", missing))
    if extra:
        parts.append(_listed(f"tensors of the file without a layer in the network, {len(extra)}", extra))
    raise UserError(
        f"{' '.join(parts)} Check --model and its options; --allow-partial writes the model all the same, with random "
        f"numbers where a tensor is missing.{others}"
    )


def assign(network: keras.Model, values: Mapping[str, np.ndarray]) -> None:
    """Copy values into the network's weights."""
    for variable in network.weights:
        if variable.path in values:
            variable.assign(values[variable.path])


@dataclasses.dataclass(frozen=True)
class _Move:
    """A tensor on its way: its name in the file, where it goes, its value there, and what is wrong with it."""

    name: str
    path: str
    value: np.ndarray
    mistake: str | None


def _reason(found: list[Target], weights: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return why a tensor has no place, None where it has one."""
    lacking = [target.path for target in found if target.path not in weights]
    if lacking:
        return f"the network has no {lacking[0]}"
    return None if found else NO_RULE


def _move(name: str, array: np.ndarray, target: Target, place: Place) -> _Move:
    value = np.asarray(target.layout(array, place))
    return _Move(name, target.path, value, _mistake(name, array, target.path, value, place.shape))


def _checked(moves: list[_Move], others: str) -> dict[str, np.ndarray]:
    """Return path -> value, or refuse all mistakes in one message."""
    mistakes = [move.mistake for move in moves if move.mistake]
    if mistakes:
        raise UserError(_listed(f"weights that do not fit, {len(mistakes)}", mistakes, SHOWN_MISTAKES) + others)
    values: dict[str, np.ndarray] = {}
    for move in moves:
        if move.path in values:
            raise UserError(f"two tensors of the file stand for {move.path}; one of them is {move.name}.")
        values[move.path] = move.value
    return values


def _mistake(name: str, array: np.ndarray, path: str, value: np.ndarray, shape: tuple[int, ...]) -> str | None:
    if value.shape != shape:
        theirs = f"{array.shape}" + (f", in Keras' order {value.shape}" if value.shape != array.shape else "")
        return f"{name} is {theirs}, but {path} is {shape} ({_cause(path, array, value, shape)})"
    if not np.issubdtype(value.dtype, np.floating):
        return f"{name} holds {value.dtype} (quantised weights cannot be imported)"
    if not np.isfinite(value).all():
        return f"{name} holds numbers that are not finite (their training failed, or the file is damaged)"
    return None


def _cause(path: str, array: np.ndarray, value: np.ndarray, shape: tuple[int, ...]) -> str:
    """Return the likely cause of a shape that does not fit."""
    if len(shape) == 5 and array.ndim == 4:
        return "a network over single frames, with 2-D convolutions"
    if value.ndim != len(shape):
        return "another kind of layer"
    if len(shape) == 5 and value.shape[3:] == shape[3:]:
        return "another kernel: another model of this family, or other temporal kernels"
    if path.endswith("/table") and value.shape[1:] == shape[1:]:
        return "positions of another number of frames, another size or other patches"
    if len(shape) == 2 and value.shape[1] == shape[1]:
        return "clips of another number of frames or another size in front of a flattened map, or another width"
    return "another width: another variant of the network"


def _listed(beginning: str, lines: list[str], shown: int = SHOWN) -> str:
    more = f" and {len(lines) - shown} more" if len(lines) > shown else ""
    return f"{beginning}: {'; '.join(lines[:shown])}{more}."
