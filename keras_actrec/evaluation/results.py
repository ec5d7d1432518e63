"""The layout of `metrics.json`: what was measured, on what, with which network. It holds no times and no paths.

Two equal runs give equal bytes (`files.write_json` sorts the keys). Times go to `timing.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.evaluation import calibration, metrics
from keras_actrec.evaluation.predict import Predictions
from keras_actrec.evaluation.provenance import Contamination


def headline(predictions: Predictions) -> dict[str, Any]:
    """Return the short numbers of a split: top1, top5, loss (mean -ln p, in nats), coverage, clips counted."""
    return {
        "top1": predictions.accuracy(1),
        "top5": predictions.accuracy(5),
        "loss": _loss(predictions),
        "coverage": predictions.coverage,
        "evaluated": len(predictions.labels),
        "expected": predictions.expected,
    }


def details(
    predictions: Predictions,
    classes: Sequence[str],
    *,
    clips: int = 1,
    crops: int = 1,
    groups: Mapping[str, Sequence[str]] | None = None,
    heads: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return all numbers of a split.

    Of several heads, top-1 and top-5 count the clips of which all parts are right, among all combinations of classes.
    The confusion matrix, the numbers per class and the calibration are about the most probable combination among those
    that the data set has.

    Args:
        predictions: of that split.
        classes: class names in the order of the network's outputs.
        clips: clips per video that were averaged.
        crops: crops per clip that were averaged.
        groups: named groups of classes whose accuracy among themselves is of interest, such as temporal pairs.
        heads: name of each of several heads -> its classes; their own numbers are added.
    """
    probabilities, labels = predictions.probabilities, predictions.labels
    confusion = metrics.confusion_matrix(probabilities, labels)
    right, table = int(predictions.hits(1).sum()), calibration.reliability(probabilities, labels)
    short = headline(predictions)
    return short | {
        "top1_interval": metrics.wilson_interval(right, len(labels)),
        "top1_of_all": right / predictions.expected if predictions.expected else None,
        "mean_class": metrics.mean_class_accuracy(confusion),
        "nll": calibration.negative_log_likelihood(probabilities, labels),
        "brier": calibration.brier(probabilities, labels),
        "ece": calibration.expected_calibration_error(table),
        "reliability": table,
        "clips": clips,
        "crops": crops,
        "per_class": metrics.per_class(confusion, classes),
        "confusion": confusion.tolist(),
        "pairs": metrics.groups(probabilities, labels, classes, groups or {}),
        **({"heads": _heads(predictions, heads, clips, crops)} if heads else {}),
    }


def _heads(predictions: Predictions, heads: Mapping[str, Sequence[str]], clips: int, crops: int) -> dict[str, Any]:
    return {
        name: {**details(predictions.heads[name], classes, clips=clips, crops=crops), "classes": list(classes)}
        for name, classes in heads.items()
    }


def _loss(predictions: Predictions) -> float | None:
    """Return the mean -ln p; of several heads the mean of theirs, which training minimises."""
    parts = [predictions.heads[name] for name in predictions.heads] or [predictions]
    losses = [calibration.negative_log_likelihood(part.probabilities, part.labels) for part in parts]
    return None if None in losses else math.fsum(losses) / len(losses)


def build(
    manifest: Manifest,
    *,
    model: str,
    seed: int,
    params: int,
    trainable_params: int,
    flops: int | None,
    validation: Mapping[str, Any],
    test: Mapping[str, Any],
    temporal: Mapping[str, Any] | None = None,
    single_frame: Mapping[str, Any] | None = None,
    quarantined: Sequence[Any] = (),
    contamination: Contamination | None = None,
    best_epoch: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put the content of `metrics.json` together.

    Args:
        manifest: the clips of the fold that was run.
        model: name in the registry.
        seed: of the run.
        params: number of weights.
        trainable_params: number of weights that training moves.
        flops: of one forward pass of one clip (`flops.count`); None when it could not be counted.
        validation: `headline` of the validation split at the best epoch.
        test: `details` of the test split.
        temporal: `probes.temporal_probe`; None when it was not asked for.
        single_frame: `details` of the single-frame baseline on the same test clips; None when there is none.
        quarantined: the entries of `Quarantine` (each has a `split`), counted per split.
        contamination: what the provenance guard found when it was told to let clips of the training list pass.
        best_epoch: the epoch that validation chose.
        extra: further numbers, such as a regime's own; no times and no paths.
    """
    splits = [entry.split for entry in quarantined]
    return {
        **(extra or {}),
        "dataset": manifest.name,
        "fold": manifest.fold,
        "manifest_hash": manifest.hash,
        "model": model,
        "seed": seed,
        "classes": list(manifest.classes),
        "split_sizes": {split: sum(counts.values()) for split, counts in manifest.counts().items()},
        "params": params,
        "trainable_params": trainable_params,
        "flops": flops,
        "best_epoch": best_epoch,
        "validation": dict(validation),
        "test": dict(test),
        "temporal": dict(temporal or {}),
        "baseline": {"single_frame": dict(single_frame)} if single_frame else {},
        "quarantine": {split: splits.count(split) for split in sorted(set(splits))},
        **(contamination or Contamination()).to_json(),
    }


def unread(predictions: Predictions, clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips that were asked for and not predicted."""
    read = set(predictions.indices.tolist())
    return [clip for index, clip in enumerate(clips) if index not in read]
