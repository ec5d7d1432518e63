"""Several networks of one run on the same clips: each by itself, and the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.evaluation import fusion, metrics, results
from keras_actrec.evaluation.predict import Predictions


def ensemble(predictions: Sequence[Predictions]) -> Predictions:
    """Return the mean of several networks' probabilities, over the clips that each of them could be given.

    Args:
        predictions: of the same list of clips in the same order, with the same classes; each network with one head.

    Raises:
        UserError: they are of other clips or classes, or no clip could be read for all of them.
    """
    if not predictions:
        raise UserError("an ensemble needs the predictions of at least one network, got none.")
    first = predictions[0]
    for other in predictions[1:]:
        _check_alike(first, other)
    return fusion.average(predictions)


def document(primary: Predictions, auxiliary: Predictions | None, *, labelled: int, unlabelled: int) -> dict[str, Any]:
    """Return the entry "semi_supervised" of `metrics.json`.

    Args:
        primary: what the network that is kept says of the test clips.
        auxiliary: what the other one says of them; None where one network has taught itself.
        labelled: training clips with their label.
        unlabelled: training clips without; 0 where these had no part in the loss.

    Returns:
        {"labelled", "unlabelled"}, and with an auxiliary {"auxiliary", "ensemble"}: each `results.headline` and
        "top1_interval".
    """
    found: dict[str, Any] = {"labelled": labelled, "unlabelled": unlabelled}
    if auxiliary is not None:
        found["auxiliary"] = _numbers(auxiliary)
        found["ensemble"] = _numbers(ensemble([primary, auxiliary]))
    return found


def _numbers(predictions: Predictions) -> dict[str, Any]:
    right, count = int(predictions.hits(1).sum()), len(predictions.labels)
    return results.headline(predictions) | {"top1_interval": metrics.wilson_interval(right, count)}


def _check_alike(first: Predictions, other: Predictions) -> None:
    """Compare the clips as far as predictions know them: how many were asked for, and the truth of each."""
    ours, theirs = first.probabilities.shape[1], other.probabilities.shape[1]
    if ours != theirs:
        raise UserError(f"the networks of an ensemble must know the same classes; found {ours} and {theirs} classes.")
    if first.heads or other.heads:
        raise UserError("the networks of an ensemble must have one head each; leave data.targets out.")
    common, mine, its = np.intersect1d(first.indices, other.indices, return_indices=True)
    differing = common[first.labels[mine] != other.labels[its]]
    if first.expected != other.expected or len(differing):
        what = (
            f"{first.expected} and {other.expected} clips"
            if first.expected != other.expected
            else f"other classes for clip {differing[0] + 1} of the list"
        )
        raise UserError(
            f"the networks of an ensemble must be given the same clips in the same order; found {what}. Evaluate them "
            "on the same split of the same fold."
        )
