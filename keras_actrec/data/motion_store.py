"""Where the movement of videos is kept between runs: one SQLite file in a hidden folder beside them.

`ROOT/.keras_actrec/motion.sqlite` has one table, `motion`, with a row per clip: its key (path and stretch), the state
of its file (size, time of change, version of the method), the differences (uint32, little endian) and their CRC-32.
Several threads and processes may use it at a time, and one that is killed leaves it whole (a power cut may not). It may
be deleted at any time, and nothing depends on it: where it cannot be read or written, one warning says so, and the
process keeps what it finds in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

FOLDER, NAME = ".keras_actrec", "motion.sqlite"
VERSION = 1
"""Of the method by which differences are computed: what another version has kept is not taken."""
_TIMEOUT_SEC = 20.0
_TABLE = "CREATE TABLE IF NOT EXISTS motion (key TEXT PRIMARY KEY, state TEXT, changes BLOB, crc INTEGER)"


@dataclasses.dataclass(frozen=True)
class Place:
    """What one clip's movement is found by.

    Attributes:
        file: of the store; None: in memory only.
        key: which clip, within the file.
        state: of the clip's video; what was kept of another state is not taken.
    """

    file: Path | None
    key: str
    state: str


class Store:
    """One file of movements. No error of it is ever raised."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._usable = {"read": True, "written": True}
        self._warned = False
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0

    def get(self, place: Place) -> np.ndarray | None:
        """Return a clip's differences, int64; None where there are none of this state, or they are damaged."""
        if not self._usable["read"]:
            return None
        row = None
        with self._watched("read"):
            if self._file.exists():
                row = self._row(place)
        if row is None or not isinstance(row[0], bytes) or len(row[0]) % 4 or zlib.crc32(row[0]) != row[1]:
            return None
        return np.frombuffer(row[0], "<u4").astype(np.int64)

    def put(self, place: Place, changes: np.ndarray) -> None:
        """Keep a clip's differences, in place of those of another state."""
        if not self._usable["written"]:
            return
        data = np.asarray(changes).astype("<u4").tobytes()
        with self._watched("written"):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._connected() as connection, connection:
                connection.execute(_TABLE)
                row = (place.key, _state(place), data, zlib.crc32(data))
                connection.execute("INSERT OR REPLACE INTO motion VALUES (?, ?, ?, ?)", row)

    def _row(self, place: Place) -> tuple[object, object] | None:
        with self._connected() as connection:
            query = "SELECT changes, crc FROM motion WHERE key = ? AND state = ?"
            return connection.execute(query, (place.key, _state(place))).fetchone()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Yield this process's connection to one thread at a time; a forked process makes its own."""
        with self._lock:
            if self._connection is None or self._owner != os.getpid():
                self._connection = sqlite3.connect(self._file, timeout=_TIMEOUT_SEC, check_same_thread=False)
                # A power cut may cost the file, which is only a cache; waiting for the disk costs 25 ms a clip.
                self._connection.execute("PRAGMA synchronous = OFF")
                self._owner = os.getpid()
            yield self._connection

    @contextlib.contextmanager
    def _watched(self, way: str) -> Iterator[None]:
        """Turn an error into the end of reading or writing, and the first one into a warning."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "no such table" in str(error):  # another process is about to make it
                return
            self._usable[way] = False
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{self._file} cannot be {way} ({error}): how much videos move is kept in memory only, and "
                    "computed again in each run. The file may be deleted.",
                    stacklevel=2,
                )


_stores: dict[Path, Store] = {}
_stores_lock = threading.Lock()


def open_store(file: Path) -> Store:
    """Return this process's store of a file."""
    with _stores_lock:
        return _stores.setdefault(file, Store(file))


def file_in(folder: Path) -> Path:
    """Return where the store of a folder of videos lies; hidden, so that no reader of folders takes it for a video."""
    return folder.absolute() / FOLDER / NAME


def _state(place: Place) -> str:
    return f"{VERSION} {place.state}"
