"""The machine as the checks see it. Tests put another one in its place."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras_actrec

NOT_STARTED, TOO_SLOW = 127, 124
"""Exit codes of commands that are not there, or that did not end in time, as shells have them."""


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command has ended.

    Attributes:
        code: exit code; negative: the signal that ended it.
        out: what it wrote to standard output.
        err: and to standard error.
    """

    code: int
    out: str = ""
    err: str = ""

    @property
    def last_words(self) -> str:
        """The last line of what it said went wrong."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        if lines:
            return lines[-1][:200]
        return f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"


class Machine:
    """This machine. Whatever may crash or hang runs in a process of its own, with a time-out."""

    python: tuple[int, int, int] = sys.version_info[:3]
    bits: str = platform.architecture()[0]
    system: str = platform.system()

    @property
    def environ(self) -> Mapping[str, str]:
        """Environment variables."""
        return os.environ

    def run(self, command: Sequence[str], timeout_sec: float = 20.0, **environment: str) -> Done:
        """Run a command to its end, or kill it after a while."""
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=timeout_sec,
                env=os.environ | environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Done(TOO_SLOW, err=f"no answer within {timeout_sec:g} s")
        except OSError as problem:
            return Done(NOT_STARTED, err=problem.strerror or str(problem))
        return Done(done.returncode, done.stdout, done.stderr)

    def run_python(self, script: str, timeout_sec: float = 120.0) -> Done:
        """Run a script with this interpreter."""
        return self.run([sys.executable, "-c", script], timeout_sec, TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore")

    def which(self, name: str) -> str | None:
        """Return where a program is."""
        return shutil.which(name)

    def version(self, package: str) -> str | None:
        """Return the version of an installed package; nothing is imported."""
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def file_of(self, package: str, file: str) -> Path | None:
        """Return where a file of an installed package lies."""
        try:
            found = importlib.metadata.distribution(package).locate_file(file)
        except importlib.metadata.PackageNotFoundError:
            return None
        return Path(str(found)) if Path(str(found)).is_file() else None

    def requirements(self) -> str | None:
        """Return the text of requirements.txt, where the package runs from its sources."""
        path = Path(keras_actrec.__file__).parents[1] / "requirements.txt"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def exists(self, path: str) -> bool:
        """Whether there is something at a path."""
        return Path(path).exists()

    def read(self, path: str) -> str | None:
        """Return the text of a file; None where it cannot be read."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def free_bytes(self, folder: Path) -> int:
        """Return the free space where a folder is, or would be made."""
        return shutil.disk_usage(_nearest(folder)).free

    def why_not_writable(self, folder: Path) -> str | None:
        """Return why nothing can be written into a folder, or into the one that it would be made in; else None."""
        try:
            with tempfile.TemporaryFile(dir=_nearest(folder)):
                return None
        except OSError as problem:
            return problem.strerror or str(problem)

    def is_taken(self, port: int) -> bool:
        """Whether something listens at a port of this machine."""
        with socket.socket() as test:
            test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                test.bind(("127.0.0.1", port))
            except OSError:
                return True
        return False


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
