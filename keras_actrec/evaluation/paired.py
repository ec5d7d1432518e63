"""Paired differences: their mean, Student's interval, and tests. Plain Python, no SciPy.

With few pairs a sign-flip test cannot give small values (5 pairs: 2 / 2^5 = 0.0625 at least), so both are told: the
t-test, which takes the differences as normally distributed, and the exact sign-flip test, which does not.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Sequence

LARGEST_EXACT = 20
"""Up to so many pairs all sign flips are gone through; beyond, there is no exact value."""
_TOLERANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class Difference:
    """What the differences of pairs say.

    Attributes:
        values: one per pair.
        mean: of them.
        std: sample standard deviation; None for one pair.
        interval: Student's, of the mean; None for one pair, or when all differences are equal.
        p: two-sided, of the paired t-test; None where there is no interval, but 1 when all differences are zero.
        p_exact: two-sided, of the sign-flip test on the mean; None for too many pairs.
        p_holm: `p` after Holm's correction within its family; set by `corrected`.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None
    interval: tuple[float, float] | None
    p: float | None
    p_exact: float | None
    p_holm: float | None = None


def difference(values: Sequence[float], confidence: float = 0.95) -> Difference:
    """Summarise paired differences.

    Args:
        values: treatment minus control, one per pair; at least one.
        confidence: of the interval.
    """
    count, mean = len(values), math.fsum(values) / len(values)
    std = statistics.stdev(values) if count > 1 else None
    interval, p = None, None
    if std is not None and std > _TOLERANCE:
        error = std / math.sqrt(count)
        half = t_quantile(confidence, count - 1) * error
        # For large t the share inside may be rounded to a little more than 1.
        interval, p = (mean - half, mean + half), max(0.0, 1 - t_inside(abs(mean) / error, count - 1))
    elif count > 1 and abs(mean) <= _TOLERANCE:
        p = 1.0
    return Difference(tuple(values), mean, std, interval, p, sign_flip(values))


def t_inside(t: float, freedom: int) -> float:
    """Return P(|T| <= t) of Student's distribution with whole degrees of freedom (Abramowitz and Stegun 26.7.3, 4).

    Args:
        t: at least 0.
        freedom: at least 1.
    """
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for step in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * step / (step + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def t_quantile(confidence: float, freedom: int) -> float:
    """Return the t with P(|T| <= t) = confidence, by bisection."""
    low, high = 0.0, 1.0
    while t_inside(high, freedom) < confidence:
        low, high = high, 2 * high
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_inside(middle, freedom) < confidence else (low, middle)
    return (low + high) / 2


def sign_flip(values: Sequence[float]) -> float | None:
    """Return the share of all sign changes whose sum is at least as far from zero as the one that was found.

    It supposes no more than that a difference is as likely to be above zero as below, were there no effect.
    """
    if len(values) > LARGEST_EXACT:
        return None
    found = abs(math.fsum(values)) - _TOLERANCE
    sums = (math.fsum(map(math.prod, zip(values, signs, strict=True))) for signs in _signs(len(values)))
    return sum(abs(value) >= found for value in sums) / 2 ** len(values)


def smallest_sign_flip(count: int) -> float:
    """Return the smallest value that `sign_flip` can give for so many pairs."""
    return 2 / 2**count


def _signs(count: int) -> itertools.product[tuple[int, ...]]:
    return itertools.product((1, -1), repeat=count)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's corrected values (1979) of a family of tests; None stays None and counts as a test."""
    order = sorted(range(len(p_values)), key=lambda index: math.inf if p_values[index] is None else p_values[index])
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        value = p_values[index]
        if value is not None:
            largest = max(largest, min(1.0, (len(p_values) - rank) * value))
            corrected[index] = largest
    return corrected


def corrected(family: Sequence[Difference]) -> list[Difference]:
    """Return the differences of one family with `p_holm`."""
    values = holm([one.p for one in family])
    return [dataclasses.replace(one, p_holm=value) for one, value in zip(family, values, strict=True)]
