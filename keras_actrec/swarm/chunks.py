"""Sums of weighted differences of long vectors, piece by piece: what both dynamics come down to. NumPy only.

A `Plan` says which vectors enter the update of a position and with which weights; it names them by `Source`s and does
not know where they are. `distance` and `apply` work on arrays; `exchange` works on files through the same functions
for one piece, so that there is one truth.

Vectors are taken in pieces of `CHUNK` weights, 512 KiB: two operands stay in the cache from one step to the next, and a
step takes long enough that threads seldom wait for the interpreter's lock (with 128 KiB two threads were slower than
one). Sums run over blocks of `BLOCK` weights that are added without rounding errors, so no order of work changes a bit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import numpy as np

from keras_actrec.swarm.positions import BLOCK

CHUNK = 1 << 17
ROW = 1 << 12
"""Length of dot products; OpenBLAS shares long ones among threads of its own, whose number would change the bits."""

Source = Hashable
Read = Callable[[Source], np.ndarray]
"""Returns the present piece of a source; it stays valid until two other sources have been read."""


@dataclasses.dataclass(frozen=True)
class Term:
    """One summand of an update: weight * (plus - minus).

    Attributes:
        group: what its size is reported under.
        weight: its factor.
        plus: a vector.
        minus: a vector; None: nothing is subtracted.
    """

    group: str
    weight: float
    plus: Source
    minus: Source | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """An update: the start plus all terms, or a mean.

    Attributes:
        start: where the update starts from, the position after training.
        terms: summands, those of a group in a row; such with weight 0 are left out, so that nothing is rounded.
        mean: if there are any, the mean of these vectors takes the place of start and terms.
        origin: the position before training, if sizes of "own" and "total" are wanted.
        non_negative: index ranges [first, last) in which results below 0 become 0.
    """

    start: Source
    terms: tuple[Term, ...] = ()
    mean: tuple[Source, ...] = ()
    origin: Source | None = None
    non_negative: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(term for term in self.terms if term.weight != 0))

    @property
    def groups(self) -> dict[str, list[Term]]:
        """The terms by group, in order."""
        found: dict[str, list[Term]] = {}
        for term in self.terms:
            found.setdefault(term.group, []).append(term)
        return found

    @property
    def kept(self) -> tuple[Source, ...]:
        """Sources that several groups need."""
        return tuple(source for source in (self.start, self.origin) if source is not None)


class Scratch:
    """Buffers for one piece; one per thread."""

    def __init__(self, dtype: np.dtype) -> None:
        self.result, self.sum, self.step = (np.empty(CHUNK, dtype) for _ in range(3))
        self.wide = np.empty(CHUNK)


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of the pieces of [start, stop)."""
    for first in range(start, stop, CHUNK):
        yield first, min(first + CHUNK, stop)


def squared_distance(read: Read, one: Source, other: Source, scratch: Scratch) -> float:
    """Return the squared distance of two sources within the present piece, added up in float64."""
    a, b = read(one), read(other)
    return _squared_sum(np.subtract(a, b, out=scratch.wide[: len(a)]))


def update(read: Read, plan: Plan, first: int, scratch: Scratch) -> tuple[np.ndarray, dict[str, float]]:
    """Work out one piece of an update.

    Args:
        read: gives the piece of each source.
        plan: the update.
        first: index of the piece's first weight in the vectors.
        scratch: buffers; the result is in one of them.

    Returns:
        The piece of the new position, and the squared size of each group of terms in it.
    """
    result, squares = (_mean if plan.mean else _sum)(read, plan, scratch)
    for low, high in plan.non_negative:
        part = result[max(low - first, 0) : max(high - first, 0)]
        np.maximum(part, 0, out=part)
    if plan.origin is not None:
        origin = read(plan.origin)
        squares["own"] = _squared_difference(read(plan.start), origin, scratch)
        squares["total"] = _squared_difference(result, origin, scratch)
    return result, squares


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Euclidean distance of two vectors (D,)."""
    arrays, scratch = (one, other), Scratch(one.dtype)
    blocks = []
    for start in range(0, len(one), BLOCK):
        spans = pieces(start, min(start + BLOCK, len(one)))
        blocks.append(sum(squared_distance(_slices(arrays, span), 0, 1, scratch) for span in spans))
    return math.sqrt(math.fsum(blocks))


def apply(plan: Plan, arrays: Mapping[Source, np.ndarray]) -> np.ndarray:
    """Return the result of an update (D,), in the type of its start."""
    start = arrays[plan.start]
    result, scratch = np.empty_like(start), Scratch(start.dtype)
    for first, last in pieces(0, len(start)):
        result[first:last], _ = update(_slices(arrays, (first, last)), plan, first, scratch)
    return result


def _slices(arrays: Mapping[Source, np.ndarray] | Sequence[np.ndarray], span: tuple[int, int]) -> Read:
    return lambda source: arrays[source][slice(*span)]


def _sum(read: Read, plan: Plan, scratch: Scratch) -> tuple[np.ndarray, dict[str, float]]:
    start = read(plan.start)
    result = scratch.result[: len(start)]
    np.copyto(result, start)
    squares = {}
    for group, terms in plan.groups.items():
        total = _weighted(read, terms[0], scratch.sum[: len(result)])
        for term in terms[1:]:
            total += _weighted(read, term, scratch.step[: len(result)])
        result += total
        squares[group] = _squared_size(total, scratch)
    return result, squares


def _mean(read: Read, plan: Plan, scratch: Scratch) -> tuple[np.ndarray, dict[str, float]]:
    first = read(plan.mean[0])
    result = scratch.result[: len(first)]
    np.copyto(result, first)
    for source in plan.mean[1:]:
        result += read(source)
    result /= result.dtype.type(len(plan.mean))
    return result, {"neighbours": _squared_difference(result, read(plan.start), scratch)}


def _weighted(read: Read, term: Term, out: np.ndarray) -> np.ndarray:
    plus = read(term.plus)
    if term.minus is not None:
        plus = np.subtract(plus, read(term.minus), out=out)
    # A weight of the vector's own type: a Python float outside of float32's range would turn the work to float64.
    return np.multiply(plus, out.dtype.type(term.weight), out=out)


def _squared_size(values: np.ndarray, scratch: Scratch) -> float:
    wide = scratch.wide[: len(values)]
    np.copyto(wide, values)
    return _squared_sum(wide)


def _squared_difference(one: np.ndarray, other: np.ndarray, scratch: Scratch) -> float:
    return _squared_sum(np.subtract(one, other, out=scratch.wide[: len(one)]))


def _squared_sum(wide: np.ndarray) -> float:
    whole = len(wide) - len(wide) % ROW
    rows, rest = wide[:whole].reshape(-1, ROW), wide[whole:]
    return float(np.matmul(rows[:, None, :], rows[:, :, None]).sum()) + float(np.dot(rest, rest))
