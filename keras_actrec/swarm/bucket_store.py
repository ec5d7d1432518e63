"""A store in a bucket at `s3://`, with a cache on each machine. Imports no Keras.

An object is `weights/particle-K/{kind}-{round}-{generation}-{digest}.safetensors`, the same file as in a directory, and
is never changed: a position that takes the place of another one has the next generation. So a reader that knows the
digest of what was announced can only get just that, whoever else has written meanwhile, and a request that is repeated
does no harm. Each machine fetches a digest once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_actrec.swarm import positions
from keras_actrec.swarm.bucket import Bucket
from keras_actrec.swarm.cache import Cache
from keras_actrec.swarm.journal import Journal, space_needed
from keras_actrec.swarm.patience import patiently
from keras_actrec.swarm.places import FOLDER, KINDS, WEIGHTS, MissingPositionError, Place, needed, stored_as
from keras_actrec.swarm.positions import DamagedPositionError, Draft, Position
from keras_actrec.swarm.precision import FLOAT32, STORED
from keras_actrec.swarm.settings import name_of
from keras_actrec.swarm.state import Kind

_NAME = re.compile(rf"{WEIGHTS}/{FOLDER.pattern}/({KINDS})-(\d{{6,}})-(\d{{4,}})-([0-9a-f]{{32}})\.safetensors")


class Published(NamedTuple):
    """An object: of which place, which generation (from 1), with which digest; in this order the last one counts."""

    place: Place
    generation: int
    digest: str

    @property
    def name(self) -> str:
        """Its name in the bucket."""
        stem = f"{self.place.stem}-{self.generation:04d}-{self.digest}"
        return f"{WEIGHTS}/{name_of(self.place.particle)}/{stem}.safetensors"


class BucketStore:
    """A store in a bucket.

    Args:
        bucket: of this swarm alone.
        cache: of this machine.
        journal: the swarm's; None in the process of a particle.
        patience_sec: what was announced may be seen so much later.
        precision: at which positions are stored; whoever puts them has rounded them to it. Sketches are float32.
    """

    def __init__(
        self,
        bucket: Bucket,
        cache: Cache,
        journal: Journal | None = None,
        patience_sec: float = 0.0,
        precision: str = FLOAT32,
    ) -> None:
        self.bucket, self._cache, self._journal, self._patience_sec = bucket, cache, journal, patience_sec
        self._precision = precision

    @property
    def journal(self) -> Journal:
        """The swarm's journal."""
        if self._journal is None:
            raise RuntimeError("a particle's store has no journal; ask the server")
        return self._journal

    def put(self, particle: int, kind: Kind, round_number: int, parts: Iterable[np.ndarray], size: int) -> str:
        """Publish a position and return its digest; see `Store.put`."""
        with self.draft(particle, kind, round_number, size) as draft:
            return positions.fill(draft, parts)

    @contextlib.contextmanager
    def draft(self, particle: int, kind: Kind, round_number: int, size: int) -> Iterator[Draft]:
        """Yield a position to fill in; see `Store.draft`."""
        place, stored = Place(particle, kind, round_number), stored_as(kind, self._precision)
        with self._cache.scratch(STORED[stored].itemsize * size) as path:
            with space_needed(path), positions.create(path, size, place.notes, stored) as draft:
                yield draft
            digest = draft.finish()
            self.bucket.upload(path, self._next(place, digest).name)
            self._cache.adopt(path, digest)

    def get(self, particle: int, kind: Kind, round_number: int, digest: str | None = None) -> Position:
        """Return a published position, from this machine's cache; see `Store.get`."""
        place = Place(particle, kind, round_number)
        seconds = 0.0 if digest is None else self._patience_sec
        return patiently(lambda: self._near(place, digest), _may_come, seconds)

    def digest(self, particle: int, kind: Kind, round_number: int) -> str:
        """Return the digest of a published position; it is part of the name."""
        return self._last(Place(particle, kind, round_number)).digest

    def has(self, particle: int, kind: Kind, round_number: int) -> bool:
        """Tell whether a position is published."""
        return bool(self._generations(Place(particle, kind, round_number)))

    def alias(
        self, particle: int, source: tuple[Kind, int], target: tuple[Kind, int], digest: str | None = None
    ) -> None:
        """Publish a position under a second name, by a copy that the service makes; see `Store.alias`."""
        origin = self._last(Place(particle, *source), digest)
        try:
            self.bucket.copy(origin.name, self._next(Place(particle, *target), origin.digest).name)
        except FileNotFoundError:
            raise self._missing(origin.place) from None

    def rounds(self, particle: int, kind: Kind) -> list[int]:
        """Return the rounds of a particle's published positions of a kind, ascending."""
        return sorted({one.place.round for one in self._published(f"{name_of(particle)}/{kind}-")})

    def prune(self, oldest_needed: int, best_needed: Mapping[int, Collection[int]]) -> None:
        """Remove the objects that nobody can need any more; see `Store.prune`."""
        published = self._published()
        self.bucket.remove(one.name for one in published if not needed(one.place, oldest_needed, best_needed))

    def size(self) -> int:
        """Return how many bytes positions and journal take; S3 has no links, so each name counts."""
        objects = sum(size for name, size in self.bucket.sizes(f"{WEIGHTS}/").items() if _NAME.fullmatch(name))
        return objects + (self._journal.size() if self._journal else 0)

    def sweep(self, particle: int | None = None) -> int:
        """Remove the parts of uploads that were never completed; see `Store.sweep`."""
        folder = "" if particle is None else f"{name_of(particle)}/"
        return self.bucket.abort_uploads(f"{WEIGHTS}/{folder}")

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def _near(self, place: Place, digest: str | None) -> Position:
        """Return a position as a file of this machine."""
        path = self._cache.find(digest) or self._announced(place, digest) if digest else None
        if path is None:
            source = self._last(place, digest)
            path = self._cache.get(source.digest, lambda copy: self._download(source, copy))
        return dataclasses.replace(positions.open_position(path), name=f"the {place} at {self.bucket.address}")

    def _announced(self, place: Place, digest: str) -> Path | None:
        """Fetch the first generation with a digest, which it mostly is, without a question before; None: it is not."""
        name = Published(place, 1, digest).name
        try:
            return self._cache.get(digest, lambda copy: self.bucket.download(name, copy))
        except FileNotFoundError:
            return None

    def _download(self, source: Published, copy: Path) -> None:
        try:
            self.bucket.download(source.name, copy)
        except FileNotFoundError:
            raise self._missing(source.place) from None

    def _last(self, place: Place, digest: str | None = None) -> Published:
        """Return the last generation of a place, or the last one with a digest."""
        generations = self._generations(place)
        if not generations:
            raise self._missing(place)
        found = [one for one in generations if digest in (None, one.digest)]
        if not found:
            reason = f"its checksum is {generations[-1].digest}, {digest} was announced"
            raise DamagedPositionError(f"the {place} at {self.bucket.address}", reason)
        return found[-1]

    def _next(self, place: Place, digest: str) -> Published:
        """Return the name under which a position becomes the last one of its place."""
        generations = self._generations(place)
        if generations and generations[-1].digest == digest:
            return generations[-1]
        return Published(place, generations[-1].generation + 1 if generations else 1, digest)

    def _generations(self, place: Place) -> list[Published]:
        return self._published(f"{name_of(place.particle)}/{place.stem}-")

    def _published(self, prefix: str = "") -> list[Published]:
        matches = map(_NAME.fullmatch, self.bucket.sizes(f"{WEIGHTS}/{prefix}"))
        return sorted(
            Published(Place(int(m[1]) - 1, Kind(m[2]), int(m[3])), int(m[4]), m[5]) for m in matches if m is not None
        )

    def _missing(self, place: Place) -> MissingPositionError:
        return MissingPositionError(place, f"{self.bucket.address}/{WEIGHTS}/{name_of(place.particle)}")


def _may_come(error: Exception) -> bool:
    return isinstance(error, MissingPositionError | DamagedPositionError)
