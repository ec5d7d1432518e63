"""Where a swarm keeps its positions and its journal: a directory, or the memory of one process. Imports no Keras.

Positions are published atomically and never written in place, so a reader sees a whole file or none, and may go on
reading one that is replaced or pruned meanwhile. Links between equal positions cost no space.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.swarm import positions
from keras_actrec.swarm.journal import DamagedJournalError, Journal, StorageFullError, space_needed
from keras_actrec.swarm.positions import Draft, Position
from keras_actrec.swarm.settings import name_of
from keras_actrec.swarm.state import Kind

__all__ = ["DamagedJournalError", "DirectoryStore", "MemoryStore", "Place", "Store", "StorageFullError", "needed"]

JOURNAL = "swarm.sqlite"
WEIGHTS = "weights"
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_FILE = re.compile(rf"({'|'.join(Kind)})-(\d{{6,}})\.safetensors")
_LEFTOVER = re.compile(rf"\.({'|'.join(Kind)})-\d{{6,}}.*")
_FOLDER = re.compile(r"particle-([1-9]\d*)")


class Place(NamedTuple):
    """Which position: of whom, which of the three, of which round."""

    particle: int
    kind: Kind
    round: int

    def __str__(self) -> str:
        return f"position '{self.kind}' of {name_of(self.particle)} in round {self.round}"


class Store(Protocol):
    """What server and particles share: published positions, and the journal of what happened."""

    @property
    def journal(self) -> Journal:
        """The swarm's journal."""

    def put(self, particle: int, kind: Kind, round_number: int, parts: Iterable[np.ndarray], size: int) -> str:
        """Publish a position; another one in its place is replaced.

        Args:
            particle: index from 0.
            kind: which of its three positions.
            round_number: from 1.
            parts: float32 arrays that make up the vector, in order.
            size: number of elements of all parts together.

        Returns:
            Its digest.

        Raises:
            StorageFullError: there is no space; what was in its place still is.
        """

    def draft(
        self, particle: int, kind: Kind, round_number: int, size: int
    ) -> contextlib.AbstractContextManager[Draft]:
        """Return a context with a position of `size` elements to fill in; left without an error it is published."""

    def get(self, particle: int, kind: Kind, round_number: int) -> Position:
        """Return a published position; its elements are read, and can be verified, later.

        Raises:
            UserError: it is not there, or its file is not whole.
        """

    def has(self, particle: int, kind: Kind, round_number: int) -> bool:
        """Tell whether a position is published."""

    def alias(self, particle: int, source: tuple[Kind, int], target: tuple[Kind, int]) -> None:
        """Publish a particle's position `source` (kind, round) also as `target`, without another copy where possible.

        Raises:
            UserError: `source` is not there.
            StorageFullError: there is no space.
        """

    def rounds(self, particle: int, kind: Kind) -> list[int]:
        """Return the rounds of a particle's published positions of a kind, ascending."""

    def prune(self, oldest_needed: int, best_needed: Mapping[int, Collection[int]]) -> None:
        """Remove the positions that nobody can need any more.

        Args:
            oldest_needed: positions of this round and of later ones stay, of each kind.
            best_needed: of which rounds each particle's best positions stay, however old.
        """

    def size(self) -> int:
        """Return how many bytes positions and journal take; linked positions count once."""

    def sweep(self, particle: int | None = None) -> int:
        """Remove what killed writers left half-written, and return the number of bytes.

        Args:
            particle: whose; call it while nobody else writes its positions. None: everybody's, while no particle runs.
        """

    def close(self) -> None:
        """Close the journal."""


def needed(place: Place, oldest_needed: int, best_needed: Mapping[int, Collection[int]]) -> bool:
    """Tell whether `Store.prune` keeps a position."""
    if place.round >= oldest_needed:
        return True
    return place.kind is Kind.BEST and place.round in best_needed.get(place.particle, ())


