"""The journal of a swarm: rounds, fitness, decisions, random draws and events in one SQLite file. Imports no Keras.

What a call has returned is on the disk: it survives `kill -9` and a power cut (write-ahead log, synced at each commit).
One process writes, the server; others may read meanwhile with `Journal.open_readonly`. Values are kept as JSON, in
which a Python float comes back bit for bit, each with a checksum of its key and text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import numbers
import sqlite3
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from keras_actrec.errors import UserError
from keras_actrec.swarm.settings import name_of
from keras_actrec.swarm.state import Event, Move, Publication

VERSION = 1
"""Of the tables; a journal of another version is refused."""
APPLICATION = 0x6B617377
"""Marks an SQLite file as the journal of a swarm ("kasw")."""
BUSY_SEC = 10.0
"""Time that a call waits for another process that holds the file."""

Record = TypeVar("Record", Publication, Move)

_TABLES = """
CREATE TABLE publications (id INTEGER PRIMARY KEY, particle INTEGER NOT NULL, round INTEGER NOT NULL,
                           body TEXT NOT NULL, checksum INTEGER NOT NULL, UNIQUE (particle, round));
CREATE TABLE moves        (id INTEGER PRIMARY KEY, particle INTEGER NOT NULL, round INTEGER NOT NULL,
                           body TEXT NOT NULL, checksum INTEGER NOT NULL, UNIQUE (particle, round));
