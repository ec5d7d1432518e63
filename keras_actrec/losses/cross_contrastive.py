"""Contrastive learning across two networks: ActNetFormer, Eq. (6), after CMPL (Xu et al. 2022).

With z_i^F and z_i^A what two networks F and A make of the clip i, and h(u, v) = exp(cos(u, v) / tau), the anchor z_i^F
has the loss

    -log( h(z_i^F, z_i^A) / (h(z_i^F, z_i^A) + sum over k != i and p in {F, A} of h(z_i^F, z_k^p)) )

and the anchor z_i^A the same with F and A swapped. Negatives are all other clips, as either network sees them. On
several devices the clips of one device's share of the batch are compared with each other.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.losses import rows

Tensor = Any
_SHORTEST = 1e-6


def cross_contrastive(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the mean loss over the clips of a batch and both directions.

    Args:
        first: representations of the clips by one network (N, D), of any float type; computed in float32. Their length
            does not matter, except that one shorter than about 1e-6 counts as shorter than 1, so that its gradient
            stays finite.
        second: by the other network (N, D), row i of the same clip.
        temperature: tau, above 0.

    Returns:
        float32 (), at least 0; exactly 0, with a gradient of 0, for a single clip, which has no negatives.

    Raises:
        UserError: the temperature is not above 0, or the representations do not fit together.
    """
    if not temperature > 0:
        raise UserError(f"the temperature of contrastive learning must be above 0, got {temperature}.")
    if not _fit(first, second):
        raise UserError(
            "contrastive learning across networks wants two representations (N, D) of the same clips, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}."
        )
    first, second = _of_length_one(first), _of_length_one(second)
    across = rows.similarities(first, second) / temperature
    own = ops.sum(first * second, axis=1) / temperature
    one_way = _losses(own, across, rows.similarities(first, first) / temperature)
    other_way = _losses(own, ops.transpose(across), rows.similarities(second, second) / temperature)
    return (_mean(one_way) + _mean(other_way)) / 2


def _fit(first: Tensor, second: Tensor) -> bool:
    """Return whether both are (N, D) of one shape, as far as it is known before the computation."""
    if len(first.shape) != 2 or len(second.shape) != 2:
        return False
    sizes = zip(first.shape, second.shape, strict=True)
    return all(one == other or None in (one, other) for one, other in sizes)


def _losses(own: Tensor, across: Tensor, within: Tensor) -> Tensor:
    """Return the losses (N,) of anchors, given the likeness of each to its positive (N,) and to all others (N, N)."""
    position = ops.arange(ops.shape(own)[0])
    another = position[:, None] != position[None, :]
    differences = ops.concatenate([across, within], axis=1) - own[:, None]
    # softplus(log sum exp) = log(1 + sum exp), exact for tiny sums and finite for huge ones.
    return ops.softplus(rows.log_sum_exp(differences, ops.concatenate([another, another], axis=1)))


def _mean(losses: Tensor) -> Tensor:
    return rows.mean_over(losses, ops.ones_like(losses))


def _of_length_one(codes: Tensor) -> Tensor:
    """Return codes (N, D) of length 1 in float32."""
    codes = ops.cast(codes, "float32")
    # Squares of large and small numbers leave the range of float32. As the result does not depend on the scale, the
    # scale needs no gradient.
    scale = ops.stop_gradient(ops.max(ops.abs(codes), axis=1, keepdims=True))
    codes = codes / ops.maximum(scale, _SHORTEST)
    # The squares add up to at least 1 in all but very short codes, and so are never equal to this bound, where
    # backends disagree about the gradient of a maximum.
    return codes * ops.rsqrt(ops.maximum(ops.sum(codes * codes, axis=1, keepdims=True), 0.25))
