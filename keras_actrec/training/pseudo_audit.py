"""What the pseudo-labels of semi-supervised training are worth, epoch by epoch, where the truth is known.

In an experiment the labels of the unlabelled clips are only hidden, so that each pseudo-label can be compared with the
truth. Nothing here goes into a loss: training never sees the truth of an unlabelled clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_actrec.evaluation import pseudo_table
from keras_actrec.training.loggers import TensorBoardLogger
from keras_actrec.training.run_directory import RunDirectory

PRIMARY, AUXILIARY = "primary", "auxiliary"
AGREEMENT = "agreement"
CHARTED_CLASSES = 50
"""TensorBoard shows the curves of so many classes, the first ones; pseudo_labels.csv has all."""


class PseudoAudit(keras.metrics.Metric):
    """Counts right and wrong pseudo-labels of an epoch.

    The result holds, with "auxiliary_" before the names of the second network:

        pseudo_share      share of the clips whose pseudo-label was accepted (confidence above the threshold)
        pseudo_precision  share of right ones among accepted pseudo-labels whose truth is known; 0 when there are none
        agreement         of two networks: share of the clips, accepted or not, for which both say the same class

    All state is counts in float32, exact up to 2^24 clips of an epoch, and is summed over devices.

    Args:
        classes: their number, K.
        roles: the networks which give pseudo-labels: one or two names. Numbers of "primary" bear no prefix.
        name: of the metric.
    """

    def __init__(self, classes: int, roles: tuple[str, ...] = (PRIMARY,), name: str = "pseudo_audit") -> None:
        super().__init__(name=name, dtype="float32")
        self.classes, self.roles = classes, tuple(roles)
        count = len(self.roles)
        # R networks, K true classes x K given ones.
        self.confusion = self._zeros("confusion", (count, classes, classes))
        self.given = self._zeros("given", (count, classes))
        self.truth = self._zeros("truth", (classes,))
        self.clips = self._zeros("clips", ())
        self.agreed = self._zeros("agreed", ())

    def update_state(
        self,
        targets: Mapping[str, Any],
        accepted: Mapping[str, Any],
        truth: Any,
        predictions: Mapping[str, Any] | None = None,
    ) -> None:
        """Count one batch of N unlabelled clips.

        Args:
            targets: role -> int (N,): the pseudo-labels which that network gives.
            accepted: role -> float (N,): above 0 where the pseudo-label is used.
            truth: one-hot (N, K); a row of zeros where the truth is not known.
            predictions: role -> int (N,): each network's most probable class, for the agreement; default `targets`.
        """
        truth = ops.cast(truth, "float32")
        given = ops.stack([self._one_hot(targets[role], accepted[role]) for role in self.roles])
        self._add(self.confusion, ops.einsum("nk,rnj->rkj", truth, given))
        self._add(self.given, ops.sum(given, axis=1))
        self._add(self.truth, ops.sum(truth, axis=0))
        self._add(self.clips, ops.sum(ops.ones_like(truth[:, 0])))
        if len(self.roles) > 1:
            said = targets if predictions is None else predictions
            first, second = (ops.cast(said[role], "int32") for role in self.roles)
            self._add(self.agreed, ops.sum(ops.cast(ops.equal(first, second), "float32")))

    def result(self) -> dict[str, Any]:
        """Return the numbers of the epoch so far as scalars, under the names of history.csv."""
        found = {}
        given, confusion = ops.convert_to_tensor(self.given), ops.convert_to_tensor(self.confusion)
        for index, role in enumerate(self.roles):
            right, known = ops.trace(confusion[index]), ops.sum(confusion[index])
            found[f"{_prefix(role)}pseudo_share"] = ops.divide_no_nan(ops.sum(given[index]), self.clips)
            found[f"{_prefix(role)}pseudo_precision"] = ops.divide_no_nan(right, known)
        if len(self.roles) > 1:
            found[AGREEMENT] = ops.divide_no_nan(self.agreed, self.clips)
        return found

    @property
    def result_names(self) -> tuple[str, ...]:
        """Names of the numbers that `result` gives. Keras measures them in validation, too, where they mean nothing."""
        each = [f"{_prefix(role)}{what}" for role in self.roles for what in ("pseudo_share", "pseudo_precision")]
        return (*each, AGREEMENT) if len(self.roles) > 1 else tuple(each)

    def rows(self, epoch: int, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return what has been counted as rows of `pseudo_labels.csv`, one per network and class.

        Args:
            epoch: counted from 1.
            names: of the K classes.
        """
        # Read as a tensor, a variable of several devices is their sum; its value alone would be the first device's.
        confusion, given, truth = (
            np.rint(ops.convert_to_numpy(ops.convert_to_tensor(variable))).astype(np.int64)
            for variable in (self.confusion, self.given, self.truth)
        )
        return [
            pseudo_table.make_row(
                epoch,
                role,
                name,
                clips=int(truth[label]),
                accepted_of_class=int(confusion[index, label].sum()),
                given=int(given[index, label]),
                given_known=int(confusion[index, :, label].sum()),
                correct=int(confusion[index, label, label]),
            )
            for index, role in enumerate(self.roles)
            for label, name in enumerate(names)
        ]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {"classes": self.classes, "roles": self.roles, "name": self.name}

    def _zeros(self, name: str, shape: tuple[int, ...]) -> keras.Variable:
        return self.add_variable(shape=shape, initializer="zeros", dtype="float32", name=name)

    def _one_hot(self, targets: Any, accepted: Any) -> Any:
        """Return (N, K): the class that is given, nothing where it is not accepted."""
        kept = ops.cast(ops.greater(accepted, 0), "float32")
        return ops.one_hot(ops.cast(targets, "int32"), self.classes, dtype="float32") * kept[:, None]

    @staticmethod
    def _add(variable: keras.Variable, counts: Any) -> None:
        variable.assign(variable + counts)


