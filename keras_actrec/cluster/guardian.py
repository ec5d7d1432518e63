"""What runs on a node of the cluster: an actor that starts one process there and looks after it. Imports no Ray."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from keras_actrec.cluster import bound

PYTHON, PARENT = "{python}", "{parent}"
"""Words of a job's command that are known on its node only."""
START_SEC = 60.0


@dataclasses.dataclass(frozen=True)
class Job:
    """A process to be started.

    Attributes:
        command: PYTHON stands for the node's interpreter, PARENT for the number of the actor's process.
        folder: where it runs, and what relative paths in its command begin at; where a node has none, and `console` is
            absolute, it runs in the folder of that.
        console: file for all that it prints, relative to `folder` or absolute.
        environment: variables that are set for it.
        keeps_stdin: its standard input stays open as long as the actor lives, and ends with it.
    """

    command: tuple[str, ...]
    folder: str
    console: str
    environment: Mapping[str, str]
    keeps_stdin: bool = False


@dataclasses.dataclass(frozen=True)
class Started:
    """Where a process runs."""

    node: str
    host: str
    pid: int


class MissingFolderError(Exception):
    """A node does not see the folder that all nodes should share."""


class Guardian:
    """The actor. Methods may run at the same time: one waits for the end while another brings it about."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()

    def start(self, job: Job, node: str | None = None) -> Started:
        """Start the process.

        Args:
            job: what to start.
            node: Ray's name of this node; default: asks Ray.

        Raises:
            MissingFolderError: this node does not see the job's folder.
        """
        folder = Path(job.folder)
        console = folder / job.console  # an absolute one stays what it is
        if not console.parent.is_dir():
            missing = folder if folder in console.parents and not folder.is_dir() else console.parent
            raise MissingFolderError(
                f"the node {socket.gethostname()} has no folder {missing}; it must be on a disk that all nodes share "
                "under the same path"
            )
        with console.open("ab") as output:
            self._process = subprocess.Popen(
                bound.command(os.getpid(), _filled(job.command)),
                cwd=folder if folder.is_dir() else console.parent,
                stdin=subprocess.PIPE if job.keeps_stdin else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(job.environment),
                start_new_session=True,
            )
        self._ready.set()
        return Started(node if node is not None else _own_node(), socket.gethostname(), self._process.pid)

    def wait(self) -> int | None:
        """Wait for the end of the process and return its exit code; None when it was never started."""
        if not self._ready.wait(START_SEC) or self._process is None:
            return None
        return self._process.wait()

    def end(self) -> None:
        """End the process and what it has started, at once, a stopped one too."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _filled(command: tuple[str, ...]) -> list[str]:
    known = {PYTHON: sys.executable, PARENT: str(os.getpid())}
    return [known.get(word, word) for word in command]


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the process' environment: the node's, with the package that this actor was given, and the changes."""
    package = str(Path(bound.__file__).parents[2])
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # Ray's own choice
    # Ray has put the package that came over the wire first, before one that may be installed there.
    paths = [inherited.get("PYTHONPATH"), package]
    return {**inherited, **changes, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _own_node() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()
