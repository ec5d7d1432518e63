"""Positions of particles as files: one flat float32 vector in a genuine `.safetensors` file, with a checksum.

A file holds one tensor, `position` (D,), which `safetensors.numpy.load_file` reads, too. It is float32, or float16 or
bfloat16 where the values have been rounded to that, so that they come back as they were. Its metadata have `digest`,
the checksum, and `notes`, JSON of the writer. The checksum is the XXH3-128 of the XXH3-128 digests of all blocks of
`BLOCK` weights: equal content has an equal digest, whoever wrote it and in whatever order, and threads can share the
work. It is that of the float32 values, however they are stored. It finds accidents (a torn copy, a bad disk), not
malice.

The data begin at a multiple of the page size, so that blocks are aligned in memory maps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import mmap
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.swarm.precision import STORED, decode, encode

BLOCK = 1 << 18
"""Weights per block of the checksum: 1 MiB of float32."""
TENSOR = "position"
DTYPE = np.dtype("<f4")
ALIGNMENT = 4096
LARGEST_HEADER = 1 << 20
UNFINISHED = "0" * 32
"""Stands in the file while it is written, because a digest is known only when all weights are."""


class DamagedPositionError(UserError):
    """A position that is not what its writer published.

    Attributes:
        name: the file.
        reason: a short phrase such as "truncated: 1024 of 4096 bytes".
    """

    def __init__(self, name: str | os.PathLike[str], reason: str) -> None:
        super().__init__(
            f"{name} is not a whole position file ({reason}); restore it from a copy, or remove the swarm's directory "
            "and start again"
        )
        self.name = str(name)
        self.reason = reason


def block_count(size: int) -> int:
    """Return the number of blocks of `size` weights."""
    return -(-size // BLOCK)


def combine(block_digests: Iterable[bytes]) -> str:
    """Return the digest of a vector from those of its blocks, first to last."""
    return xxhash.xxh3_128_hexdigest(b"".join(block_digests))


def digest_of(array: np.ndarray, stored: str = "F32") -> str:
    """Return the digest of a vector (D,) of float32, or of what is stored for it."""
    blocks = (decode(array[start : start + BLOCK], stored) for start in range(0, len(array), BLOCK))
    return combine(xxhash.xxh3_128_digest(np.ascontiguousarray(block, DTYPE)) for block in blocks)


@dataclasses.dataclass(frozen=True, eq=False)
class Position:
    """A published position.

    Attributes:
        array: (D,) float32, read-only; a memory map of the file, or an ordinary array. Of a file at half width it is
            what is stored; `decode` makes float32 of a piece of it.
        digest: checksum that the writer stored, 32 hexadecimal digits.
        notes: what the writer added.
        name: where it is from, for messages.
        path: its file; None in memory.
        offset: of the first weight in the file, bytes.
        stored: how the weights are stored, a tag of `precision.STORED`.
    """

    array: np.ndarray
    digest: str
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)
    name: str = "a position in memory"
    path: Path | None = None
    offset: int = 0
    stored: str = "F32"

    @property
    def values(self) -> np.ndarray:
        """The weights as float32 (D,), however they are stored."""
        return decode(self.array, self.stored)

    def verify(self) -> None:
        """Read all weights; raise `DamagedPositionError` unless they are what was published."""
        check_digest(self, digest_of(self.array, self.stored))


def check_digest(position: Position, found: str) -> None:
    """Raise `DamagedPositionError` unless `found`, the digest of what was read, is the position's own."""
    if found != position.digest:
        raise DamagedPositionError(position.name, f"its checksum is {found}, {position.digest} was published")


