"""Batches of several data sets side by side: in each step one batch of each, all with equally many rows.

The longest data set sets the length of an epoch; each other one goes round, in a new order and with new random changes
each time. All of it follows from (seed, epoch), as for one data set. In validation each clip counts once: a data set
that is at its end repeats its last row with weight 0 until the longest one is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_actrec.training import distribution
from keras_actrec.training.callbacks import Batches

Arrays = dict[str, np.ndarray]
Rows = tuple[Arrays, np.ndarray]


class JointBatches:
    """Loaders of several data sets as one, with the interface of `data.pipeline.Loader`.

    Args:
        loaders: by the name of their data set; with equal batch sizes.
        training: let the shorter ones go round; else fill them up with rows of weight 0.
    """

    def __init__(self, loaders: Mapping[str, Batches], *, training: bool) -> None:
        self._loaders, self._training = dict(loaders), training
        self._epoch = 0
        # Building one takes longer than many an epoch; its iterators read the loader's epoch when they start.
        self._datasets = {name: loader.dataset() for name, loader in self._loaders.items()}

    @property
    def steps(self) -> int:
        """Upper bound of the batches per epoch: those of the longest data set."""
        return max(loader.steps for loader in self._loaders.values())

    @property
    def failure(self) -> Exception | None:
        """The first error of a worker that was not an unreadable video."""
        failures = (getattr(loader, "failure", None) for loader in self._loaders.values())
        return next(filter(None, failures), None)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) whose order and random changes the next iteration shows."""
        self._epoch = int(epoch)

    def batches(self) -> Iterator[tuple[Any, ...]]:
        """Give ({"<name>_<input>": (B, ...)}, {name: one-hot (B, K)}[, {name: weights (B,)}])."""
        return self._side_by_side() if self._training else self._filled_up()

    def dataset(self) -> Any:
        """Return the batches as a `tf.data.Dataset`."""
        specs = {name: dataset.element_spec for name, dataset in self._datasets.items()}
        inputs = {f"{name}_{key}": _like(spec) for name, (own, _) in specs.items() for key, spec in own.items()}
        labels = {name: _like(spec) for name, (_, spec) in specs.items()}
        weights = () if self._training else ({name: np.ones(1, np.float32) for name in specs},)
        return distribution.dataset_from(self.batches, (inputs, labels, *weights))

    def _side_by_side(self) -> Iterator[tuple[Any, ...]]:
        epoch = self._epoch
        longest = max(self._loaders, key=lambda name: self._loaders[name].steps)
        others = {name: _Stream(self._round_and_round(name, epoch)) for name in self._loaders if name != longest}
        for rows in self._pass(longest, epoch):
            count = len(rows[1])
            parts = {name: rows if name == longest else others[name].take(count) for name in self._loaders}
            if any(part is None for part in parts.values()):
                return
            yield _merge(parts)

    def _round_and_round(self, name: str, epoch: int) -> Iterator[Rows]:
        """Give the rows of a shorter data set without end; each round is an epoch of its own to its loader."""
        loader = self._loaders[name]
        rounds = -(-self.steps // loader.steps) + 1
        number = 0
        while True:
            empty = True
            for rows in self._pass(name, epoch * rounds + min(number, rounds - 1)):
                empty = False
                yield rows
            if empty:  # not a clip of it can be read; the caller tells
                return
            number += 1

    def _filled_up(self) -> Iterator[tuple[Any, ...]]:
        streams = {name: self._pass(name, self._epoch) for name in self._loaders}
        last: dict[str, Rows] = {}
        while True:
            found = {name: next(stream, None) for name, stream in streams.items()}
            last |= {name: rows for name, rows in found.items() if rows is not None}
            if all(rows is None for rows in found.values()) or len(last) < len(streams):
                return
            count = max(len(rows[1]) for rows in found.values() if rows is not None)
            weights = {name: _weights(0 if rows is None else len(rows[1]), count) for name, rows in found.items()}
            yield *_merge({name: _fill(rows, count) for name, rows in last.items()}), weights

    def _pass(self, name: str, epoch: int) -> Iterator[Rows]:
        """Give one pass over a data set as NumPy arrays."""
        self._loaders[name].set_epoch(epoch)
        for inputs, labels in self._datasets[name]:
            yield {key: np.asarray(value) for key, value in inputs.items()}, np.asarray(labels)


class _Stream:
    """Rows of a stream of batches, as many at a time as are asked for."""

    def __init__(self, batches: Iterator[Rows]) -> None:
        self._batches = batches
        self._kept: Rows | None = None

    def take(self, count: int) -> Rows | None:
        """Return the next `count` rows; None when the stream has no more."""
        while self._kept is None or len(self._kept[1]) < count:
            rows = next(self._batches, None)
            if rows is None:
                return None
            self._kept = rows if self._kept is None else _map(_one_after_the_other, self._kept, rows)
        taken = _map(lambda array: array[:count], self._kept)
        self._kept = _map(lambda array: array[count:], self._kept)
        return taken


def _merge(parts: Mapping[str, Rows]) -> tuple[Arrays, Arrays]:
    inputs = {f"{name}_{key}": array for name, (own, _) in parts.items() for key, array in own.items()}
    return inputs, {name: labels for name, (_, labels) in parts.items()}


def _fill(rows: Rows, count: int) -> Rows:
    """Cut to `count` rows, or repeat the last one up to it: real numbers cannot upset a network as zeros might."""
    take = np.minimum(np.arange(count), len(rows[1]) - 1)
    return _map(lambda array: array[take], rows)


def _weights(real: int, count: int) -> np.ndarray:
    return (np.arange(count) < real).astype(np.float32)


def _one_after_the_other(*arrays: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays)


def _map(function: Callable[..., np.ndarray], *rows: Rows) -> Rows:
    inputs = {name: function(*(part[0][name] for part in rows)) for name in rows[0][0]}
    return inputs, function(*(part[1] for part in rows))


def _like(spec: Any) -> np.ndarray:
    """Return an array of one row with the shape and type that a specification of batches names."""
    return np.zeros((1, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
