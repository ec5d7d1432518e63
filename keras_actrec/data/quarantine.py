"""Clips that cannot be read: named with their reason, counted per epoch."""

from __future__ import annotations

import dataclasses
import threading
from collections import defaultdict
from pathlib import Path

from keras_actrec import files
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UnreadableVideoError, UserError

_Key = tuple[str | float | None, ...]


@dataclasses.dataclass(frozen=True)
class Quarantined:
    """One clip that could not be read.

    Attributes:
        path: the clip's file, relative to the data set's root.
        split: the split that lost it.
        reason: a short phrase such as "empty file".
        start_sec, end_sec: the stretch within the file, when the clip is one.
        start_frame, end_frame: the same by frame numbers.
    """

    path: str
    split: str
    reason: str
    start_sec: float | None = None
    end_sec: float | None = None
    start_frame: int | None = None
    end_frame: int | None = None

    @property
    def key(self) -> _Key:
        """What tells two entries apart: everything but the reason."""
        return (self.path, self.split, self.start_sec, self.end_sec, self.start_frame, self.end_frame)

    @property
    def name(self) -> str:
        """The path, with the stretch behind it when there is one."""
        if self.start_frame is not None or self.end_frame is not None:
            end = "end" if self.end_frame is None else self.end_frame
            return f"{self.path} [frames {self.start_frame or 0} to {end}]"
        if self.start_sec is None and self.end_sec is None:
            return self.path
        return f"{self.path} [{self.start_sec or 0:g} s to {'end' if self.end_sec is None else f'{self.end_sec:g} s'}]"


class Quarantine:
    """The list of clips that could not be read, shared by all threads and loaders of a run.

    An entry is made once per clip and split; its first reason stays. With a path the list is published as JSON each
    time it grows, and an existing file is continued, so that a resumed run knows what was lost before. The counts per
    epoch live in memory only: a clip is tried again in each epoch, so that they are the same after a resume.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._lock = threading.Lock()
        self._entries: dict[_Key, Quarantined] = {}
        self._epochs: dict[int, set[_Key]] = defaultdict(set)
        if self._path is not None and self._path.exists():
            self._entries = {entry.key: entry for entry in _read(self._path)}

    def add(self, clip: Clip, reason: str, epoch: int | None = None) -> bool:
        """Note that a clip could not be read (in an epoch); return whether the list did not know it yet."""
        entry = Quarantined(clip.path, clip.split, reason, *clip.stretch)
        with self._lock:
            if epoch is not None:
                self._epochs[epoch].add(entry.key)
            if entry.key in self._entries:
                return False
            self._entries[entry.key] = entry
            if self._path is not None:
                files.write_json(self._path, [_document(known) for known in self._sorted()])
            return True

    def __contains__(self, clip: Clip) -> bool:
        """Whether a clip could not be read at some time."""
        return Quarantined(clip.path, clip.split, "", *clip.stretch).key in self._entries

    def save(self, path: str | Path) -> None:
        """Publish the list at a path of its own, also when it is empty."""
        files.write_json(path, [_document(known) for known in self.entries])

    def documents(self) -> list[dict[str, str | float | None]]:
        """Return all entries as JSON, for another process' `merge`."""
        return [_document(entry) for entry in self.entries]

    def merge(self, documents: list[dict[str, str | float | None]]) -> None:
        """Take in what another process could not read; entries that are known already keep their reason."""
        found = {entry.key: entry for entry in (Quarantined(**row) for row in documents)}
        with self._lock:
            new = {key: entry for key, entry in found.items() if key not in self._entries}
            self._entries.update(new)
            if new and self._path is not None:
                files.write_json(self._path, [_document(known) for known in self._sorted()])

    @property
    def entries(self) -> tuple[Quarantined, ...]:
        """All entries, sorted by path, split and start, so that equal runs list them alike."""
        with self._lock:
            return self._sorted()

    def reasons(self) -> dict[str, str]:
        """Return name of the clip -> reason, for all splits."""
        return {entry.name: entry.reason for entry in self.entries}

    def reasons_for(self, split: str) -> dict[str, str]:
        """Return name of the clip -> reason, for one split."""
        return {entry.name: entry.reason for entry in self.entries if entry.split == split}

    def count(self, split: str | None = None, epoch: int | None = None) -> int:
        """Return how many clips were lost: of one split or of all, in one epoch or ever."""
        with self._lock:
            keys = list(self._entries) if epoch is None else list(self._epochs.get(epoch, ()))
        return sum(split is None or key[1] == split for key in keys)

    def __len__(self) -> int:
        return self.count()

    def _sorted(self) -> tuple[Quarantined, ...]:
        order = sorted(self._entries, key=lambda key: (key[0], key[1], *(bound or 0.0 for bound in key[2:])))
        return tuple(self._entries[key] for key in order)


def reason_of(clip: Clip, error: UnreadableVideoError) -> str:
    """Return an error's reason, which says so when it is the depth video that cannot be read."""
    return f"depth video: {error.reason}" if clip.depth and error.path.endswith(clip.depth) else error.reason


def _document(entry: Quarantined) -> dict[str, str | float | None]:
    """Return an entry as it is kept: with frame numbers only where there are any."""
    by_frames = entry.start_frame is not None or entry.end_frame is not None
    return {name: value for name, value in vars(entry).items() if by_frames or not name.endswith("_frame")}


def _read(path: Path) -> list[Quarantined]:
    try:
        return [Quarantined(**row) for row in files.read_json(path)]
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is no quarantine list ({error}); delete it, and it is made anew.") from None
