"""Two passes over published positions, all cores, in little memory: distances first, then the update. Imports no Keras.

Each file's checksum is verified in the pass that reads it first, and that of the result is made while it is in the
cache. Memory does not depend on the number of particles or weights: each thread has buffers of nine times `CHUNK`.

Files are read by `preadv` into buffers that are used again. Memory maps saved 15 % of the processor time when this was
measured (10 files of 160 MB in the page cache: 0.41 s against 0.49 s), but where a map of a file that is truncated or
cannot be read kills the process with SIGBUS, a read raises; and mapped pages count as the process's resident memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import TypeVar

import numpy as np
import xxhash

from keras_actrec.errors import UserError
from keras_actrec.swarm import chunks
from keras_actrec.swarm.chunks import CHUNK, Plan, Scratch, Source
from keras_actrec.swarm.positions import BLOCK, DTYPE, DamagedPositionError, Draft, Position, check_digest, combine
from keras_actrec.swarm.precision import STORED, decode

Result = TypeVar("Result")
MOST_THREADS = 16
"""More would wait for the memory; each needs 4.5 MiB for its buffers."""
SPARE_FILES = 256
"""Of a process, beside those of a move; TensorFlow keeps some open."""
Digests = dict[str, bytes]
"""Digest that a vector should have -> digest of the present block."""


@dataclasses.dataclass(frozen=True)
class Input:
    """A position that is open for reading.

    Attributes:
        position: what is read.
        descriptor: of its file; None: in memory.
    """

    position: Position
    descriptor: int | None

    def read(self, first: int, last: int, buffer: np.ndarray) -> np.ndarray:
        """Return the weights [first, last), in `buffer` if they come from a file."""
        stored = self.position.stored
        if self.descriptor is None:
            return decode(self.position.array[first:last], stored)
        if stored == "F32":
            return self._fill(first, buffer[: last - first])
        buffer[: last - first] = decode(self._fill(first, np.empty(last - first, STORED[stored])), stored)
        return buffer[: last - first]

    def _fill(self, first: int, target: np.ndarray) -> np.ndarray:
        """Read what is stored from weight `first` on."""
        view, offset = memoryview(target).cast("B"), self.position.offset + target.itemsize * first
        while view:
            count = os.preadv(self.descriptor, [view], offset)
            if count == 0:
                raise DamagedPositionError(self.position.name, f"truncated: it ends at byte {offset}")
            view, offset = view[count:], offset + count
        return target


class Reader:
    """Gives one thread the pieces of sources, and hashes those that are not verified yet.

    Vectors with equal digests are one: `best` is often `after`, and both bests may be the same.
    """

    def __init__(self, inputs: Mapping[Source, Input], kept: Sequence[Source], verified: frozenset[str]) -> None:
        """Make the buffers.

        Args:
            inputs: the sources.
            kept: sources whose piece stays valid until the next one; of others, the two that were read last.
            verified: digests of vectors that need not be hashed.
        """
        self._inputs, self._verified = inputs, verified
        self._kept = {inputs[source].position.digest: np.empty(CHUNK, DTYPE) for source in kept}
        self._recent = {name: np.empty(CHUNK, DTYPE) for name in ("last but one", "last")}
        self._pieces: dict[str, np.ndarray] = {}
        self._hashed: set[str] = set()
        self._hashes: dict[str, xxhash.xxh3_128] = {}
        self._span = (0, 0)

    def turn_to(self, first: int, last: int) -> None:
        """Make [first, last) the present piece."""
        self._span = (first, last)
        self._pieces.clear()
        self._hashed.clear()

    def __call__(self, source: Source) -> np.ndarray:
        """Return the present piece of a source."""
        one = self._inputs[source]
        digest = one.position.digest
        if digest not in self._pieces:
            self._pieces[digest] = one.read(*self._span, self._buffer(digest))
            self._hash(digest)
        elif digest in self._recent:
            self._recent[digest] = self._recent.pop(digest)
        return self._pieces[digest]

    def end_block(self) -> Digests:
        """Return the digests of the block that the pieces since the last call make up."""
        found = {digest: state.digest() for digest, state in self._hashes.items()}
        self._hashes.clear()
        return found

    def _buffer(self, digest: str) -> np.ndarray:
        if digest in self._kept:
            return self._kept[digest]
        buffer = self._recent.pop(digest, None)
        if buffer is None:
            oldest = next(iter(self._recent))
            buffer = self._recent.pop(oldest)
            self._pieces.pop(oldest, None)
        self._recent[digest] = buffer
        return buffer

    def _hash(self, digest: str) -> None:
        if digest not in self._verified and digest not in self._hashed:
            self._hashes.setdefault(digest, xxhash.xxh3_128()).update(self._pieces[digest])
            self._hashed.add(digest)


class _Distances:
    """One thread's work of the first pass."""

    def __init__(self, reader: Reader, own: Source, others: Sequence[Source]) -> None:
        self._reader, self._own, self._others = reader, own, others
        self._scratch = Scratch(DTYPE)

    def __call__(self, start: int, stop: int) -> tuple[list[float], Digests]:
        squares = [0.0] * len(self._others)
        for span in chunks.pieces(start, stop):
            self._reader.turn_to(*span)
            for index, other in enumerate(self._others):
                squares[index] += chunks.squared_distance(self._reader, self._own, other, self._scratch)
        return squares, self._reader.end_block()