def open_position(path: str | os.PathLike[str]) -> Position:
    """Open a position file; reads its header only, the weights are mapped.

    Raises:
        UserError: there is no such file.
        DamagedPositionError: it is truncated or something else than a position.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            offset, header = _read_header(path, file, length)
            # The open file and not the path, at which another file may be by now; np.memmap would take longer.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise UserError(f"expected a position file at {path}, but there is none; give the path of one") from None
    size, digest, notes, stored = _parse_header(path, header)
    expected = offset + STORED[stored].itemsize * size
    if length < expected:
        raise DamagedPositionError(path, f"truncated: {length} of {expected} bytes")
    if length > expected:
        raise DamagedPositionError(path, f"{length - expected} bytes too many")
    array = np.frombuffer(mapped, STORED[stored], size, offset)
    return Position(array, digest, notes, str(path), path, offset, stored)


class Draft:
    """A position that is being made.

    Attributes:
        size: number of weights, D.
        digest: checksum; None until `finish`.
    """

    def __init__(self, size: int) -> None:
        """Make a draft in memory."""
        self.size = size
        self.digest: str | None = None
        self._array: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        """The weights, (D,) float32, writable."""
        if self._array is None:
            self._array = self._allocate()
        return self._array

    def write(self, start: int, values: np.ndarray) -> None:
        """Write contiguous float32 `values` from index `start` on; threads may write different places at a time."""
        self.array[start : start + len(values)] = values

    def finish(self, block_digests: Sequence[bytes] | None = None) -> str:
        """End the writing and return the digest; done already, only return it.

        Args:
            block_digests: XXH3-128 of each block, if the writer knows them; else the weights are read again.
        """
        if self.digest is None:
            self.digest = digest_of(self.array) if block_digests is None else combine(block_digests)
        return self.digest

    def _allocate(self) -> np.ndarray:
        return np.zeros(self.size, DTYPE)


class _FileDraft(Draft):
    def __init__(self, size: int, path: Path, descriptor: int, notes: Mapping[str, Any], stored: str) -> None:
        super().__init__(size)
        self._path, self._descriptor, self._notes, self._stored = path, descriptor, notes, stored
        header = _header(size, UNFINISHED, notes, stored)
        self._offset, self._width = len(header), STORED[stored].itemsize
        _write_all(descriptor, header, 0)
        os.truncate(descriptor, self._offset + self._width * size)

    def write(self, start: int, values: np.ndarray) -> None:
        place = self._offset + self._width * start
        _write_all(self._descriptor, memoryview(encode(values, self._stored)).cast("B"), place)

    def finish(self, block_digests: Sequence[bytes] | None = None) -> str:
        if self.digest is None:
            digest = super().finish(block_digests)
            _write_all(self._descriptor, _header(self.size, digest, self._notes, self._stored), 0)
        return self.digest

    def _allocate(self) -> np.ndarray:
        if self._stored != "F32":
            raise RuntimeError("a position that is stored at half width is written piece by piece, with its digests")
        # A hole that cannot be filled kills the process by SIGBUS when a memory map is written to; this raises instead.
        os.posix_fallocate(self._descriptor, self._offset, DTYPE.itemsize * self.size)
        return np.memmap(self._path, DTYPE, "r+", self._offset, (self.size,))


@contextlib.contextmanager
def create(
    path: str | os.PathLike[str], size: int, notes: Mapping[str, Any] | None = None, stored: str = "F32"
) -> Iterator[Draft]:
    """Yield a draft of `size` weights, all 0; publish it at `path` when the block ends without an error.

    Whoever knows the digests of the blocks calls `Draft.finish` with them; else they are computed at the end.

    Args:
        path: the file; replaced atomically.
        size: number of weights, at least 1.
        notes: JSON to keep with the position.
        stored: a tag of `precision.STORED`; the weights must have been rounded to it.
    """
    check_size(size)
    with files.publish(path) as temporary:
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            draft = _FileDraft(size, temporary, descriptor, dict(notes or {}), stored)
            yield draft
            draft.finish()
        finally:
            os.close(descriptor)


def write(
    path: str | os.PathLike[str],
    parts: Iterable[np.ndarray],
    size: int,
    notes: Mapping[str, Any] | None = None,
    stored: str = "F32",
) -> str:
    """Publish the concatenation of `parts` (arrays of any shape, flattened, as float32) and return its digest.

    Raises:
        UserError: the parts do not have `size` weights in all.
    """
    with create(path, size, notes, stored) as draft:
        return fill(draft, parts)


def fill(draft: Draft, parts: Iterable[np.ndarray]) -> str:
    """Write the concatenation of `parts` into a draft, finish it and return the digest; errors as `write`."""
    blocks = BlockDigests()
    start = 0
    for part in parts:
        flat = np.asarray(part).reshape(-1)
        if start + flat.size > draft.size:
            raise UserError(_wrong_size(draft.size, f"more than {start + flat.size - 1}"))
        for begin in range(0, flat.size, BLOCK):
            piece = np.ascontiguousarray(flat[begin : begin + BLOCK], DTYPE)
            blocks.update(piece)
            draft.write(start, piece)
            start += piece.size
    if start != draft.size:
        raise UserError(_wrong_size(draft.size, str(start)))
    return draft.finish(blocks.all())


class BlockDigests:
    """Digests of the blocks of a vector that comes in pieces, in order."""

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._hash = xxhash.xxh3_128()
        self._room = BLOCK

    def update(self, values: np.ndarray) -> None:
        """Take the next contiguous float32 `values`."""
        start = 0
        while start < len(values):
            piece = values[start : start + self._room]
            self._hash.update(piece)
            start += len(piece)
            self._room -= len(piece)
            if self._room == 0:
                self._close()

    def all(self) -> list[bytes]:
        """Return the digests, the last one of a block that need not be whole."""
        if self._room < BLOCK:
            self._close()
        return self._done

    def _close(self) -> None:
        self._done.append(self._hash.digest())
        self._hash.reset()
        self._room = BLOCK


def check_size(size: int) -> None:
    """Raise `UserError` for a position without weights."""
    if size < 1:
        raise UserError(f"a position needs at least one weight, got {size}; give the particles a model that can learn")


def _wrong_size(expected: int, came: str) -> str:
    return f"expected {expected} weights, got {came}; give all particles the same model"


def _header(size: int, digest: str, notes: Mapping[str, Any], stored: str) -> bytes:
    tensor = {"dtype": stored, "shape": [size], "data_offsets": [0, STORED[stored].itemsize * size]}
    metadata = {"digest": digest, "notes": json.dumps(notes, sort_keys=True, allow_nan=False)}
    text = json.dumps({"__metadata__": metadata, TENSOR: tensor}).encode()
    padded = text.ljust(-(-(len(text) + 8) // ALIGNMENT) * ALIGNMENT - 8)
    if len(padded) > LARGEST_HEADER:
        raise UserError(f"the notes of a position may have {LARGEST_HEADER} bytes, got {len(padded)}; shorten them")
    return len(padded).to_bytes(8, "little") + padded


def _read_header(path: Path, file: BinaryIO, length: int) -> tuple[int, dict[str, Any]]:
    announced = int.from_bytes(file.read(8), "little")
    if not 8 < 8 + announced <= min(length, LARGEST_HEADER + 8):
        raise DamagedPositionError(path, f"its {length} bytes do not begin with a safetensors header")
    try:
        header = json.loads(file.read(announced))
    except (ValueError, RecursionError):
        raise DamagedPositionError(path, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise DamagedPositionError(path, "its header is not a JSON object")
    return 8 + announced, header


def _parse_header(path: Path, header: dict[str, Any]) -> tuple[int, str, dict[str, Any], str]:
    try:
        metadata, tensor = header["__metadata__"], header[TENSOR]
        (size,), stored = tensor["shape"], str(tensor["dtype"])
        digest, notes = metadata["digest"], json.loads(metadata["notes"])
    except (KeyError, TypeError, ValueError):
        raise DamagedPositionError(path, f"it does not have one vector '{TENSOR}' with a checksum") from None
    width = STORED[stored].itemsize if stored in STORED else 0
    whole = type(size) is int and size > 0 and tensor.get("data_offsets") == [0, width * size]
    if len(header) != 2 or not whole or stored not in STORED or not isinstance(notes, dict):
        raise DamagedPositionError(path, f"it does not have exactly one vector '{TENSOR}' of {', '.join(STORED)}")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{32}", digest) or digest == UNFINISHED:
        raise DamagedPositionError(path, "it was never finished")
    return size, digest, notes, stored


def _write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
