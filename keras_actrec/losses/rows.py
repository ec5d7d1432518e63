"""What losses of codes must know of the rows of a batch: the class of each, who counts, and means over some of them."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_actrec.errors import UserError

Tensor = Any

NOTHING = -1e30
"""What stands for minus infinity in a sum of exponentials: exp gives exactly 0, and differences are never NaN."""


def numbers(labels: Tensor) -> Tensor:
    """Return the number of each row's class, -1 where it has none.

    Args:
        labels: numbers int (N,), negative for no class; or one-hot (N, K) of any type, a row of zeros for no class.
            Softened one-hot rows belong to their largest entry.

    Returns:
        int32 (N,).
    """
    if len(labels.shape) == 1:
        return ops.maximum(ops.cast(labels, "int32"), -1)
    labelled = ops.max(labels, axis=-1) > 0
    return ops.where(labelled, ops.cast(ops.argmax(labels, axis=-1), "int32"), -1)


def same_class(classes: Tensor) -> Tensor:
    """Return bool (N, N): both rows have a class, and it is the same; `classes` as `numbers` gives them."""
    return ops.logical_and(classes[:, None] == classes[None, :], (classes >= 0)[:, None])


def other_class(classes: Tensor) -> Tensor:
    """Return bool (N, N): both rows have a class, and they differ; `classes` as `numbers` gives them."""
    known = classes >= 0
    both = ops.logical_and(known[:, None], known[None, :])
    return ops.logical_and(both, classes[:, None] != classes[None, :])


def only_counted(codes: Tensor, one_hot: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Leave out the rows that count nowhere: those of weight 0 and those without a class.

    Args:
        codes: (B, D).
        one_hot: labels (B, K).
        weights: (B,) at least 0; None: 1 for each row.

    Returns:
        The codes in float32 (B, D), zeros in rows that do not count, so that not even NaN comes through; the classes
        int32 (B,), -1 in those rows; the weights float32 (B,).
    """
    _check_rank("codes", codes, 2)
    _check_rank("one_hot", one_hot, 2)
    classes = numbers(one_hot)
    weights = ops.ones_like(classes) if weights is None else weights
    _check_rank("weights", weights, 1)
    weights = ops.cast(weights, "float32")
    classes = ops.where(weights > 0, classes, -1)
    codes = ops.where((classes >= 0)[:, None], ops.cast(codes, "float32"), 0.0)
    return codes, classes, weights


def similarities(ones: Tensor, others: Tensor) -> Tensor:
    """Return all dot products: (N, D) and (M, D) -> (N, M)."""
    return ops.matmul(ones, ops.transpose(others))


def log_sum_exp(values: Tensor, chosen: Tensor) -> Tensor:
    """Return log sum_j exp(values_ij) over the chosen j: (N, M) -> (N,); about `NOTHING` where none is chosen."""
    return ops.logsumexp(ops.where(chosen, values, NOTHING), axis=1)


def mean_over(losses: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of losses (N,) with weights (N,) at least 0; exactly 0 where all weights are 0."""
    total = ops.sum(weights)
    return ops.sum(losses * weights) / ops.where(total > 0, total, 1.0)


def _check_rank(name: str, tensor: Tensor, rank: int) -> None:
    if len(tensor.shape) != rank:
        wanted = {1: "one number for each row (B,)", 2: "one row for each clip (B, D)"}[rank]
        raise UserError(f"a loss of codes wants {wanted} as {name}, got the shape {tuple(tensor.shape)}.")
