"""Supervised contrastive learning: Khosla et al. 2020 (arXiv 2004.11362), Eq. (2), L_out.

With z = code / |code|, A(i) all other rows of the batch and P(i) those of them that have the class of row i,

    l_i = -1 / |P(i)| * sum_{p in P(i)} log( exp(z_i . z_p / tau) / sum_{a in A(i)} exp(z_i . z_a / tau) )

The paper sums l_i over the batch; here it is their mean over the anchors, which are the rows with a positive. Rows
without one are negatives of the others all the same.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.losses import rows

Tensor = Any
_SMALLEST_SQUARE = 1e-12


def supervised_contrastive(
    codes: Tensor, one_hot: Tensor, temperature: float = 0.1, weights: Tensor | None = None
) -> Tensor:
    """Return the mean of l_i over the rows of a batch that have another row of their class.

    Args:
        codes: (B, D) of any float type; computed in float32. They are brought to length 1 within (a code shorter than
            1e-6 is only made 1e6 times longer).
        one_hot: labels (B, K); a row of zeros (a clip without label) counts nowhere, not even as a negative.
        temperature: tau, above 0.
        weights: (B,) at least 0; a row of weight 0 counts nowhere, as if it were not in the batch. Other weights are
            those of the anchors in the mean. None: all 1.

    Returns:
        float32 (); exactly 0, with a gradient of 0, where no row has a positive.

    Raises:
        UserError: the temperature is not above 0; codes, labels or weights of a wrong rank.
    """
    if not temperature > 0:
        raise UserError(f"the temperature of supervised contrastive learning must be above 0, got {temperature}.")
    codes, classes, weights = rows.only_counted(codes, one_hot, weights)
    codes = _of_length_one(codes)
    logits = rows.similarities(codes, codes) / temperature
    position = ops.arange(ops.shape(classes)[0])
    another = position[:, None] != position[None, :]
    positive = ops.cast(ops.logical_and(rows.same_class(classes), another), "float32")
    compared = ops.logical_and(another, (classes >= 0)[None, :])
    count = ops.sum(positive, axis=1)
    likeness = ops.sum(positive * logits, axis=1) / ops.maximum(count, 1.0)
    is_anchor = count > 0
    # Where nothing is compared the sum is the log of nothing, a huge number that must not even be multiplied by 0.
    losses = ops.where(is_anchor, rows.log_sum_exp(logits, compared) - likeness, 0.0)
    return rows.mean_over(losses, ops.where(is_anchor, weights, 0.0))


def _of_length_one(codes: Tensor) -> Tensor:
    squares = ops.sum(codes * codes, axis=1, keepdims=True)
    return codes * ops.rsqrt(ops.maximum(squares, _SMALLEST_SQUARE))
