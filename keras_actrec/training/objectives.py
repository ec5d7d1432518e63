"""What a network is trained and judged by: one head, or one for each of several data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keras_actrec.training.learner import Learner

LOSS = "weighted_loss"
"""Name of the metric that stands for the validation loss of learners, and where batches have rows of weight 0."""
_MEANS = ("accuracy", "top5")


def objectives(model: keras.Model, label_smoothing: float, *, weighted: bool) -> dict[str, Any]:
    """Return the arguments of `compile` that say what is minimised and measured.

    With several heads the loss is the mean of theirs, so that a learning rate means the same as for one.

    Args:
        model: gives logits (B, K), or {name of the head: logits}; or a `Learner`, which knows its loss.
        label_smoothing: share of the label that is spread over all classes.
        weighted: whether validation batches have rows of weight 0, which Keras' own loss would count.
    """
    if isinstance(model, Learner):
        # Its own loss of validation knows no smoothing: the metric is what it would be for any other network.
        return {"weighted_metrics": _metrics(model.classes, label_smoothing, weighted=True)}
    outputs = model.output
    if not isinstance(outputs, dict):
        return {
            "loss": _loss(label_smoothing),
            "weighted_metrics": _metrics(outputs.shape[-1], label_smoothing, weighted),
        }
    return {
        "loss": {name: _loss(label_smoothing) for name in outputs},
        "loss_weights": {name: 1 / len(outputs) for name in outputs},
        "weighted_metrics": {
            name: _metrics(tensor.shape[-1], label_smoothing, weighted=True) for name, tensor in outputs.items()
        },
    }


def row_of(
    logs: Mapping[str, Any], heads: tuple[str, ...] = (), training_only: tuple[str, ...] = ()
) -> dict[str, float]:
    """Return the numbers of an epoch under the names that are logged, sorted.

    Losses that were measured with weights take the place of Keras' own. With several heads `accuracy`, `top5` and
    `val_loss` are the means over the heads; those of each stand beside them, with its name in front. What is named in
    `training_only` has no value in validation.
    """
    unmeasured = {f"val_{name}" for name in training_only}
    numbers = {name: float(logs[name]) for name in sorted(logs) if LOSS not in name and name not in unmeasured}
    for name in logs:
        if name.startswith("val_") and name.endswith(LOSS):
            numbers[name.removesuffix(LOSS) + "loss"] = float(logs[name])
    for prefix in ("", "val_") if heads else ():
        for metric in _MEANS if prefix == "" else (*_MEANS, "loss"):
            values = [numbers[f"{prefix}{head}_{metric}"] for head in heads if f"{prefix}{head}_{metric}" in numbers]
            if values:
                numbers[f"{prefix}{metric}"] = sum(values) / len(values)
    return dict(sorted(numbers.items()))


def head_names(model: keras.Model) -> tuple[str, ...]:
    """Return the names of a network's heads; nothing for a network with one, whatever else it tells."""
    several = not isinstance(model, Learner) and isinstance(model.output, dict)
    return tuple(model.output) if several else ()


def training_only(model: keras.Model) -> tuple[str, ...]:
    """Return the names of numbers that a model measures in training alone."""
    return model.training_only if isinstance(model, Learner) else ()


def of_head(row: Mapping[str, float], head: str) -> dict[str, float]:
    """Return the numbers of one head in a row of several, under the names that a network with one head logs."""
    own = {"learning_rate": row["learning_rate"]}
    for prefix in ("", "val_"):
        start = f"{prefix}{head}_"
        own |= {prefix + name.removeprefix(start): value for name, value in row.items() if name.startswith(start)}
    return own


def _loss(label_smoothing: float) -> keras.losses.Loss:
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)


def _metrics(classes: int, label_smoothing: float, weighted: bool) -> list[keras.metrics.Metric]:
    metrics = [
        keras.metrics.CategoricalAccuracy(name="accuracy"),
        keras.metrics.TopKCategoricalAccuracy(k=min(5, classes), name="top5"),
    ]
    if weighted:
        metrics.append(keras.metrics.CategoricalCrossentropy(LOSS, from_logits=True, label_smoothing=label_smoothing))
    return metrics
