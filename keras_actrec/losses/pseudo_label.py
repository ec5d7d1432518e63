"""The loss of pseudo-labels: ActNetFormer's Eq. (1), (4) and (5), which is FixMatch's (Sohn et al. 2020, Eq. 4).

With t_i the class that another network, or the same one on another view, gives the clip i with confidence,

    L_u = 1 / N * sum over accepted i of CE(t_i, softmax(logits_i))

The sum is divided by the number of all clips, not of the accepted ones: few confident clips give a small loss.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_actrec.errors import UserError

Tensor = Any


def pseudo_label(logits: Tensor, targets: Tensor, accepted: Tensor) -> Tensor:
    """Return the cross entropy with the accepted pseudo-labels, as a mean over all rows.

    Args:
        logits: (N, K) of any float type; computed in float32. A refused row may hold anything, even NaN.
        targets: class of each row, int (N,) in 0 .. K - 1; of a refused row, any number.
        accepted: bool or float (N,), 0 for a refused row. Other numbers than 0 and 1 weigh the rows.

    Returns:
        float32 (), at least 0; exactly 0, with a gradient of 0, where no row is accepted.

    Raises:
        UserError: logits, targets or accepted of a wrong rank.
    """
    if (len(logits.shape), len(targets.shape), len(accepted.shape)) != (2, 1, 1):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (logits, targets, accepted))
        raise UserError(f"the loss of pseudo-labels wants logits (N, K), targets (N,) and accepted (N,), got {shapes}.")
    weights = ops.cast(accepted, "float32")
    counts = weights > 0
    # Refused rows become zeros before anything is computed: 0 times an infinite loss or gradient would be NaN.
    logits = ops.where(counts[:, None], ops.cast(logits, "float32"), 0.0)
    chosen = ops.one_hot(ops.where(counts, ops.cast(targets, "int32"), 0), logits.shape[1], dtype="bool")
    # Chosen by a condition and not by a product: log-probabilities of other classes may be minus infinity.
    losses = -ops.sum(ops.where(chosen, ops.log_softmax(logits, axis=-1), 0.0), axis=-1)
    return ops.sum(losses * weights) / ops.cast(ops.maximum(ops.shape(logits)[0], 1), "float32")
