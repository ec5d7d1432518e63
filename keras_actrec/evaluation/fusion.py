"""Score fusion: the mean of several networks' probabilities for the same clips."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.evaluation import composed
from keras_actrec.evaluation.predict import Predictions


def average(predictions: Sequence[Predictions], of_class: Sequence[Sequence[int]] = ()) -> Predictions:
    """Return the mean of the probabilities, over the clips that every network could be given.

    Of networks with several heads each head is averaged, and their answers are put together again.

    Args:
        predictions: of the same list of clips, with the same classes.
        of_class: for each head the number of its class in each class of the data set; nothing for one head.

    Raises:
        UserError: no clip could be read for all of them.
    """
    common = functools.reduce(np.intersect1d, [one.indices for one in predictions])
    if not len(common):
        raise UserError("no clip could be read for all of the runs, so there is nothing to fuse.")
    parts = [_of_clips(one, common) for one in predictions]
    if not predictions[0].heads:
        return _mean(parts)
    heads = {name: _mean([part.heads[name] for part in parts]) for name in parts[0].heads}
    known = composed.of_known_classes([head.probabilities for head in heads.values()], of_class)
    return Predictions(known, parts[0].labels, common, parts[0].expected, heads)


def _of_clips(one: Predictions, indices: np.ndarray) -> Predictions:
    rows = np.searchsorted(one.indices, indices)
    heads = {name: _of_clips(head, indices) for name, head in one.heads.items()}
    return Predictions(one.probabilities[rows], one.labels[rows], indices, one.expected, heads)


def _mean(parts: Sequence[Predictions]) -> Predictions:
    first = parts[0]
    mean = np.mean([part.probabilities for part in parts], axis=0, dtype=np.float64).astype(np.float32)
    return Predictions(mean, first.labels, first.indices, first.expected)
