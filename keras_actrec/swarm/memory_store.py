"""A store in the memory of one process. Imports no Keras."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from keras_actrec.swarm import positions
from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.places import MissingPositionError, Place, check_announced, needed, stored_as
from keras_actrec.swarm.positions import Draft, Position
from keras_actrec.swarm.precision import FLOAT32, encode
from keras_actrec.swarm.state import Kind


class MemoryStore:
    """A store in the memory of this process, for tests and for swarms that run inside one process.

    Args:
        precision: at which positions are kept; whoever puts them has rounded them to it. Sketches are float32.
    """

    def __init__(self, precision: str = FLOAT32) -> None:
        self.journal, self._precision = Journal(":memory:"), precision
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
        stored = stored_as(kind, self._precision)
        array = encode(draft.array, stored)
        array.flags.writeable = False
        self._positions[place] = Position(array, digest, place.notes, str(place), stored=stored)

    def get(self, particle: int, kind: Kind, round_number: int, digest: str | None = None) -> Position:
        """Return a published position; see `Store.get`."""
        place = Place(particle, kind, round_number)
        if place not in self._positions:
            raise MissingPositionError(place, "this store")
        return check_announced(self._positions[place], digest)

    def digest(self, particle: int, kind: Kind, round_number: int) -> str:
        """Return the digest of a published position."""
        return self.get(particle, kind, round_number).digest

    def has(self, particle: int, kind: Kind, round_number: int) -> bool:
        """Tell whether a position is published."""
        return (particle, kind, round_number) in self._positions

    def alias(
        self, particle: int, source: tuple[Kind, int], target: tuple[Kind, int], digest: str | None = None
    ) -> None:
        """Publish a position under a second name; see `Store.alias`."""
        self._positions[Place(particle, *target)] = self.get(particle, *source, digest)

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
