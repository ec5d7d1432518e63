"""What an archive holds, one file after the other: tar (also compressed), zip, RAR, and archives within archives.

Names within an archive are only ever compared with the names of the official lists, never made into a path, so that no
archive can write outside the target folder. `eta.core.utils.extract_archive`, which FiftyOne uses, goes by the suffix,
unpacks wherever the archive says, and its hint that a RAR tool is missing waits for an exception that is never raised.
"""

from __future__ import annotations

import contextlib
import dataclasses
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from keras_actrec.data.fetch import rar_tool
from keras_actrec.errors import UserError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".rar")


@dataclasses.dataclass(frozen=True)
class Member:
    """A file within an archive. It can be read until the next one is asked for.

    Attributes:
        folder: name of the folder that it lies in, or of the archive within the archive.
        name: its own name.
        open: gives its contents.
        archive: the file that holds it.
    """

    folder: str
    name: str
    open: Callable[[], IO[bytes]]
    archive: Path

    def store(self, target: Path) -> Path:
        """Write its contents to a file.

        Raises:
            UserError: the archive is damaged, or a tool is missing.
        """
        with _explained(self.archive), self.open() as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
        return target


def is_archive(name: str) -> bool:
    """Return whether a file's name ends like an archive's."""
    return name.lower().endswith(SUFFIXES)


def need_rar_tool() -> None:
    """Refuse to begin where no tool for RAR files is installed.

    Raises:
        UserError: says what to install.
    """
    if not rar_tool.choose():
        raise UserError(f"the videos come as a RAR archive, for which there is no tool here; {rar_tool.HELP}.")


def walk(path: Path, work: Path, inside: str = "") -> Iterator[Member]:
    """Yield the files of an archive, in its order; those of archives within it in place of these.

    Args:
        path: the archive; its contents, not its name, decide what it is.
        work: folder for archives within the archive, one at a time.
        inside: what stands for a folder where the archive has none.

    Raises:
        UserError: it is damaged or no archive, or a tool is missing.
    """
    with _explained(path):
        for member in _plain(path, inside):
            if not is_archive(member.name):
                yield member
                continue
            nested = member.store(work / f"nested-{len(inside)}-{member.name}")
            try:
                yield from walk(nested, work, member.name.split(".")[0])
            except UnusableArchiveError as error:
                raise type(error)(path, f"{member.name} in it: {error.why}") from None
            finally:
                nested.unlink(missing_ok=True)


def _plain(path: Path, inside: str) -> Iterator[Member]:
    try:
        with path.open("rb") as file:  # zipfile.is_zipfile looks at the end, where a RAR of zips has a zip
            begins = file.read(8)
    except OSError as error:
        raise UnusableArchiveError(path, error.strerror) from None
    if begins.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path, inside)
    if begins.startswith(b"Rar!\x1a\x07"):
        return _rar(path, inside)
    if tarfile.is_tarfile(path):
        return _tar(path, inside)
    raise DamagedArchiveError(path, "it is no tar, zip or RAR archive")


def _zip(path: Path, inside: str) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield _member(path, info.filename, inside, lambda info=info: archive.open(info))


def _rar(path: Path, inside: str) -> Iterator[Member]:
    import rarfile

    able = rar_tool.choose()
    with rarfile.RarFile(path) as archive:
        for info in archive.infolist():
            if info.is_file():
                if info.compress_type != rarfile.RAR_M0 and not able:
                    raise UnusableArchiveError(path, f"a compressed RAR archive, and no tool is here; {rar_tool.HELP}")
                yield _member(path, info.filename, inside, lambda info=info: archive.open(info))


def _tar(path: Path, inside: str) -> Iterator[Member]:
    with tarfile.open(path, "r|*") as archive:
        for info in archive:
            if info.isfile():
                yield _member(path, info.name, inside, lambda info=info: archive.extractfile(info))


def _member(archive: Path, name: str, inside: str, contents: Callable[[], IO[bytes]]) -> Member:
    path = PurePosixPath(name.replace("\\", "/"))
    return Member(path.parent.name or inside, path.name, contents, archive)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the readers of archives raise into a sentence."""
    import rarfile

    known = (tarfile.TarError, zipfile.BadZipFile, rarfile.Error, EOFError, zlib.error, lzma.LZMAError)
    try:
        yield
    except (*known, struct.error, ValueError, RuntimeError) as error:  # the last: encrypted, or an unknown method
        raise DamagedArchiveError(path, str(error)) from None


class UnusableArchiveError(UserError):
    """An archive that cannot be read here.

    Attributes:
        path: the archive.
        why: words without a full stop.
    """

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why.rstrip(".") or "it ends too early"
        super().__init__(f"{self.told}.")

    @property
    def told(self) -> str:
        """The beginning of a sentence."""
        return f"the archive {self.path} cannot be used: {self.why}"


class DamagedArchiveError(UnusableArchiveError):
    """An archive that nobody could read to its end, or that is not what its name says: another copy is wanted."""
