"""What is known of single files, kept line by line, so that a verification can be stopped and gone on with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from keras_actrec import files
from keras_actrec.data.file_version import Version

FORMAT = 1
"""Of the file; older ones are made anew. Raised when hashes or checks change."""
_MAY_PASS = ("missing", "cannot be")
"""Beginnings of reasons whose cause may be gone without a change of the file."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """What was found of one file.

    Attributes:
        kind: "video", "depth" or "boxes".
        path: relative to the data set's root.
        size_bytes, changed_ns: of the file when it was checked; -1 where it is missing.
        deep: whether every frame was decoded.
        limits: seconds, bytes, width and height that it was allowed.
        reason: why it cannot be read; None when it can.
        facts: what `checks` told of it; empty when it cannot be read.
        entries: of a folder of pictures, whose sizes are added up and of whose times the newest counts.
    """

    kind: str
    path: str
    size_bytes: int
    changed_ns: int
    deep: bool
    limits: tuple[float, ...]
    reason: str | None
    facts: dict[str, Any]
    entries: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What tells files apart."""
        return self.kind, self.path

    @property
    def version(self) -> Version:
        """What changes when the file does."""
        return Version(self.size_bytes, self.changed_ns, self.entries)

    def holds(self, deep: bool, limits: tuple[float, ...], digest: bool, stretches: Collection[str]) -> bool:
        """Whether a file that has not changed need not be checked again.

        A bad file stays bad under the same limits. A good one has to have been checked as deeply, with a digest if one
        is wanted, and for all stretches.
        """
        if self.reason is not None:
            return self.limits == limits and not self.reason.startswith(_MAY_PASS)
        whole = self.facts.get("sha256") is not None or not digest
        return (self.deep or not deep) and whole and set(stretches) <= set(self.facts.get("stretches", ()))


class Results:
    """The results of a data set's files, in a file of JSON lines that grows; to be used as a context manager.

    A line that was cut off, when the machine went down, is left out, and so is everything of another format.

    Args:
        path: the file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self.known: dict[tuple[str, str], Checked] = {}

    def __enter__(self) -> Results:
        self.known, lines = _read(self._path)
        if lines != len(self.known) + 1:  # superseded or damaged lines, or no file at all
            self._write_anew()
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, checked: Checked) -> None:
        """Keep a result, at once."""
        self.known[checked.key] = checked
        self._file.write(_line(checked))
        self._file.flush()

    def _write_anew(self) -> None:
        head = json.dumps({"format": FORMAT}) + "\n"
        files.write_text(self._path, head + "".join(map(_line, self.known.values())))


def _line(checked: Checked) -> str:
    return json.dumps(vars(checked), separators=(",", ":")) + "\n"


def _read(path: Path) -> tuple[dict[tuple[str, str], Checked], int]:
    """Return the results by key, and the number of lines."""
    if not path.is_file():
        return {}, 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0] != json.dumps({"format": FORMAT}):
        return {}, 0
    read = [checked for line in lines[1:] if (checked := _checked(line)) is not None]
    return {checked.key: checked for checked in read}, len(lines)


def _checked(line: str) -> Checked | None:
    try:
        document = json.loads(line)
        return Checked(**{**document, "limits": tuple(document["limits"])})
    except (ValueError, TypeError, KeyError):
        return None
