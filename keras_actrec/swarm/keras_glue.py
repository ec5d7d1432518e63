"""Between a Keras model and a particle's position, a flat vector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import ops

from keras_actrec.errors import DivergedError, UserError
from keras_actrec.swarm.state import Publication
from keras_actrec.training import optimizers
from keras_actrec.training.checkpoint import Progress


def positions(model: keras.Model, which: str) -> list[keras.Variable]:
    """Return the variables that are a particle's coordinates, in the order in which they lie in its position.

    Args:
        model: of the particle.
        which: "trainable" weights, or "all" weights: with the statistics of batch normalisation, but never the states
            of random generators.

    Raises:
        UserError: a weight is not float32.
    """
    variables = list(model.trainable_variables if which == "trainable" else model.weights)
    other = [variable.path for variable in variables if str(variable.dtype) != "float32"]
    if other:
        raise UserError(
            f"the weights of a particle must be float32, '{other[0]}' is not; set training.precision=float32."
        )
    return variables


def size(variables: Sequence[keras.Variable]) -> int:
    """Return the number of coordinates, D."""
    return sum(math.prod(variable.shape) for variable in variables)


def parts(variables: Sequence[keras.Variable]) -> Iterator[np.ndarray]:
    """Give the position piece by piece: each variable, float32, flat.

    Raises:
        DivergedError: a weight is not finite. The loss of validation can be finite all the same, and those who move by
            this position would be spoilt.
    """
    for variable in variables:
        values = optimizers.to_numpy(variable).reshape(-1)
        if not np.isfinite(values).all():
            raise DivergedError(
                f"training diverged: {variable.path} is not finite any more; try a lower learning rate."
            )
        yield values


def assign(variables: Sequence[keras.Variable], position: np.ndarray) -> None:
    """Put a position (D,) into the variables.

    Raises:
        UserError: it is of another length.
    """
    if len(position) != size(variables):
        raise UserError(f"a position of {len(position):,} weights does not fit a network of {size(variables):,}.")
    start = 0
    for variable in variables:
        stop = start + math.prod(variable.shape)
        # A copy: a backend may keep the array that it is given, and this one is a file.
        variable.assign(ops.convert_to_tensor(np.array(position[start:stop]).reshape(variable.shape)))
        start = stop


def non_negative(variables: Sequence[keras.Variable]) -> list[tuple[int, int]]:
    """Return the ranges of coordinates that must not become negative: the moving variances."""
    ranges, start = [], 0
    for variable in variables:
        stop = start + math.prod(variable.shape)
        if variable.path.rpartition("/")[2] == "moving_variance":
            ranges.append((start, stop))
        start = stop
    return ranges


def publication(
    particle: int, progress: Progress, fitness: str, *, before: str, after: str, best: str, train_sec: float
) -> Publication:
    """Return what a particle tells after a round.

    Args:
        particle: index.
        progress: after the round; its best epoch was chosen by `fitness`.
        fitness: "val_loss" or "val_accuracy".
        before: digest of the position before the round.
        after: digest of the position after it.
        best: digest of the best position so far.
        train_sec: wall time of the round's training.
    """
    row = progress.rows[-1]
    sign = -1.0 if fitness == "val_loss" else 1.0
    return Publication(
        particle=particle,
        round=progress.epochs,
        fitness=sign * row[fitness],
        best_round=best_round(progress),
        best_fitness=sign * float(progress.best_value),
        before=before,
        after=after,
        best=best,
        learning_rate=row["learning_rate"],
        row=dict(row),
        train_sec=train_sec,
    )


def best_round(progress: Progress) -> int:
    """Return the best round so far, from 1."""
    return int(progress.best_epoch) + 1
