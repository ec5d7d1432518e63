"""Where files come from: the official hosts, an address that stands for them, or a folder.

`--from http://HOST/PATH` is asked for each official file at PATH plus the official path, then at PATH plus the bare
name; archives also with the other suffixes. A video's page is `http://HOST/PATH/watch?v=ID`. `--from FOLDER` is
searched for files by name, at any depth, and then nothing is asked of any host.
"""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from keras_actrec.data.fetch import archives
from keras_actrec.data.fetch.outcome import FailureError, Kind
from keras_actrec.data.fetch.transfer import Progress, Wire, download
from keras_actrec.errors import UserError


class Origin(Protocol):
    """Gives the files of a collection."""

    def get(self, url: str, name: str, progress: Progress | None = None) -> Path:
        """Return the local path of a file, brought here when need be.

        Args:
            url: its official address.
            name: what it is called; an archive may come with another suffix.
            progress: called with (bytes there, bytes in all).

        Raises:
            FailureError: it cannot be had.
        """
        ...

    def page(self, url: str) -> str:
        """Return the address of a video's page."""
        ...

    def done(self, path: Path) -> None:
        """Tell that a file that `get` gave is not needed any more."""
        ...

    def reject(self, path: Path) -> str:
        """Tell that a file that `get` gave is damaged, and return what becomes of it, as the end of a sentence."""
        ...


@contextlib.contextmanager
def rejecting(origin: Origin, path: Path) -> Iterator[None]:
    """Reject an archive that proves damaged, or else every later call would stumble over it again.

    Args:
        origin: gave it.
        path: the archive.

    Raises:
        UserError: says why, and what has become of it.
    """
    try:
        yield
    except archives.DamagedArchiveError as error:
        raise UserError(f"{error.told}; {origin.reject(path)}.") from None


class Hosts:
    """The official hosts, or a mirror of them.

    Args:
        wire: how they are reached.
        store: folder for what is brought.
        mirror: address in place of the official hosts; None: these.
        keep: whether files stay that are not needed any more.
    """

    def __init__(self, wire: Wire, store: Path, mirror: str | None = None, keep: bool = False) -> None:
        self.mirror = mirror.rstrip("/") if mirror else None
        self._wire = wire
        self._store = store
        self._keep = keep

    def get(self, url: str, name: str, progress: Progress | None = None) -> Path:
        """Bring a file (see `Origin`)."""
        failure = FailureError("not found (404)", Kind.GONE)
        for address, file in self._addresses(url, name):
            try:
                return download(address, self._store / file, self._wire, progress)
            except FailureError as error:
                failure = error
                if error.kind is not Kind.GONE:
                    break
        raise failure

    def page(self, url: str) -> str:
        """Return the address of a video's page."""
        if self.mirror is None:
            return url
        parts = urllib.parse.urlsplit(url)
        return f"{self.mirror}{parts.path}?{parts.query}"

    def done(self, path: Path) -> None:
        """Delete a file, unless all are kept."""
        if not self._keep:
            path.unlink(missing_ok=True)

    def reject(self, path: Path) -> str:
        """Delete a file, also where all are kept."""
        path.unlink(missing_ok=True)
        return "this download was deleted, and the same command brings it again"

    def _addresses(self, url: str, name: str) -> list[tuple[str, str]]:
        if self.mirror is None:
            return [(url, name)]
        path = urllib.parse.quote(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
        whole = [(f"{self.mirror}{path}", name)] if "." in path.rpartition("/")[2] else []  # no file: Google Drive
        return whole + [(f"{self.mirror}/{urllib.parse.quote(other)}", other) for other in spellings(name)]


class Folder:
    """A folder of archives, lists and videos that are here already; none of them is changed.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UserError(f"--from names {root}, which is no folder and no http(s) address.")
        self.root = root
        self.files = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))

    def get(self, url: str, name: str, progress: Progress | None = None) -> Path:
        """Find a file (see `Origin`): of several of the name, the one in a folder of the official path."""
        for other in spellings(name):
            found = [path for path in self.files if path.name == other]
            if found:
                return max(found, key=lambda path: len(set(path.parts) & set(url.split("/"))))
        raise FailureError(f"not in {self.root}", Kind.GONE)

    def page(self, url: str) -> str:
        """Return nothing: a folder has no pages."""
        return ""

    def done(self, path: Path) -> None:
        """Leave the file alone: it is the user's."""

    def reject(self, path: Path) -> str:
        """Leave the file alone: it is the user's."""
        return f"put a whole copy into {self.root}"


def spellings(name: str) -> Sequence[str]:
    """Return a file's name, and for an archive that with the other suffixes."""
    suffix = next((one for one in sorted(archives.SUFFIXES, key=len, reverse=True) if name.endswith(one)), None)
    if suffix is None:
        return (name,)
    stem = name.removesuffix(suffix)
    return (name, *(stem + other for other in archives.SUFFIXES if other != suffix))


def without_secrets(mirror: str | None) -> str | None:
    """Return an address without user name and password, for receipts."""
    return None if mirror is None else re.sub(r"//[^/@]*@", "//", mirror)


def is_address(mirror: str) -> bool:
    """Return whether `--from` names an address, not a folder."""
    return mirror.startswith(("http://", "https://"))
