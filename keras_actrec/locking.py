"""A lock that one process holds, and that the system releases when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path


class HeldError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: its process number; None when it is not known.
    """

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(f"{path} is locked by process {holder or 'unknown'}")
        self.holder = holder


class Lock:
    """An advisory lock on a file, which holds the process number of the holder.

    Args:
        path: the file; made when it is missing, and left there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._descriptor is not None

    def acquire(self, timeout_sec: float = 0.0) -> None:
        """Take the lock, waiting for it no longer than the timeout.

        Raises:
            HeldError: another process holds it.
        """
        if self.held:
            return
        deadline = time.monotonic() + timeout_sec
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        while not _try(descriptor):
            if time.monotonic() >= deadline:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise HeldError(self.path, holder)
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _holder(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None
