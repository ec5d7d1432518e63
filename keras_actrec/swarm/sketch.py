"""Distances of particles from sketches: random projections of their positions to a few numbers. Imports no Keras.

With N particles each one reads N - 1 positions to find its k nearest. A sketch is a vector of `numbers` m that is
published with a position of D weights; the distance of two sketches estimates that of the positions, so that N - 1
files of 4 m bytes are read in place of N - 1 files of 4 D.

The projection: a position is cut into rows of m weights. Each weight gets a random sign, each row is turned by a random
number of places, and the rows are added up. Every weight falls into one of m buckets; two of different rows share one
with probability 1/m, two of one row never. It is the count sketch of Charikar, Chen and Farach-Colton ("Finding
frequent items in data streams", 2002), whose use for distances is the Johnson-Lindenstrauss lemma of Dasgupta, Kumar
and Sarlos ("A sparse Johnson-Lindenstrauss transform", 2010), with buckets drawn by row. Signs and turns are made from
the seed block by block, so they are never stored, and memory does not depend on D.

What is known about x, the difference of two positions, and Y, that of their sketches:

(1) Mean and variance, for every x, with nothing assumed: E |Y|^2 = |x|^2, and Var |Y|^2 = 2 sum over i != j of
    x_i^2 x_j^2 P(i and j share a bucket), at most 2 |x|^4 / m. Chebyshev: |Y|^2 is off by a share of e with
    probability at most 2 / (m e^2).
(2) Tails as in the Johnson-Lindenstrauss lemma, where no bucket holds much more than its share. Let s_p be the sum of
    the squares in bucket p and `peak` = m max_p s_p / |x|^2, at least 1. Y_p is a sum of signed weights with variance
    s_p, independent of other buckets. The moments of such a sum are at most those of a normal variable (Achlioptas,
    "Database-friendly random projections", 2003), hence E exp(a Y_p^2) <= (1 - 2 a s_p)^(-1/2), for which Laurent and
    Massart ("Adaptive estimation of a quadratic functional by model selection", 2000, Lemma 1) give, with probability
    1 - exp(-u),
        |Y|^2 <= |x|^2 (1 + 2 sqrt(u peak / m) + 2 u peak / m).
    From exp(-z) <= 1 - z + z^2 / 2 and E Y_p^4 <= 3 s_p^2 follows, with the same probability,
        |Y|^2 >= |x|^2 (1 - sqrt(6 u peak / m)).
    With u = log(2 N (N - 1) / 2 / failure) both hold for all pairs of N particles at once: `relative_error`.

The peak tends to 1 for networks with many more than m weights that all differ somewhat; it is large where a few
weights make up the distance, such as moving variances (`positions: all`). Then (1) still holds. `Projection.energies`
measures it.

A neighbour that is chosen by distances within a share of e is at most (1 + e) / (1 - e) times as far away as the one
that should have been chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.swarm.chunks import CHUNK
from keras_actrec.swarm.passes import Passes
from keras_actrec.swarm.positions import BLOCK, DTYPE, Position

FEWEST, MOST = 64, 1 << 16
_SIGNS = 1 - 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(DTYPE)
"""(256, 8) the signs that a random byte stands for."""


class Projection:
    """A random projection of long vectors to `numbers` numbers.

    Args:
        numbers: m, a power of two from 64 to 65,536.
        seed: words from which signs and turns are drawn; sketches of different seeds cannot be compared.

    Raises:
        UserError: `numbers` is something else.
    """

    def __init__(self, numbers: int, seed: Sequence[int]) -> None:
        if not is_width(numbers):
            raise UserError(f"a sketch has a power of two of numbers, {FEWEST} to {MOST}, not {numbers}; choose 4096")
        self.numbers = numbers
        self._seed = tuple(int(word) for word in seed)

    def of(self, pieces: Iterable[np.ndarray]) -> np.ndarray:
        """Return the sketch (m,) float32 of a vector.

        Args:
            pieces: float32, in order; each but the last as long as a piece of `chunks.pieces`.
        """
        return self._fold(pieces, signed=True).astype(DTYPE)

    def energies(self, pieces: Iterable[np.ndarray]) -> np.ndarray:
        """Return the sum of squares in each bucket (m,) float64; they add up to the vector's squared length."""
        return self._fold((piece * piece for piece in pieces), signed=False)

    def _fold(self, pieces: Iterable[np.ndarray], *, signed: bool) -> np.ndarray:
        m, total = self.numbers, np.zeros(self.numbers)
        scratch, twice = np.empty(CHUNK, DTYPE), np.empty(2 * self.numbers, DTYPE)
        for piece, random in zip(pieces, self._draws(), strict=False):
            whole = -(-len(piece) // m) * m
            scratch[len(piece) : whole] = 0
            signs = _signs(random, len(piece))  # drawn in any case: the turns come after them
            np.multiply(piece, signs if signed else 1, out=scratch[: len(piece)])
            twice[:] = 0  # a row that is turned goes beyond the end, and is put back below
            for row, turn in zip(scratch[:whole].reshape(-1, m), random.integers(m, size=whole // m), strict=True):
                twice[turn : turn + m] += row
            total += twice[:m]
            total += twice[m:]
        return total

    def _draws(self) -> Iterator[np.random.Generator]:
        """Yield the random generator of each piece."""
        number = 0
        while True:
            yield np.random.Generator(np.random.SFC64(np.random.SeedSequence((*self._seed, number))))
            number += 1


def of_position(position: Position, projection: Projection) -> np.ndarray:
    """Return the sketch of a published position, read piece by piece and verified.

    Raises:
        DamagedPositionError: it is not what was published.
    """
    with Passes(1) as passes:
        passes.add("position", position)
        return projection.of(passes.walk("position"))


def is_width(numbers: int) -> bool:
    """Return whether a sketch may have so many numbers."""
    return FEWEST <= numbers <= min(MOST, CHUNK, BLOCK) and numbers & (numbers - 1) == 0


def distances(own: np.ndarray, others: Sequence[np.ndarray]) -> list[float]:
    """Return the estimated Euclidean distances of a particle to others, from their sketches (m,)."""
    wide = own.astype(np.float64)
    return [float(np.linalg.norm(wide - other)) for other in others]


def relative_error(numbers: int, particles: int, failure: float = 0.01, peak: float = 1.0) -> float:
    """Return the share by which estimated distances are off at most, for all pairs at once; see (2) above.

    Args:
        numbers: m.
        particles: N, at least 2.
        failure: probability that a pair is off by more, over the draw of the projection.
        peak: of the differences between the positions.

    Returns:
        e such that each estimate is between 1 - e and 1 + e times the distance; 1 or more: it says nothing.
    """
    share = _exponent(particles, failure) * peak / numbers
    above = math.sqrt(1 + 2 * math.sqrt(share) + 2 * share) - 1
    below = 1 - math.sqrt(max(1 - math.sqrt(6 * share), 0.0))
    return max(above, below)


def numbers_for(error: float, particles: int, failure: float = 0.01, peak: float = 1.0) -> int:
    """Return how many numbers, a power of two, keep `relative_error` at most `error`.

    Raises:
        UserError: more than a sketch may have.
    """
    numbers = FEWEST
    while numbers <= MOST:
        if relative_error(numbers, particles, failure, peak) <= error:
            return numbers
        numbers *= 2
    raise UserError(
        f"distances of {particles} particles to within {error:g} need sketches of more than {MOST} numbers; measure "
        "exact ones (swarm.nearest_by=exact), or allow a larger error"
    )


def _exponent(particles: int, failure: float) -> float:
    """Return u: how unlikely the failure of one side of one pair has to be."""
    if particles < 2 or not 0 < failure < 1:
        raise UserError(f"expected 2 particles or more and a probability, got {particles} and {failure}; correct them")
    return math.log(particles * (particles - 1) / failure)


def _signs(random: np.random.Generator, size: int) -> np.ndarray:
    return _SIGNS.take(np.frombuffer(random.bytes(-(-size // 8)), np.uint8), axis=0).reshape(-1)[:size]
