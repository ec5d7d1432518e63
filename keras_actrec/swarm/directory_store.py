"""A store in a directory, of this machine or of a network file system. Imports no Keras.

On a network file system one machine may see late what another one has done: a new file, or that a file was replaced.
So whoever knows which checksum was announced looks again until the file has it. Renames are atomic everywhere; no lock
is taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from keras_actrec import files
from keras_actrec.swarm import positions
from keras_actrec.swarm.cache import Cache
from keras_actrec.swarm.journal import Journal, space_needed
from keras_actrec.swarm.patience import patiently
from keras_actrec.swarm.places import (
    FOLDER,
    JOURNAL,
    KINDS,
    WEIGHTS,
    MissingPositionError,
    Place,
    check_announced,
    needed,
    stored_as,
)
from keras_actrec.swarm.positions import DamagedPositionError, Draft, Position
from keras_actrec.swarm.precision import FLOAT32
from keras_actrec.swarm.settings import name_of
from keras_actrec.swarm.state import Kind

Result = TypeVar("Result")
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_FILE = re.compile(rf"({KINDS})-(\d{{6,}})\.safetensors")
_LEFTOVER = re.compile(rf"\.({KINDS})-\d{{6,}}.*")


class DirectoryStore:
    """A store in a directory: `weights/particle-K/{kind}-{round}.safetensors` and `swarm.sqlite`."""

    def __init__(
        self,
        path: str | Path,
        *,
        with_journal: bool = True,
        journal: Journal | None = None,
        cache: Cache | None = None,
        patience_sec: float = 0.0,
        precision: str = FLOAT32,
    ) -> None:
        """Open or create the store of a swarm.

        Args:
            path: of the swarm.
            with_journal: whether to open the journal in the directory; see `weights_only`.
            journal: one that is open, in place of that.
            cache: a folder of this machine into which positions are copied before they are read.
            patience_sec: what was announced may be seen so much later.
            precision: at which positions are stored; whoever puts them has rounded them to it. Sketches are float32.

        Raises:
            UserError: the journal cannot be used; see `Journal`.
        """
        self.path = Path(path)
        self._weights = self.path / WEIGHTS
        self._cache, self._patience_sec, self._precision = cache, patience_sec, precision
        self._journal = journal or (Journal(self.path / JOURNAL) if with_journal else None)

    @classmethod
    def weights_only(cls, path: str | Path, precision: str = FLOAT32) -> Self:
        """Open a store for the process of a particle: without the journal, whose only writer is the server."""
        return cls(path, with_journal=False, precision=precision)

    @property
    def journal(self) -> Journal:
        """The swarm's journal."""
        if self._journal is None:
            raise RuntimeError("a store that was opened with weights_only has no journal; ask the server")
        return self._journal

    def file(self, particle: int, kind: Kind, round_number: int) -> Path:
        """Return where a position is, or would be."""
        return self._weights / name_of(particle) / f"{Place(particle, kind, round_number).stem}.safetensors"

    def put(self, particle: int, kind: Kind, round_number: int, parts: Iterable[np.ndarray], size: int) -> str:
        """Publish a position and return its digest; see `Store.put`."""
        path = self.file(particle, kind, round_number)
        with space_needed(path):
            notes = Place(particle, kind, round_number).notes
            return positions.write(path, parts, size, notes, stored_as(kind, self._precision))

    @contextlib.contextmanager
    def draft(self, particle: int, kind: Kind, round_number: int, size: int) -> Iterator[Draft]:
        """Yield a position to fill in; see `Store.draft`."""
        path, notes = self.file(particle, kind, round_number), Place(particle, kind, round_number).notes
        stored = stored_as(kind, self._precision)
        with space_needed(path), positions.create(path, size, notes, stored) as draft:
            yield draft

    def get(self, particle: int, kind: Kind, round_number: int, digest: str | None = None) -> Position:
        """Return a published position, mapped into memory; see `Store.get`."""
        place = Place(particle, kind, round_number)
        return self._patiently(lambda: self._near(place, digest), digest is not None)

    def digest(self, particle: int, kind: Kind, round_number: int) -> str:
        """Return the digest of a published position; reads the header of its file."""
        return self._open(Place(particle, kind, round_number)).digest

    def has(self, particle: int, kind: Kind, round_number: int) -> bool:
        """Tell whether a position is published."""
        return self.file(particle, kind, round_number).is_file()

    def alias(
        self, particle: int, source: tuple[Kind, int], target: tuple[Kind, int], digest: str | None = None
    ) -> None:
        """Publish a position under a second name by a hard link, or a copy where there are none; see `Store.alias`."""
        origin, goal = Place(particle, *source), self.file(particle, *target)
        source_now = self._patiently(lambda: check_announced(self._open(origin), digest), True)
        with space_needed(goal), files.publish(goal) as temporary:
            _link_or_copy(source_now.path, temporary)

    def rounds(self, particle: int, kind: Kind) -> list[int]:
        """Return the rounds of a particle's published positions of a kind, ascending."""
        return sorted(place.round for place, _ in self._files() if place[:2] == (particle, kind))

    def prune(self, oldest_needed: int, best_needed: Mapping[int, Collection[int]]) -> None:
        """Remove the files that nobody can need any more; see `Store.prune`."""
        for place, path in self._files():
            if not needed(place, oldest_needed, best_needed):
                path.unlink(missing_ok=True)

    def size(self) -> int:
        """Return how many bytes positions and journal take; linked positions count once."""
        journal = self._journal.size() if self._journal else 0
        return journal + sum(_sizes(path for _, path in self._files()).values())

    def sweep(self, particle: int | None = None) -> int:
        """Remove what killed writers left half-written; see `Store.sweep`."""
        leftovers = [
            path
            for owner, folder in self._folders()
            if particle in (None, owner)
            for path in folder.iterdir()
            if _LEFTOVER.fullmatch(path.name) and path.is_file() and not path.is_symlink()
        ]
        freed = sum(_sizes([path for path in leftovers if path.stat().st_nlink == 1]).values())
        for path in leftovers:
            path.unlink(missing_ok=True)
        return freed

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def _near(self, place: Place, digest: str | None) -> Position:
        """Return a position, from the cache where there is one."""
        if self._cache is None:
            return check_announced(self._open(place), digest)
        path = self._cache.find(digest) if digest else None
        if path is None:
            source = check_announced(self._open(place), digest)
            path = self._cache.get(source.digest, lambda copy: shutil.copyfile(source.path, copy))
        return dataclasses.replace(positions.open_position(path), name=f"{self.file(*place)} (copied to {path})")

    def _open(self, place: Place) -> Position:
        return positions.open_position(self._seen(place))

    def _seen(self, place: Place) -> Path:
        """Return the path of a file that is there."""
        path = self.file(*place)
        if not path.is_file():
            # NFS remembers that a name was missing until it looks at the folder again.
            with contextlib.suppress(OSError):
                os.listdir(path.parent)  # noqa: PTH208 (the names are of no interest)
            if not path.is_file():
                raise MissingPositionError(place, path)
        return path

    def _patiently(self, attempt: Callable[[], Result], announced: bool) -> Result:
        """Try again while this machine may only see late what is there."""

        def passing(error: Exception) -> bool:
            stale = isinstance(error, OSError) and error.errno == errno.ESTALE
            return stale or (announced and isinstance(error, MissingPositionError | DamagedPositionError))

        return patiently(attempt, passing, self._patience_sec)

    def _folders(self) -> Iterator[tuple[int, Path]]:
        for folder in sorted(self._weights.iterdir()) if self._weights.is_dir() else ():
            if (match := FOLDER.fullmatch(folder.name)) and folder.is_dir():
                yield int(match[1]) - 1, folder

    def _files(self) -> Iterator[tuple[Place, Path]]:
        for particle, folder in self._folders():
            for path in sorted(folder.iterdir()):
                if match := _FILE.fullmatch(path.name):
                    yield Place(particle, Kind(match[1]), int(match[2])), path


def _link_or_copy(origin: Path, temporary: Path) -> None:
    temporary.unlink()
    try:
        os.link(origin, temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(origin, temporary)


def _sizes(paths: Iterable[Path]) -> dict[tuple[int, int], int]:
    sizes = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
            status = path.stat()
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sizes
