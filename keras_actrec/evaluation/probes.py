"""The temporal probe: does a network use the order of the frames, or only what they show?

The same clips are predicted again with their frames shuffled, reversed, or with one frame held for the whole clip. A
network that loses nothing has no sense of time; one without it cannot tell a temporal pair apart at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_actrec.data.views import Order, View
from keras_actrec.evaluation import metrics
from keras_actrec.evaluation.predict import EvaluationLoader, predict

ORDERS: tuple[Order, ...] = ("shuffled", "reversed", "frozen")


def in_order(views: Sequence[View], order: Order) -> tuple[View, ...]:
    """Return the views with their frames in another order."""
    return tuple(dataclasses.replace(view, order=order) for view in views)


def temporal_probe(
    model: Any,
    make_loader: Callable[[tuple[View, ...]], EvaluationLoader],
    views: Sequence[View],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    orders: Sequence[Order] = ORDERS,
    max_clips_per_pass: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Return order -> {"top1", "coverage", "pairs"} of the same clips with their frames in that order.

    Args:
        model: Keras model that gives logits.
        make_loader: gives a loader over the test clips for the views it is handed.
        views: those of the plain evaluation.
        groups: temporal pairs (see `metrics.groups`).
        orders: what to try.
        max_clips_per_pass: see `predict`.
    """
    limit = {} if max_clips_per_pass is None else {"max_clips_per_pass": max_clips_per_pass}
    results = {}
    for order in orders:
        loader = make_loader(in_order(views, order))
        predictions = predict(model, loader, **limit)
        measured = (predictions.probabilities, predictions.labels)
        results[order] = {
            "top1": predictions.accuracy(),
            "coverage": predictions.coverage,
            "pairs": metrics.groups(*measured, loader.classes, groups or {}),
        }
    return results