class DirectoryStore:
    """A store in a directory: `weights/particle-K/{kind}-{round}.safetensors` and `swarm.sqlite`."""

    def __init__(self, path: str | Path, *, with_journal: bool = True) -> None:
        """Open or create the store of a swarm.

        Args:
            path: of the swarm.
            with_journal: see `weights_only`.

        Raises:
            UserError: the journal cannot be used; see `Journal`.
        """
        self.path = Path(path)
        self._weights = self.path / WEIGHTS
        self._journal = Journal(self.path / JOURNAL) if with_journal else None

    @classmethod
    def weights_only(cls, path: str | Path) -> Self:
        """Open a store for the process of a particle: without the journal, whose only writer is the server."""
        return cls(path, with_journal=False)

    @property
    def journal(self) -> Journal:
        """The swarm's journal."""
        if self._journal is None:
            raise RuntimeError("a store that was opened with weights_only has no journal; ask the server")
        return self._journal

    def file(self, particle: int, kind: Kind, round_number: int) -> Path:
        """Return where a position is, or would be."""
        return self._weights / name_of(particle) / f"{kind}-{round_number:06d}.safetensors"

    def put(self, particle: int, kind: Kind, round_number: int, parts: Iterable[np.ndarray], size: int) -> str:
        """Publish a position and return its digest; see `Store.put`."""
        path = self.file(particle, kind, round_number)
        with space_needed(path):
            return positions.write(path, parts, size, _notes(Place(particle, kind, round_number)))

    @contextlib.contextmanager
    def draft(self, particle: int, kind: Kind, round_number: int, size: int) -> Iterator[Draft]:
        """Yield a position to fill in; see `Store.draft`."""
        path, notes = self.file(particle, kind, round_number), _notes(Place(particle, kind, round_number))
        with space_needed(path), positions.create(path, size, notes) as draft:
            yield draft

    def get(self, particle: int, kind: Kind, round_number: int) -> Position:
        """Return a published position, mapped into memory; see `Store.get`."""
        path = self.file(particle, kind, round_number)
        if not path.is_file():
            raise _missing(Place(particle, kind, round_number), path)
        return positions.open_position(path)

    def has(self, particle: int, kind: Kind, round_number: int) -> bool:
        """Tell whether a position is published."""
        return self.file(particle, kind, round_number).is_file()

    def alias(self, particle: int, source: tuple[Kind, int], target: tuple[Kind, int]) -> None:
        """Publish a position under a second name by a hard link, or a copy where there are none; see `Store.alias`."""
        origin, goal = self.file(particle, *source), self.file(particle, *target)
        if not origin.is_file():
            raise _missing(Place(particle, *source), origin)
        with space_needed(goal), files.publish(goal) as temporary:
            _link_or_copy(origin, temporary)

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
        paths = [path for _, path in self._files()] + list(self.path.glob(f"{JOURNAL}*"))
        return sum(_sizes(paths).values())

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

    def _folders(self) -> Iterator[tuple[int, Path]]:
        for folder in sorted(self._weights.iterdir()) if self._weights.is_dir() else ():
            if (match := _FOLDER.fullmatch(folder.name)) and folder.is_dir():
                yield int(match[1]) - 1, folder

    def _files(self) -> Iterator[tuple[Place, Path]]:
        for particle, folder in self._folders():
            for path in sorted(folder.iterdir()):
                if match := _FILE.fullmatch(path.name):
                    yield Place(particle, Kind(match[1]), int(match[2])), path


class MemoryStore:
    """A store in the memory of this process, for tests and for swarms that run inside one process."""

    def __init__(self) -> None:
        self.journal = Journal(":memory:")
        self._positions: dict[Place, Position] = {}

    def put(self, particle: int, kind: Kind, round_number: int, parts: Iterable[np.ndarray], size: int) -> str:
        """Publish a position and return its digest; see `Store.put`."""
        with self.draft(particle, kind, round_number, size) as draft:
            return positions.fill(draft, parts)

    @contextlib.contextmanager
    def draft(self, particle: int, kind: Kind, round_number: int, size: int) -> Iterator[Draft]:
        """Yield a position to fill in; see `Store.draft`."""
        positions.check_size(size)
        draft, place = Draft(size), Place(particle, kind, round_number)
        yield draft
        digest = draft.finish()
        draft.array.flags.writeable = False
        self._positions[place] = Position(draft.array, digest, _notes(place), str(place))

    def get(self, particle: int, kind: Kind, round_number: int) -> Position:
        """Return a published position; see `Store.get`."""
        place = Place(particle, kind, round_number)
        if place not in self._positions:
            raise _missing(place, "this store")
        return self._positions[place]

    def has(self, particle: int, kind: Kind, round_number: int) -> bool:
        """Tell whether a position is published."""
        return (particle, kind, round_number) in self._positions

    def alias(self, particle: int, source: tuple[Kind, int], target: tuple[Kind, int]) -> None:
        """Publish a position under a second name; see `Store.alias`."""
        self._positions[Place(particle, *target)] = self.get(particle, *source)

    def rounds(self, particle: int, kind: Kind) -> list[int]:
        """Return the rounds of a particle's published positions of a kind, ascending."""
        return sorted(place.round for place in list(self._positions) if place[:2] == (particle, kind))

    def prune(self, oldest_needed: int, best_needed: Mapping[int, Collection[int]]) -> None:
        """Forget the positions that nobody can need any more; see `Store.prune`."""
        for place in list(self._positions):
            if not needed(place, oldest_needed, best_needed):
                del self._positions[place]

    def size(self) -> int:
        """Return how many bytes the positions take; aliases count once."""
        return sum({id(position): position.array.nbytes for position in list(self._positions.values())}.values())

    def sweep(self, particle: int | None = None) -> int:
        """Do nothing: what a writer leaves half-written is gone with it."""
        return 0

    def close(self) -> None:
        """Close the journal, which forgets it."""
        self.journal.close()


def _notes(place: Place) -> dict[str, str | int]:
    return {"particle": place.particle, "kind": str(place.kind), "round": place.round}


def _missing(place: Place, where: Path | str) -> UserError:
    return UserError(
        f"expected the {place} at {where}, but it is not there: check that this machine sees the directory of the "
        "swarm, and that nothing was removed from it"
    )


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
        with contextlib.suppress(FileNotFoundError):  # the log of the journal comes and goes
            status = path.stat()
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sizes