class KeepAudit(keras.callbacks.Callback):
    """Writes `pseudo_labels.csv` and TensorBoard's curves per class after the training batches of each epoch.

    Validation begins with all metrics set back to 0, so the numbers are taken when it is about to begin. That is
    before the state of the epoch is published: an epoch that is computed again after a kill has its rows replaced.
    The curves lie in a folder of their own, `tensorboard/pseudo_labels`, as two writers of one folder would hide each
    other's events.

    Args:
        audit: of the model that is trained.
        classes: names of the K classes.
        run: gets the files.
    """

    def __init__(self, audit: PseudoAudit, classes: Sequence[str], run: RunDirectory) -> None:
        super().__init__()
        self._audit, self._classes, self._run = audit, tuple(classes), run
        self._rows: list[dict[str, Any]] | None = None
        self._logger: TensorBoardLogger | None = None
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget what an earlier `fit` knew."""
        self._rows = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """With the first epoch, take up what the file says of those before it."""
        if self._rows is None:
            self._take_up(epoch)
        self._epoch = epoch + 1

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Write what the training batches of this epoch have counted."""
        rows = self._audit.rows(self._epoch, self._classes)
        self._rows = [*(self._rows or ()), *rows]
        pseudo_table.write_pseudo_labels(self._run.pseudo_labels, self._rows)
        if self._logger is not None:
            self._logger.log(self._epoch, _charted(rows, self._classes[:CHARTED_CLASSES]))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the event file."""
        if self._logger is not None:
            self._logger.close()

    def _take_up(self, done: int) -> None:
        """Keep the rows of the epochs that are done; those after them are of an epoch whose state was lost."""
        self._rows = [row for row in pseudo_table.read_pseudo_labels(self._run.pseudo_labels) if row["epoch"] <= done]
        pseudo_table.write_pseudo_labels(self._run.pseudo_labels, self._rows)
        if self._run.config.logging.tensorboard:
            self._logger = TensorBoardLogger(self._run.tensorboard / "pseudo_labels", done + 1)


def _prefix(role: str) -> str:
    return "" if role == PRIMARY else f"{role}_"


def _charted(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, float]:
    """Return tag -> value: precision, and share of a class's clips that were accepted, as far as there are some."""
    found = {}
    for row in rows:
        if row["class"] not in classes:
            continue
        prefix, name = _prefix(row["network"]), row["class"]
        if row["precision"] is not None:
            found[f"{prefix}pseudo_precision/{name}"] = row["precision"]
        if row["clips"]:
            found[f"{prefix}pseudo_share/{name}"] = row["accepted_of_class"] / row["clips"]
    return found
