"""Where a swarm keeps its positions, and what every such store promises. Imports no Keras.

Positions are published atomically and never written in place, so a reader sees a whole file or none, and may go on
reading one that is replaced or pruned meanwhile. Nothing relies on locks, nor on others seeing at once what is
published: a reader that knows the checksum of what was announced waits until it sees just that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from keras_actrec.swarm.directory_store import DirectoryStore
from keras_actrec.swarm.journal import DamagedJournalError, Journal, StorageFullError
from keras_actrec.swarm.memory_store import MemoryStore
from keras_actrec.swarm.places import JOURNAL, Place, needed
from keras_actrec.swarm.positions import Draft, Position
from keras_actrec.swarm.state import Kind

if TYPE_CHECKING:
    from keras_actrec.swarm.settings import SwarmSection

__all__ = [
    "DamagedJournalError",
    "DirectoryStore",
    "MemoryStore",
    "Place",
    "StorageFullError",
    "Store",
    "needed",
    "open_store",
]

GIGABYTE = 10**9


class Store(Protocol):
    """What server and particles share: published positions, and the journal of what happened."""

    @property
    def journal(self) -> Journal:
        """The swarm's journal."""

    def put(self, particle: int, kind: Kind, round_number: int, parts: Iterable[np.ndarray], size: int) -> str:
        """Publish a position; another one in its place is replaced.

        Args:
            particle: index from 0.
            kind: which of its positions.
            round_number: from 1.
            parts: float32 arrays that make up the vector, in order; rounded to the precision of the store.
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

    def get(self, particle: int, kind: Kind, round_number: int, digest: str | None = None) -> Position:
        """Return a published position; its elements are read, and can be verified, later.

        Args:
            particle: index from 0.
            kind: which of its positions.
            round_number: from 1.
            digest: which one its writer has announced. It may be seen late, so it is waited for, as long as the store
                has patience. None: what is there now.

        Raises:
            UserError: it is not there, its file is not whole, or it is another one than announced.
        """

    def digest(self, particle: int, kind: Kind, round_number: int) -> str:
        """Return the digest of a published position, without reading its elements; errors as `get`."""

    def has(self, particle: int, kind: Kind, round_number: int) -> bool:
        """Tell whether a position is published."""

    def alias(
        self, particle: int, source: tuple[Kind, int], target: tuple[Kind, int], digest: str | None = None
    ) -> None:
        """Publish a particle's position `source` (kind, round) also as `target`, without another copy where possible.

        Args:
            particle: index from 0.
            source: what is published already.
            target: under which name it is published, too.
            digest: which `source`, as in `get`.

        Raises:
            UserError: `source` is not there, or is another one than `digest` says.
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


def open_store(swarm: Path, settings: SwarmSection, *, with_journal: bool) -> Store:
    """Open the store that a swarm's configuration names; positions in it are at the precision of `swarm.exchange`.

    Args:
        swarm: directory of the swarm; it holds the journal, and the positions where `swarm.store` names no other place.
        settings: the section `swarm`.
        with_journal: for the server, its only writer; particles do without.

    Raises:
        UserError: the journal cannot be used, the bucket is not there, or the cache cannot be used.
    """
    from keras_actrec.swarm.cache import Cache, usual_folder

    journal = Journal(swarm / JOURNAL) if with_journal else None
    name = swarm.absolute().name  # "." has none
    limit_bytes = round(settings.cache_gb * GIGABYTE)
    try:
        if settings.store is None or not settings.store.startswith("s3://"):
            folder = swarm if settings.store is None else Path(settings.store) / name
            cache = Cache(settings.cache, limit_bytes) if settings.cache else None
            return DirectoryStore(
                folder,
                with_journal=False,
                journal=journal,
                cache=cache,
                patience_sec=settings.store_sec,
                precision=settings.exchange,
            )
        from keras_actrec.swarm.bucket import Bucket
        from keras_actrec.swarm.bucket_store import BucketStore

        bucket = Bucket(f"{settings.store.rstrip('/')}/{name}", settings.store_sec)
        cache = Cache(settings.cache or usual_folder(), limit_bytes)
        return BucketStore(bucket, cache, journal, settings.store_sec, settings.exchange)
    except BaseException:
        if journal is not None:
            journal.close()
        raise
