"""Near duplicates between two sets of videos, by their perceptual hashes (see `fingerprint`).

All pairs are compared, by products of matrices in blocks: hashes are vectors of +1 and -1, whose product is the number
of equal bits less that of unequal ones. Two ways:

- ends: the first, the middle and the last frame of both lie side by side. Finds copies of whole clips.
- steps: hashes at even steps of time, one row of them shifted along the other. Finds copies that lack a part of the
  clip's start or end, too; wants every frame decoded.

The distance is the share of unequal bits over all compared hashes. A hash that only one side has counts as half
unequal, as a chance one would be; one that neither has does not count.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from keras_actrec.data.verification.fingerprint import BITS, signs

DISTANCE = 0.13
"""Largest distance of near duplicates: of their ends, or on average along the part that they share."""
STEPS_SHARE = 0.6
"""Least part of the shorter video that both have to share."""
_CANDIDATE = 0.16
"""Largest distance of two single frames for which two videos are compared step by step."""
_PROBES = 8
"""Most frames of a video that are looked for in all others."""
_BLOCK = 1024
"""Rows, and columns, of a part of the matrix of distances: some MB, however many videos there are."""
_VIDEOS = 128
"""Whose frames are compared at a time, step by step; the longest gives 64."""
_LEAST_PICTURES = 2
"""Compared pictures with contrast: a black beginning and end are no evidence."""

Hashes = Sequence[Sequence[str | None]]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two videos that look alike.

    Attributes:
        first, second: their numbers in the two sets.
        distance: share of unequal bits.
    """

    first: int
    second: int
    distance: float


def by_ends(first: Sequence[Hashes], second: Sequence[Hashes]) -> list[Pair]:
    """Return the pairs whose first, middle and last frames look alike.

    Args:
        first: three pairs of hashes for each video.
        second: the same of the other set.
    """
    a, found = _Rows.of(first), []
    for column in range(0, len(second), _BLOCK):
        for row, distances, pictures in _distances(a, _Rows.of(second[column : column + _BLOCK])):
            near = (distances <= DISTANCE) & (pictures >= _LEAST_PICTURES)
            found += [Pair(row + int(i), column + int(j), float(distances[i, j])) for i, j in np.argwhere(near)]
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def by_steps(first: Sequence[Hashes], second: Sequence[Hashes]) -> list[Pair]:
    """Return the pairs of which most of the shorter video looks like a part of the other.

    Args:
        first: pairs of hashes at even steps of time for each video.
        second: the same of the other set.
    """
    pairs = (Pair(i, j, along(first[i], second[j])) for i, j in sorted(_candidates(first, second)))
    return [pair for pair in pairs if pair.distance <= DISTANCE]


def along(first: Hashes, second: Hashes) -> float:
    """Return the least mean distance of two videos over all shifts of time; 1 where they share too little."""
    a, b = _single(first), _single(second)
    agreement, compared, pictures = a.against(b)
    lengths = len(a.signs), len(b.signs)
    least = max(_LEAST_PICTURES, math.ceil(STEPS_SHARE * min(lengths)))
    best = 1.0
    for shift in range(least - lengths[0], lengths[1] - least + 1):
        bits = np.trace(compared, shift)
        if np.trace(pictures, shift) >= _LEAST_PICTURES:
            best = min(best, float((bits - np.trace(agreement, shift)) / (2 * bits)))
    return best


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Videos (or single frames) as rows of numbers.

    Attributes:
        signs: int8 (N, F * 128), of F frames in a row.
        pictures, movements: int8 (N, F), whether there is a hash: 1 or 0.
    """

    signs: np.ndarray
    pictures: np.ndarray
    movements: np.ndarray

    @classmethod
    def of(cls, videos: Sequence[Hashes]) -> _Rows:
        stacked = np.stack([signs(hashes).astype(np.int8) for hashes in videos])  # a quarter: there may be many
        there = np.abs(stacked[:, :, ::BITS])
        return cls(stacked.reshape(len(videos), -1), there[..., 0], there[..., 1])

    def against(self, other: _Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return equal less unequal bits, compared bits, and compared pictures, each (N, M)."""
        agreement = _product(self.signs, other.signs)
        pictures = _product(self.pictures, other.pictures)
        either = sum(_either(getattr(self, kind), getattr(other, kind)) for kind in ("pictures", "movements"))
        return agreement, BITS * np.maximum(either, 1e-9), pictures

    def __getitem__(self, rows: slice) -> _Rows:
        return _Rows(self.signs[rows], self.pictures[rows], self.movements[rows])


def _single(hashes: Hashes) -> _Rows:
    """Return the frames of one video as rows."""
    return _Rows.of([[pair] for pair in hashes])


def _either(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return in how many columns one of two rows of 0 and 1 has a 1: (N, M)."""
    ones = [side.sum(axis=1, dtype=np.float32) for side in (a, b)]
    return ones[0][:, None] + ones[1][None] - _product(a, b)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b^T as float32, which holds such whole numbers exactly; only of that type are products fast."""
    return a.astype(np.float32) @ b.astype(np.float32).T


def _distances(a: _Rows, b: _Rows) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield blocks of rows of the matrix of distances: number of the first, distances, and compared pictures.

    All columns belong to a block, so callers pass no more than some blocks' worth of `b` at a time.
    """
    for start in range(0, len(a.signs), _BLOCK):
        agreement, compared, pictures = a[start : start + _BLOCK].against(b)
        yield start, (compared - agreement) / (2 * compared), pictures


def _candidates(first: Sequence[Hashes], second: Sequence[Hashes]) -> set[tuple[int, int]]:
    """Return the pairs of videos with a pair of single frames that look alike."""
    a, owners_a = _frames([_spread(hashes) for hashes in first])
    found: set[tuple[int, int]] = set()
    for start in range(0, len(second), _VIDEOS):
        b, owners_b = _frames(second[start : start + _VIDEOS])
        for row, distances, pictures in _distances(a, b):
            hits = np.argwhere((distances <= _CANDIDATE) & (pictures > 0))
            pairs = np.stack([owners_a[row + hits[:, 0]], start + owners_b[hits[:, 1]]], axis=1)
            found.update(map(tuple, np.unique(pairs, axis=0).tolist()))
    return found


def _frames(videos: Sequence[Hashes]) -> tuple[_Rows, np.ndarray]:
    """Return all frames of all videos as rows, and which video each belongs to."""
    owners = np.repeat(np.arange(len(videos)), [len(hashes) for hashes in videos])
    return _Rows.of([[pair] for hashes in videos for pair in hashes]), owners


def _spread(hashes: Hashes) -> Hashes:
    """Return at most `_PROBES` of a video's frames, evenly spread."""
    return [hashes[i] for i in np.unique(np.linspace(0, len(hashes) - 1, _PROBES).round().astype(int))]
