"""Folders of a prepared cache: local ones, and `s3://` ones through TensorFlow IO.

Known trap: TensorFlow IO's S3 plugin, once used, aborts the process when the interpreter exits ("pure virtual method
called"). What was written is safe, but the exit code is lost. A process that may have used it ends with
`leave(exit_code)`.

Where to find the server and the keys is said by environment variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_REGION`; for a server other than Amazon's `S3_ENDPOINT=http://HOST:PORT` (with the scheme: TensorFlow IO does not
read `S3_USE_HTTPS`, and a server without TLS is then tried for minutes), and `S3_VERIFY_SSL=0` for self-made keys.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, Protocol

from keras_actrec import files
from keras_actrec.errors import UserError

_RECENT = 4
_used = threading.Event()


class Folder(Protocol):
    """What the prepared cache needs of a place. Names have no folders in them."""

    address: str

    def exists(self, name: str) -> bool:
        """Return whether a file is there."""

    def size(self, name: str) -> int:
        """Return a file's length in bytes."""

    def read(self, name: str) -> bytes:
        """Return a whole file."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return a stretch of a file; shorter where the file ends."""

    def write(self, name: str, data: bytes) -> None:
        """Publish a small file."""

    def put(self, local: Path, name: str) -> None:
        """Publish a local file, which may be moved away."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""


class LocalFolder:
    """A folder on this machine. Files are opened once and read at positions, by many threads at a time."""

    def __init__(self, path: str | Path) -> None:
        self.address = str(path)
        self.path = Path(path)
        self._descriptors: dict[str, int] = {}
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, _close_all, self._descriptors)

    def exists(self, name: str) -> bool:
        """Return whether a file is there."""
        return (self.path / name).is_file()

    def size(self, name: str) -> int:
        """Return a file's length in bytes."""
        return (self.path / name).stat().st_size

    def read(self, name: str) -> bytes:
        """Return a whole file."""
        return (self.path / name).read_bytes()

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return a stretch of a file; shorter where the file ends."""
        return os.pread(self._descriptor(name), length, offset)

    def write(self, name: str, data: bytes) -> None:
        """Publish a small file."""
        with files.publish(self.path / name) as temporary:
            temporary.write_bytes(data)

    def put(self, local: Path, name: str) -> None:
        """Publish a file that was written within this folder."""
        with files.publish(self.path / name) as temporary:
            local.replace(temporary)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        (self.path / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """Yield a scratch folder, for one writer at a time; what a killed writer left in it is removed."""
        scratch = self.path / ".writing"
        scratch.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{self.path} is being prepared by another process; wait until it is done.") from None
            for left in [*scratch.iterdir(), *self.path.glob(".clips-*"), *self.path.glob(".index-*")]:
                left.unlink()
            yield scratch
            scratch.rmdir()

    def _descriptor(self, name: str) -> int:
        with self._lock:
            if name not in self._descriptors:
                self._descriptors[name] = os.open(self.path / name, os.O_RDONLY)
            return self._descriptors[name]


def _close_all(descriptors: dict[str, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])


class RemoteFolder:
    """A folder behind `tf.io.gfile`. The last few stretches are kept, since two modalities share a record."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._files = _remote_files(address)
        self._recent: collections.OrderedDict[tuple[str, int, int], bytes] = collections.OrderedDict()
        self._lock = threading.Lock()

    def exists(self, name: str) -> bool:
        """Return whether a file is there."""
        with _explained(self.address):
            return self._files.exists(self._at(name))

    def size(self, name: str) -> int:
        """Return a file's length in bytes."""
        with _explained(self.address):
            return self._files.stat(self._at(name)).length

    def read(self, name: str) -> bytes:
        """Return a whole file."""
        with _explained(self.address), self._files.GFile(self._at(name), "rb") as file:
            return file.read()

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return a stretch of a file; shorter where the file ends."""
        key = (name, offset, length)
        with self._lock:
            if key in self._recent:
                return self._recent[key]
        with _explained(self.address), self._files.GFile(self._at(name), "rb") as file:
            file.seek(offset)
            data = file.read(length)
        with self._lock:
            self._recent[key] = data
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return data

    def write(self, name: str, data: bytes) -> None:
        """Publish a small file; an object of S3 appears whole or not at all."""
        with _explained(self.address), self._files.GFile(self._at(name), "wb") as file:
            file.write(data)

    def put(self, local: Path, name: str) -> None:
        """Upload a local file and remove it here."""
        with _explained(self.address):
            self._files.copy(str(local), self._at(name), overwrite=True)
        local.unlink()

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with _explained(self.address):
            if self._files.exists(self._at(name)):
                self._files.remove(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self.address}/{name}"


def open_folder(address: str | Path) -> LocalFolder | RemoteFolder:
    """Return the folder at a path or an `s3://` address.

    Raises:
        UserError: an address of another kind; TensorFlow IO is missing or does not work with this TensorFlow.
    """
    scheme, separator, rest = str(address).partition("://")
    if not separator:
        return LocalFolder(address)
    if scheme != "s3":
        raise UserError(f"{address}: a prepared cache lies in a local folder or at an s3:// address, not {scheme}://.")
    if not rest.strip("/"):
        raise UserError(f"{address}: expected s3://BUCKET/FOLDER, the bucket is missing.")
    return RemoteFolder(str(address))


def leave(exit_code: int) -> None:
    """End the process at once with this code if the S3 plugin was used, because it would abort; else do nothing."""
    if _used.is_set():
        _end(exit_code)


def _end(exit_code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _remote_files(address: str) -> Any:
    """Return `tf.io.gfile`, once TensorFlow IO has registered `s3://` in it."""
    try:
        import tensorflow as tf
        import tensorflow_io as tfio

        # The file systems are registered on first use of the lazily loaded core library.
        tfio.experimental  # noqa: B018
        tf.io.gfile.get_registered_schemes()
    except Exception as error:
        raise _unavailable(address, error) from error
    if "s3" not in tf.io.gfile.get_registered_schemes():
        raise _unavailable(address, None)
    _used.set()
    return tf.io.gfile


def _unavailable(address: str, error: Exception | None) -> UserError:
    cause = f" ({type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]})" if error else ""
    return UserError(
        f"{address}: s3:// needs TensorFlow IO, which is not installed or does not load here{cause}. TensorFlow IO "
        "supports TensorFlow up to 2.17: install keras_actrec[remote] with it, or copy the shards to a local folder "
        "and name that."
    )


@contextlib.contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn TensorFlow's errors about files into a sentence."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = str(error.message).strip().splitlines()[0] if error.message else type(error).__name__
        raise UserError(
            f"cannot use {address}: {reason}; check the address, the keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) "
            "and the server (S3_ENDPOINT=http://HOST:PORT)."
        ) from error
