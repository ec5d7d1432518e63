"""The N-pair loss: MS3D's Eq. (5), which is the multi-class N-pair loss of Sohn 2016 ("N-pair-mc").

For the pair i of an anchor a_i = Phi(M_i1) and its positive p_i = Phi(M_i2), another clip of the same action,

    l_i = log(1 + sum_j exp(a_i . p_j - a_i . p_i)),   j over the pairs of other classes

Sohn draws N pairs of N different classes, so that every other pair is a negative. Here a batch may hold several pairs
of a class, and the labels decide: a pair of the same class is never a negative. The loss is the mean of the l_i, where
the paper sums them: its size does not depend on how many pairs a batch has.

Semi-hard negatives are those of Schroff et al. 2015 (Sec. 3.2), with dot products in place of distances: a negative
counts when it is less like the anchor than the anchor's positive is (a_i . p_j < a_i . p_i). Schroff's other bound, the
margin, has no counterpart: negatives far away vanish from the sum by themselves. An anchor all of whose negatives are
at least as like it as its positive keeps all of them; with none it would never learn.

In the paper's form the first clip of a pair is the anchor and the second only something to compare with. In the
symmetric form both are anchors, each with the other as its positive, and the negatives are all clips of the pairs of
other classes: of the same batch twice as many anchors, and each with twice as many negatives.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.losses import rows

Tensor = Any


def n_pair(anchors: Tensor, positives: Tensor, labels: Tensor, semi_hard: bool = False) -> Tensor:
    """Return l_i of each pair.

    Args:
        anchors: codes (N, D) of any float type; computed in float32.
        positives: codes (N, D), row i of the same class as anchor i.
        labels: classes of the pairs, as numbers int (N,) or one-hot (N, K). A pair without a class (a negative number,
            a row of zeros) is no negative of any other and has none: its loss is 0.
        semi_hard: only negatives less like the anchor than its positive count, where there are any.

    Returns:
        float32 (N,), at least 0; exactly 0, with a gradient of 0, for a pair without negatives.

    Raises:
        UserError: anchors and positives do not fit together.
    """
    if len(anchors.shape) != 2 or tuple(anchors.shape) != tuple(positives.shape):
        raise UserError(
            "the N-pair loss wants anchors and positives of one shape (N, D), got "
            f"{tuple(anchors.shape)} and {tuple(positives.shape)}."
        )
    anchors, positives = ops.cast(anchors, "float32"), ops.cast(positives, "float32")
    own = ops.sum(anchors * positives, axis=1)
    negative = rows.other_class(rows.numbers(labels))
    return _losses(rows.similarities(anchors, positives), own, negative, semi_hard)


def n_pair_of_batch(
    codes: Tensor,
    one_hot: Tensor,
    semi_hard: bool = False,
    weights: Tensor | None = None,
    symmetric: bool = False,
) -> Tensor:
    """Return the mean of l_i over the pairs that a batch holds, found by the labels alone.

    Of each class the first clip in the batch is an anchor and the second its positive, the third an anchor and the
    fourth its positive, and so on, wherever they stand: it does not matter that clips before them are missing. A last
    clip without a partner counts nowhere.

    Args:
        codes: (B, D) of any float type; computed in float32.
        one_hot: labels (B, K); a row of zeros (a clip without label) counts nowhere.
        semi_hard: as for `n_pair`.
        weights: (B,) at least 0; a row of weight 0 counts nowhere, as if it were not in the batch. Other weights weigh
            the pairs of the mean, those of the anchors. None: all 1.
        symmetric: positives are anchors, too, and anchors negatives of other pairs.

    Returns:
        float32 (); exactly 0, with a gradient of 0, where the batch has no pair or pairs of one class only.

    Raises:
        UserError: codes, labels or weights of a wrong rank.
    """
    codes, classes, weights = rows.only_counted(codes, one_hot, weights)
    partner = _partners(classes)
    if symmetric:
        partner = partner + ops.transpose(partner)
    is_anchor, is_positive = ops.sum(partner, axis=1), ops.sum(partner, axis=0) > 0
    products = rows.similarities(codes, codes)
    own = ops.sum(products * partner, axis=1)
    negative = ops.logical_and(rows.other_class(classes), is_positive[None, :])
    return rows.mean_over(_losses(products, own, negative, semi_hard), is_anchor * weights)


def _partners(classes: Tensor) -> Tensor:
    """Pair the rows of each class in their order.

    Args:
        classes: int32 (B,), -1 for rows that do not count.

    Returns:
        float32 (B, B), 1 where the column is the positive of the row, else 0.
    """
    same = rows.same_class(classes)
    position = ops.arange(ops.shape(classes)[0])
    earlier = position[:, None] >= position[None, :]
    # How many of its class there are up to a row, itself included; 0 for rows that do not count. A running sum of the
    # one-hot labels would tell the same, but PyTorch has no deterministic one of floats on accelerators.
    rank = ops.sum(ops.cast(ops.logical_and(same, earlier), "int32"), axis=1)
    next_of_class = ops.logical_and(same, rank[None, :] == rank[:, None] + 1)
    odd = rank % 2 == 1
    return ops.cast(ops.logical_and(next_of_class, odd[:, None]), "float32")


def _losses(products: Tensor, own: Tensor, negative: Tensor, semi_hard: bool) -> Tensor:
    """Return log(1 + sum_j exp(products_ij - own_i)) over negatives j: (N, M), (N,), bool (N, M) -> (N,)."""
    differences = products - own[:, None]
    if semi_hard:
        negative = _semi_hard(differences, negative)
    # softplus(log sum exp) = log(1 + sum exp), exact for tiny sums and finite for huge ones.
    return ops.softplus(rows.log_sum_exp(differences, negative))


def _semi_hard(differences: Tensor, negative: Tensor) -> Tensor:
    milder = ops.logical_and(negative, differences < 0)
    return ops.where(ops.any(milder, axis=1, keepdims=True), milder, negative)