CREATE TABLE rounds       (key INTEGER PRIMARY KEY, body TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE events       (key INTEGER PRIMARY KEY, body TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE particles    (key INTEGER PRIMARY KEY, body TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE notes        (key TEXT PRIMARY KEY, body TEXT NOT NULL, checksum INTEGER NOT NULL);
"""
_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
_RECORDS: dict[type, str] = {Publication: "publications", Move: "moves"}
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SURROUNDINGS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_IOERR,
}
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageFullError(UserError):
    """No space is left, or a quota or the largest file size is reached; what was committed before is kept."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(
            f"expected space to write {path}, but its disk is full or a quota is reached: free some space and resume "
            "the swarm; nothing that was committed is lost"
        )


class DamagedJournalError(UserError):
    """The journal's file does not hold what was written into it."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(
            f"the journal {path} is damaged ({reason}): bring it back from a backup, or start the swarm in another "
            "directory; the particles' own run directories do not depend on it"
        )


@contextlib.contextmanager
def space_needed(path: str | Path) -> Iterator[None]:
    """Turn the errors of a full disk, an exhausted quota or a file size limit into `StorageFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StorageFullError(path) from error
        raise


class Journal:
    """What a swarm has committed, as dataclasses of `swarm.state` in and out. Safe to use from several threads.

    Of two claims to one place (a particle's publication of a round, its move, the members of a round) the first wins,
    and each caller gets that one back, so that a request may be repeated.
    """

    def __init__(self, path: str | Path) -> None:
        """Open or create a journal for writing.

        Args:
            path: the file, or ":memory:".

        Raises:
            UserError: it is no journal, of another version, or cannot be written.
            DamagedJournalError: it is damaged.
            StorageFullError: there is no space for it.
        """
        self.path = str(path)
        memory = self.path == ":memory:"
        if not memory:
            with space_needed(path):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._open(self.path if memory else _uri(path, "rwc"), self._prepare)

    @classmethod
    def open_readonly(cls, path: str | Path) -> Self:
        """Open an existing journal to read it, also while another process writes it, and from a read-only disk."""
        if not Path(path).is_file():
            raise UserError(f"expected the journal of a swarm at {path}, but no file is there: check the directory")
        journal = cls.__new__(cls)
        journal.path = str(path)
        try:
            journal._open(_uri(path, "ro"), journal._check)
        except UserError as error:
            # Beside a journal on a read-only disk no index of the log can be made; without a log none is needed.
            if _code(error.__cause__) != sqlite3.SQLITE_CANTOPEN or Path(f"{path}-wal").exists():
                raise
            journal._open(_uri(path, "ro&immutable=1"), journal._check)
        return journal

    def close(self) -> None:
        """Close the file; the log is folded into it."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def size(self) -> int:
        """Return how many bytes its file and the log beside it take."""
        total = 0
        for name in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):  # the log comes and goes
                total += Path(f"{self.path}{name}").stat().st_size
        return total

    def add_publication(self, publication: Publication) -> Publication:
        """Commit that a particle has published a round, and return what is committed for them: the first one.

        Raises:
            UserError: a number in it is not finite.
        """
        return self._add(publication)

    def publication(self, particle: int, round_number: int) -> Publication | None:
        """Return what a particle published in a round."""
        return self._record(Publication, particle, round_number)

    def publications(self, since_id: int = 0) -> list[tuple[int, Publication]]:
        """Return all publications with an id above `since_id`, with their ids, in the order in which they came."""
        return self._records(Publication, since_id)

    def published(self, round_number: int) -> dict[int, Publication]:
        """Return the publications of a round by particle, ascending."""
        rows = self._read("SELECT * FROM publications WHERE round = ? ORDER BY particle", round_number)
        return {row["particle"]: self._decode_record(Publication, row) for row in rows}

    def last_round(self, particle: int) -> int:
        """Return the last round that a particle has published, 0 before its first."""
        rows = self._read("SELECT MAX(round) AS last FROM publications WHERE particle = ?", particle)
        return rows[0]["last"] or 0

    def close_round(self, round_number: int, members: Collection[int]) -> tuple[int, ...]:
        """Commit who takes part in a round, and return the committed members, ascending: the first call's."""
        with self._transaction():
            if (committed := self.members(round_number)) is None:
                committed = tuple(sorted(set(members)))
                self._put("rounds", round_number, committed)
        return committed

    def members(self, round_number: int) -> tuple[int, ...] | None:
        """Return who takes part in a round, ascending; None while it is open."""
        members = self._value("rounds", round_number)
        return None if members is None else tuple(members)

    def add_move(self, move: Move) -> Move:
        """Commit how a particle has moved after a round, and return what is committed for them: the first one.

        Raises:
            UserError: a number in it is not finite.
        """
        return self._add(move)

    def move(self, particle: int, round_number: int) -> Move | None:
        """Return how a particle moved after a round."""
        return self._record(Move, particle, round_number)

    def moves(self, since_id: int = 0) -> list[tuple[int, Move]]:
        """Return all moves with an id above `since_id`, with their ids, in the order in which they came."""
        return self._records(Move, since_id)

    def add_event(self, level: str, text: str, particle: int | None = None) -> Event:
        """Commit a line of the log, stamped with the present time."""
        with self._transaction():
            number = self._read("SELECT MAX(key) AS last FROM events")[0]["last"] or 0
            event = Event(number + 1, time.time(), level, particle, text)
            self._put("events", event.number, dataclasses.asdict(event))
        return event

    def events(self, since: int = 0) -> list[Event]:
        """Return the events with a number above `since`, in order."""
        rows = self._read("SELECT * FROM events WHERE key > ? ORDER BY key", since)
        return [Event(**self._decode("events", row["key"], row)) for row in rows]

    def set(self, key: str, value: Any) -> None:
        """Commit a JSON value under a key."""
        with self._transaction():
            self._put("notes", key, value)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or `default`."""
        rows = self._read("SELECT * FROM notes WHERE key = ?", key)
        return self._decode("notes", key, rows[0]) if rows else default

    def set_particle(self, index: int, **fields: Any) -> None:
        """Commit JSON facts about a particle; facts of other names stay. Costs nothing when all are known already."""
        known = self.particle(index)
        if all(name in known and known[name] == value for name, value in fields.items()):
            return
        with self._transaction():
            self._put("particles", index, self.particle(index) | fields)

    def particle(self, index: int) -> dict[str, Any]:
        """Return the facts about a particle, none before the first."""
        return self._value("particles", index) or {}

    def particles(self) -> dict[int, dict[str, Any]]:
        """Return the facts about all particles, by index, ascending."""
        rows = self._read("SELECT * FROM particles ORDER BY key")
        return {row["key"]: self._decode("particles", row["key"], row) for row in rows}

    def _open(self, database: str, prepare: Callable[[], None]) -> None:
        self._lock = threading.RLock()
        with self._explained():
            self._connection = sqlite3.connect(
                database, timeout=BUSY_SEC, isolation_level=None, check_same_thread=False, uri=True
            )
        self._connection.row_factory = sqlite3.Row
        # Damaged text must come through to where its checksum is compared.
        self._connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            with self._explained():
                prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        if self._is_new():
            self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            if self._is_new():
                self._create()
        self._check()

    def _is_new(self) -> bool:
        return not self._read("SELECT 1 FROM sqlite_master") and self._pragma("application_id") == 0

    def _create(self) -> None:
        for statement in _TABLES.split(";\n"):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def _check(self) -> None:
        if self._is_new():
            raise UserError(
                f"expected the journal of a swarm, but {self.path} is empty: wait until the swarm has begun"
            )
        if self._pragma("application_id") != APPLICATION:
            raise UserError(f"expected the journal of a swarm, but {self.path} is another file: check the directory")
        if (version := self._pragma("user_version")) != VERSION:
            raise UserError(
                f"expected a journal of version {VERSION}, but {self.path} has version {version}: use the keras_actrec "
                "that wrote it, or start the swarm in another directory"
            )
        if [tuple(row) for row in self._read(_SCHEMA)] != _expected_schema():
            raise DamagedJournalError(self.path, "its tables are not those of a journal")
        if (finding := self._pragma("integrity_check")) != "ok":
            raise DamagedJournalError(self.path, str(finding).replace("\n", " "))

    def _pragma(self, name: str) -> Any:
        return self._read(f"PRAGMA {name}")[0][0]

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:  # SQLite quotes what is wrong, and that need not be text
            raise DamagedJournalError(self.path, "its names are no text") from error
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code in _FULL:
                raise StorageFullError(self.path) from error
            if code & 0xFF in _DAMAGED:
                raise DamagedJournalError(self.path, str(error)) from error
            if code & 0xFF in _SURROUNDINGS:
                raise UserError(
                    f"expected to read and write the journal {self.path}, but: {error}; check that its disk works, "
                    "that you may write there, and that no other server runs this swarm"
                ) from error
            raise

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _read(self, query: str, *arguments: Any) -> list[sqlite3.Row]:
        with self._lock, self._explained():
            return self._connection.execute(query, arguments).fetchall()

    def _put(self, table: str, key: int | str, value: Any) -> None:
        body = _encode(value, f"{table} {key}")
        self._connection.execute(
            f"INSERT OR REPLACE INTO {table} (key, body, checksum) VALUES (?, ?, ?)",
            (key, body, _checksum(table, key, body)),
        )

    def _value(self, table: str, key: int | str) -> Any:
        rows = self._read(f"SELECT * FROM {table} WHERE key = ?", key)
        return self._decode(table, key, rows[0]) if rows else None

    def _add(self, record: Record) -> Record:
        table, key = _RECORDS[type(record)], _record_key(record.particle, record.round)
        body = _encode(dataclasses.asdict(record), f"{name_of(record.particle)} in round {record.round}")
        with self._transaction():
            self._connection.execute(
                f"INSERT INTO {table} (particle, round, body, checksum) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (record.particle, record.round, body, _checksum(table, key, body)),
            )
            row = self._read(f"SELECT * FROM {table} WHERE particle = ? AND round = ?", record.particle, record.round)[
                0
            ]
        return self._decode_record(type(record), row)

    def _record(self, kind: type[Record], particle: int, round_number: int) -> Record | None:
        query = f"SELECT * FROM {_RECORDS[kind]} WHERE particle = ? AND round = ?"
        rows = self._read(query, particle, round_number)
        return self._decode_record(kind, rows[0]) if rows else None

    def _records(self, kind: type[Record], since_id: int) -> list[tuple[int, Record]]:
        rows = self._read(f"SELECT * FROM {_RECORDS[kind]} WHERE id > ? ORDER BY id", since_id)
        return [(row["id"], self._decode_record(kind, row)) for row in rows]

    def _decode_record(self, kind: type[Record], row: sqlite3.Row) -> Record:
        fields = self._decode(_RECORDS[kind], _record_key(row["particle"], row["round"]), row)
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})

    def _decode(self, table: str, key: int | str, row: sqlite3.Row) -> Any:
        if _checksum(table, key, row["body"]) != row["checksum"]:
            raise DamagedJournalError(self.path, f"{table} {key} does not match its checksum")
        return json.loads(row["body"])


def _expected_schema() -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_TABLES)
        return connection.execute(_SCHEMA).fetchall()


def _uri(path: str | Path, mode: str) -> str:
    return f"file:{urllib.parse.quote(str(Path(path).absolute()))}?mode={mode}"


def _code(error: BaseException | None) -> int:
    return getattr(error, "sqlite_errorcode", None) or 0


def _record_key(particle: int, round_number: int) -> str:
    return f"{particle}/{round_number}"


def _checksum(table: str, key: int | str, body: str) -> int:
    return zlib.crc32(f"{table} {key} {body}".encode())


def _encode(value: Any, what: str) -> str:
    for name, number in _numbers(value, ""):
        if not math.isfinite(number):
            raise UserError(
                f"expected finite numbers of {what}, but{name} is {number}: training has diverged; "
                "try a lower learning rate"
            )
    return json.dumps(value, allow_nan=False, default=_plain)


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{name} {key}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item, name)
    elif isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        yield name, float(value)


def _plain(value: Any) -> int | float:
    # NumPy's numbers are numbers, but JSON's writer does not know them; float32 and narrower fit a float exactly.
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"a journal keeps JSON, not {type(value).__name__}")
