"""Positions that this machine has fetched: a folder on its own disk, shared by all its particles. Imports no Keras.

A file is named by the digest of its weights, so that it can never be out of date, and equal positions are one. What is
fetched is verified before it appears under its name. Of several processes that want the same one, one fetches it; a
lock file of this machine sees to that, and nothing but time is lost where locks do not work.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_actrec.errors import UserError
from keras_actrec.locking import HeldError, Lock
from keras_actrec.swarm import positions
from keras_actrec.swarm.journal import StorageFullError

RECENT_SEC = 60.0
"""What was asked for within this time is not removed: somebody may be about to open it."""
ABANDONED_SEC = 3600.0
"""A half-written file that has not grown for so long has no writer any more."""
LOCK_SEC = 600.0
"""After so long a process does not wait any more for another one that fetches the same file."""
_NAME = re.compile(r"[0-9a-f]{32}\.safetensors")
_HALF_WRITTEN = re.compile(r"\.\d+-[0-9a-f]{16}\.safetensors")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def usual_folder() -> Path:
    """Return the folder that is used where none is configured: home directories are often not of this machine.

    It lies in a folder that everybody may write, so what lies there already must be this user's own.

    Raises:
        UserError: somebody else has put something there, which may lead anywhere.
    """
    own = Path(tempfile.gettempdir()) / f"keras_actrec-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=0o700)
    status = own.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise UserError(f"{own} is not a folder of this user; set swarm.cache to one of your own")
    return own / "positions"


class Cache:
    """Positions on this machine's disk, by digest. Safe to use from several threads and processes.

    Args:
        folder: made when it is missing; for this user alone.
        limit_bytes: what was not asked for longest is removed beyond that; what was just asked for never is.

    Raises:
        UserError: the folder cannot be made, or is somebody else's.
    """

    def __init__(self, folder: str | Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = Path(folder), limit_bytes
        self._verified: set[tuple[int, int, int]] = set()
        self._room = threading.Lock()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = self.folder.stat().st_uid
        except OSError as error:
            raise UserError(
                f"cannot use the folder {self.folder} for fetched positions: {error.strerror}; set swarm.cache to a "
                "folder on this machine's disk"
            ) from None
        if owner != os.getuid():
            raise UserError(f"the folder {self.folder} belongs to another user; set swarm.cache to one of your own")

    def get(self, digest: str, fetch: Callable[[Path], object]) -> Path:
        """Return the file with a digest, fetched if it is not here.

        Args:
            digest: of its weights.
            fetch: writes the position file at the path that it is given. It is called again when the disk was full
                and old files could be removed.

        Raises:
            DamagedPositionError: what was fetched is not that position.
            StorageFullError: there is no space on this machine.
        """
        path = self.find(digest)
        if path is not None:
            return path
        with self._alone(digest):
            return self.find(digest) or self._fetch(digest, fetch)

    def find(self, digest: str) -> Path | None:
        """Return the file with a digest if it is here and whole; a damaged one is removed."""
        path = self._path(digest)
        try:
            self._verify(path, digest)
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        except FileNotFoundError:
            return None
        except UserError:  # missing, damaged, or another one's
            path.unlink(missing_ok=True)
            return None
        return path

    @contextlib.contextmanager
    def scratch(self, size_bytes: int = 0) -> Iterator[Path]:
        """Yield a path for a file that is being made; what is at it afterwards is removed.

        Args:
            size_bytes: how large it is going to be, if that is known.
        """
        if shutil.disk_usage(self.folder).free < size_bytes:
            self._make_room(limit_bytes=0)
        path = self.folder / f".{os.getpid()}-{secrets.token_hex(8)}.safetensors"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def adopt(self, path: Path, digest: str) -> None:
        """Take a whole position file of `scratch` under its digest."""
        path.replace(self._path(digest))
        self._make_room()

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.safetensors"

    def _fetch(self, digest: str, fetch: Callable[[Path], object]) -> Path:
        try:
            return self._try_to_fetch(digest, fetch)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
        self._make_room(limit_bytes=0)
        try:
            return self._try_to_fetch(digest, fetch)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise StorageFullError(self.folder) from error
            raise

    def _try_to_fetch(self, digest: str, fetch: Callable[[Path], object]) -> Path:
        with self.scratch() as path:
            fetch(path)
            self._verify(path, digest)
            self.adopt(path, digest)
        return self._path(digest)

    def _verify(self, path: Path, digest: str) -> None:
        """Read a file that this process has not read yet; raise unless it is whole."""
        status = path.stat()
        key = (status.st_ino, status.st_size, status.st_mtime_ns)
        if key in self._verified:
            return
        position = positions.open_position(path)
        positions.check_digest(position, digest)
        position.verify()
        self._verified.add(key)

    @contextlib.contextmanager
    def _alone(self, digest: str) -> Iterator[None]:
        """Keep other processes and threads from fetching the same file; a few different ones share a lock."""
        lock = Lock(self.folder / f".lock-{digest[:2]}")
        with contextlib.suppress(HeldError, OSError):
            lock.acquire(LOCK_SEC)
        try:
            yield
        finally:
            lock.release()

    def _make_room(self, limit_bytes: int | None = None) -> None:
        """Remove abandoned files, and then those that were not asked for longest, down to the limit."""
        limit_bytes = self.limit_bytes if limit_bytes is None else limit_bytes
        with self._room:
            now, found = time.time(), []
            for path in self.folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    if _NAME.fullmatch(path.name):
                        found.append((status.st_atime, status.st_size, path))
                    elif _HALF_WRITTEN.fullmatch(path.name) and now - status.st_mtime > ABANDONED_SEC:
                        path.unlink()
            total = sum(size for _, size, _ in found)
            for asked_at, size, path in sorted(found):
                if total <= limit_bytes or now - asked_at < RECENT_SEC:
                    return
                path.unlink(missing_ok=True)
                total -= size
