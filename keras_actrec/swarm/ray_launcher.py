"""Starts particles on the nodes of a Ray cluster, and ends them. Imports no Keras.

A particle there is the process that the local launcher would start: the same command in the same folder, with its
output in the same file. Ray finds it a place with the resources that are asked for, and tells when that place is lost;
the server then starts it again, which places it on another node, and the journal says where it goes on.
"""

from __future__ import annotations

import time
from pathlib import Path

from keras_actrec.cluster.connection import Cluster
from keras_actrec.cluster.guardian import PARENT, PYTHON, Job
from keras_actrec.cluster.remote import Remote
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.launcher import Ended, arguments, last_line, with_code

PATIENCE_SEC = 10.0
"""A process that is placed in this time has not waited: Ray starts a worker for it first."""
LOOK_SEC = 2.0


class RayLauncher:
    """The processes of a swarm's particles, wherever Ray has placed them.

    Args:
        swarm: the directory, which all nodes see under the same path.
        cluster: that this process is connected to.
        workers: threads of each particle.
    """

    def __init__(self, swarm: SwarmDirectory, cluster: Cluster, workers: int) -> None:
        self._swarm = swarm
        self._cluster = cluster
        self._workers = workers
        self._remotes: dict[int, Remote] = {}
        self._looked, self._shortage = 0.0, ""

    def start(self, particle: int) -> None:
        """Ask for a place for a particle's process, which is started there."""
        self._swarm.particles.mkdir(parents=True, exist_ok=True)
        self._remotes[particle] = Remote(self._cluster, self._job(particle))

    def waits(self, particle: int) -> str | None:
        """Return what a process that has no place yet waits for; None once it has one."""
        remote = self._remotes.get(particle)
        if remote is None or remote.started is not None or remote.ended is not None:
            return None
        if time.monotonic() - remote.asked < PATIENCE_SEC:
            return None
        self._look()
        return self._shortage

    def ended(self, particle: int) -> Ended | None:
        """Return how a particle's process has ended; None while it runs or when none was asked for."""
        remote = self._remotes.get(particle)
        end = remote and remote.ended
        if not end:
            return None
        return Ended(end.reason, not end.lost) if end.code is None else with_code(end.code, self.last_line(particle))

    def runs(self, particle: int) -> bool:
        """Whether a process of this particle is alive."""
        remote = self._remotes.get(particle)
        return remote is not None and remote.runs

    def kill(self, particle: int) -> None:
        """End a particle's process at once, a stopped one too."""
        remote = self._remotes.get(particle)
        if remote is not None:
            remote.kill()

    def kill_all(self) -> None:
        """End all processes at once."""
        for particle in self._remotes:
            self.kill(particle)

    def last_line(self, particle: int) -> str:
        """Return the last line that a particle's process has printed."""
        return last_line(self._swarm.console(particle))

    def _look(self) -> None:
        """Give places of ended processes back, and see what there is; now and then, as each look asks the cluster."""
        if time.monotonic() - self._looked > LOOK_SEC:
            going_on = sum(remote.ended is None for remote in self._remotes.values())
            self._looked, self._shortage = time.monotonic(), self._cluster.waiting_for(going_on)

    def _job(self, particle: int) -> Job:
        return Job(
            command=(PYTHON, *arguments(self._swarm, particle, self._workers), "--parent", PARENT),
            folder=str(Path.cwd()),
            console=str(self._swarm.console(particle)),
            environment=self._cluster.environment(),
        )