class _Update:
    """One thread's work of the second pass."""

    def __init__(self, reader: Reader, plan: Plan, draft: Draft) -> None:
        self._reader, self._plan, self._draft = reader, plan, draft
        self._scratch = Scratch(DTYPE)

    def __call__(self, start: int, stop: int) -> tuple[Counter[str], Digests, bytes]:
        squares: Counter[str] = Counter()
        digest = xxhash.xxh3_128()
        for first, last in chunks.pieces(start, stop):
            self._reader.turn_to(first, last)
            result, parts = chunks.update(self._reader, self._plan, first, self._scratch)
            squares.update(parts)
            digest.update(result)
            self._draft.write(first, result)
        return squares, self._reader.end_block(), digest.digest()


class Passes:
    """Positions of one length, open for reading.

    Attributes:
        size: their number of weights.
    """

    def __init__(self, threads: int | None = None) -> None:
        """Begin with no positions.

        Args:
            threads: None: as many as this process may use cores, up to `MOST_THREADS`.
        """
        self.size = 0
        self._threads = threads or min(len(os.sched_getaffinity(0)), MOST_THREADS)
        self._files = contextlib.ExitStack()
        self._inputs: dict[Source, Input] = {}
        self._verified: frozenset[str] = frozenset()

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    @property
    def reads_files(self) -> bool:
        """Whether a position that is open is a file."""
        return any(one.descriptor is not None for one in self._inputs.values())

    def add(self, source: Source, position: Position) -> None:
        """Open a position; one that is open already stays as it is.

        Raises:
            UserError: its file is gone, or it has another length than the others.
        """
        if source in self._inputs:
            return
        self.size = self.size or len(position.array)
        if len(position.array) != self.size:
            raise UserError(
                f"expected {self.size} weights in {position.name}, got {len(position.array)}; "
                "give all particles the same model"
            )
        self._inputs[source] = Input(position, self._open(position))

    def distances(self, own: Source, others: Sequence[Source]) -> list[float]:
        """Return the Euclidean distances of `own` to others; verify all that is read."""
        blocks = self._run(lambda: _Distances(self._reader([own]), own, others))
        self._verify([digests for _, digests in blocks])
        columns = zip(*(squares for squares, _ in blocks), strict=True)
        return [math.sqrt(math.fsum(column)) for column in columns]

    def walk(self, source: Source) -> Iterator[np.ndarray]:
        """Yield a position piece by piece, first to last, and verify it; a piece is valid until the next one."""
        reader, blocks = self._reader([source]), []
        for start in range(0, self.size, BLOCK):
            for span in chunks.pieces(start, min(start + BLOCK, self.size)):
                reader.turn_to(*span)
                yield reader(source)
            blocks.append(reader.end_block())
        self._verify(blocks)

    def update(self, plan: Plan, draft: Draft) -> dict[str, float]:
        """Write the result of a plan and finish the draft; verify all that is read.

        Returns:
            Euclidean norm of each group of terms.
        """
        blocks = self._run(lambda: _Update(self._reader(plan.kept), plan, draft))
        self._verify([digests for _, digests, _ in blocks])
        draft.finish([digest for _, _, digest in blocks])
        groups = blocks[0][0]
        return {group: math.sqrt(math.fsum(squares[group] for squares, _, _ in blocks)) for group in groups}

    def _open(self, position: Position) -> int | None:
        if position.path is None:
            return None
        try:
            descriptor = os.open(position.path, os.O_RDONLY)
        except FileNotFoundError:
            raise UserError(f"{position.path} was removed while a particle was about to read it; start again") from None
        self._files.callback(os.close, descriptor)
        return descriptor

    def _reader(self, kept: Sequence[Source]) -> Reader:
        return Reader(self._inputs, kept, self._verified)

    def _run(self, worker: Callable[[], Callable[[int, int], Result]]) -> list[Result]:
        """Return what the workers, one per thread, make of each block, first to last."""
        starts = iter(range(0, self.size, BLOCK))
        with ThreadPoolExecutor(self._threads) as pool:
            shares = [pool.submit(_labour, worker, starts, self.size) for _ in range(self._threads)]
            done = [pair for share in shares for pair in share.result()]
        return [result for _, result in sorted(done, key=itemgetter(0))]

    def _verify(self, blocks: Sequence[Digests]) -> None:
        named = {one.position.digest: one.position for one in self._inputs.values()}
        for digest in blocks[0]:
            check_digest(named[digest], combine(block[digest] for block in blocks))
        self._verified |= blocks[0].keys()


def allow_files(count: int) -> None:
    """Let this process have so many files open, beside what it has open anyway.

    Raises:
        UserError: it may not, and root alone may change that.
    """
    wanted = count + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UserError(
            f"a move among so many particles opens {wanted} files at once, but a process may open {hard} here; raise "
            f"the limit (ulimit -Hn {wanted}), or set swarm.nearest_by=sketch and fewer neighbours"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _labour(
    worker: Callable[[], Callable[[int, int], Result]], starts: Iterator[int], size: int
) -> list[tuple[int, Result]]:
    work = worker()
    with np.errstate(over="ignore", invalid="ignore"):  # sums that are not finite are told of at the end
        return [(start, work(start, min(start + BLOCK, size))) for start in starts]
