"""Starts particles as processes of this machine, and ends them. Imports no Keras."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from keras_actrec.locking import HeldError, Lock
from keras_actrec.swarm.directory import SwarmDirectory

KILL_SEC = 10.0


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a particle's process has ended.

    Attributes:
        reason: for people, such as "its process ended with code 1".
        is_fault: whether it counts against the particle; False when its machine was lost.
    """

    reason: str
    is_fault: bool = True


class Launcher(Protocol):
    """Starts and ends the processes of particles."""

    def start(self, particle: int) -> int | None:
        """Start a particle's process and return its number, where that is known already."""

    def waits(self, particle: int) -> str | None:
        """Return what a process that has no place yet waits for; None once it has one."""

    def ended(self, particle: int) -> Ended | None:
        """Return how its process has ended; None while it runs or without one."""

    def runs(self, particle: int) -> bool:
        """Whether its process is alive."""

    def kill(self, particle: int) -> None:
        """End its process at once."""

    def kill_all(self) -> None:
        """End all."""

    def last_line(self, particle: int) -> str:
        """Return what its process has printed last."""


class LocalLauncher:
    """The processes of a swarm's particles.

    Args:
        swarm: the directory.
        workers: cores for each particle.
        gpus: number of GPUs to deal out; 0: leave the choice to each process.
    """

    def __init__(self, swarm: SwarmDirectory, workers: int, gpus: int) -> None:
        self._swarm = swarm
        self._workers = workers
        self._gpus = gpus
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._killed: set[int] = set()

    def start(self, particle: int) -> int:
        """Start a particle's process and return its number."""
        console = self._swarm.console(particle)
        console.parent.mkdir(parents=True, exist_ok=True)
        with console.open("ab") as output:
            process = subprocess.Popen(
                [*command(self._swarm, particle, self._workers), "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(particle, self._gpus),
                start_new_session=True,  # Ctrl-C is for the server, which stops the particles in order
            )
        self._processes[particle] = process
        return process.pid

    def waits(self, particle: int) -> str | None:
        """Return None: there is always a place on this machine."""

    def ended(self, particle: int) -> Ended | None:
        """Return how a particle's process has ended; None while it runs or when none was started."""
        process = self._processes.get(particle)
        code = None if process is None else process.poll()
        return None if code is None else with_code(code, self.last_line(particle))

    def runs(self, particle: int) -> bool:
        """Whether a process of this particle is alive."""
        process = self._processes.get(particle)
        return process is not None and process.poll() is None

    def kill(self, particle: int) -> None:
        """End a particle's process at once, a stopped one too, with all that it has started, and wait for its end.

        Once only: the number of a group that is gone may be another one's by now.
        """
        process = self._processes.get(particle)
        if process is None or process.pid in self._killed or process.poll() == 0:
            return
        self._killed.add(process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for a disk; nothing more can be done
            process.wait(KILL_SEC)

    def kill_all(self) -> None:
        """End all processes at once."""
        for particle in self._processes:
            self.kill(particle)

    def last_line(self, particle: int) -> str:
        """Return the last line that a particle's process has printed."""
        return last_line(self._swarm.console(particle))


def with_code(code: int, last: str) -> Ended:
    """Return the end of a process that had an exit code, and what it had printed last."""
    return Ended(f"its process ended with code {code}" + (f" ({last})" if last else ""))


def command(swarm: SwarmDirectory, particle: int, workers: int) -> list[str]:
    """Return the command that plays a particle."""
    return [sys.executable, *arguments(swarm, particle, workers)]


def arguments(swarm: SwarmDirectory, particle: int, workers: int) -> list[str]:
    """Return what an interpreter is told so that it plays a particle."""
    module = "keras_actrec.swarm.particle"
    return ["-m", module, "--swarm", str(swarm.path), "--particle", str(particle + 1), "--workers", str(workers)]


def environment(particle: int, gpus: int) -> dict[str, str]:
    """Return the environment of a particle's process: where the package is, and its GPU."""
    changes = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])),
    }
    if gpus:
        listed = (_visible_gpus() or [str(number) for number in range(gpus)])[:gpus]
        changes["CUDA_VISIBLE_DEVICES"] = listed[particle % len(listed)]
    return {**os.environ, **changes}


def count_gpus(devices: str) -> int:
    """Return the number of GPUs to deal out to particles.

    Args:
        devices: "auto" deals out when there are several, "one_each" always, "shared" puts all on the first.
    """
    visible = _visible_gpus()
    found = _nvidia_gpus() if visible is None else len(visible)
    if devices == "shared":
        return min(found, 1)
    return found if devices == "one_each" or found > 1 else 0


def _visible_gpus() -> list[str] | None:
    """Return the GPUs that the user, or SLURM, has left to this process; None where nothing is said."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if listed is None else [name for name in listed.split(",") if name.strip() not in ("", "-1")]


def _nvidia_gpus() -> int:
    """Count GPUs by NVIDIA's own tool: the server must not hold one by importing TensorFlow."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def cores_each(particles: int) -> int:
    """Return the cores of this machine that one of so many particles may use."""
    return max(1, len(os.sched_getaffinity(0)) // particles if hasattr(os, "sched_getaffinity") else 1)


def end_leftovers(swarm: SwarmDirectory, hosts: dict[int, str | None]) -> list[int]:
    """Kill processes of an earlier server that still hold a particle's run, a stopped one for example.

    Only who holds the run's lock is killed, and only on this machine.

    Args:
        swarm: the directory, locked by this server.
        hosts: the machine on which each particle was last seen.

    Returns:
        The process numbers.
    """
    ended = []
    for particle, host in hosts.items():
        path = swarm.run(particle) / ".lock"
        if host not in (None, socket.gethostname()) or not path.exists():
            continue
        lock = Lock(path)
        try:
            lock.acquire()
        except HeldError as error:
            if error.holder:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(error.holder, signal.SIGKILL)
                ended.append(error.holder)
        finally:
            lock.release()
    return ended


def last_line(console: Path) -> str:
    """Return the last line that is not empty of a text file, "" without one."""
    try:
        with console.open("rb") as file:
            file.seek(max(console.stat().st_size - 4096, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
