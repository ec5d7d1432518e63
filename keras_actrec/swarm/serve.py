"""Runs a swarm: directory, store, coordinator, page, until it ends. Imports no Keras."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from keras_actrec.cluster.connection import Cluster
from keras_actrec.errors import UserError
from keras_actrec.swarm import dashboard, door, launcher, table
from keras_actrec.swarm.api import create_router
from keras_actrec.swarm.coordinator import Coordinator
from keras_actrec.swarm.dashboard import security
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.pruning import TidiedLater
from keras_actrec.swarm.ray_launcher import RayLauncher
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.swarm.state import Kind, Standing
from keras_actrec.swarm.store import Store, open_store
from keras_actrec.web.listening import Web, address_of, listen
from keras_actrec.web.security import require_token

_SETTINGS = ("swarm.host=", "swarm.port=")
TICK_SEC = 0.1
FAREWELL_SEC, FAREWELL_FAR_SEC = 1.5, 5.0
"""Particles and page hear of the end in this time before the server goes; particles elsewhere may need it longer."""


def run(config: SwarmConfig, resume: str | None = None) -> tuple[SwarmDirectory, Standing]:
    """Run a swarm to its end.

    Args:
        config: of the swarm.
        resume: None for a new swarm, "latest" for the newest unfinished one of this configuration, or a directory.

    Returns:
        Its directory, and how it ended.

    Raises:
        UserError: a mistake in the configuration, another server, or the swarm failed.
    """
    require_token(security.DOOR, config.swarm.host, config.swarm.token)
    with listen(config.swarm.host, config.swarm.port, *_SETTINGS) as connection, _cluster(config) as cluster:
        swarm = open_swarm(config, resume)
        try:
            if swarm.finished:
                swarm.say(f"the swarm {swarm.path} has already finished")
                return swarm, Standing.FINISHED
            return swarm, Server(swarm, connection, cluster).run()
        finally:
            swarm.close()


def _cluster(config: SwarmConfig) -> contextlib.AbstractContextManager[Cluster | None]:
    """Return the cluster that particles run on, connected; None where they need none."""
    section = config.swarm
    if section.launcher != "ray":
        return contextlib.nullcontext()
    return Cluster(section.ray, "swarm.ray", section.particles, launcher.cores_each(section.particles))


def open_swarm(config: SwarmConfig, resume: str | None) -> SwarmDirectory:
    """Make a swarm's directory, or find the one to go on with."""
    if resume is None:
        return SwarmDirectory.create(config)
    found = SwarmDirectory.resume(resume, config)
    if found is None:
        print("there is no unfinished swarm of this configuration; a new one begins", flush=True)
    return found or SwarmDirectory.create(config)


class Server:
    """One swarm being run by this process."""

    def __init__(self, swarm: SwarmDirectory, connection: socket.socket, cluster: Cluster | None = None) -> None:
        self._swarm = swarm
        self._connection = connection
        self._cluster = cluster
        section = swarm.config.swarm
        self._store = self._open_store()
        self._token = secrets.token_urlsafe(24)
        self._launcher = self._make_launcher()
        self._coordinator = Coordinator(swarm, self._store, self._launcher)
        app = dashboard.create_app(
            self._coordinator, host=section.host, token=section.token, output=Path(swarm.config.output)
        )
        self._router = create_router(self._coordinator, self._token)
        app.include_router(self._router)
        settings = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        self._web = Web(settings)

    def run(self) -> Standing:
        """Serve until the swarm has ended, and write what stays."""
        try:
            asyncio.run(self._serve())
        finally:
            if self._launcher:
                self._launcher.kill_all()
            self._swarm.server_file.unlink(missing_ok=True)
        try:
            self._conclude()
        finally:
            self._store.close()
        return self._coordinator.standing

    def _open_store(self) -> Store:
        store = open_store(self._swarm.path, self._swarm.config.swarm, with_journal=True)
        if self._swarm.config.swarm.store is None:
            return store
        try:
            store.rounds(0, Kind.BEFORE)  # a store that does not answer is told before anything is begun
        except BaseException:
            store.close()
            raise
        return TidiedLater(store, self._swarm.say)

    def _make_launcher(self) -> launcher.Launcher | None:
        section, cluster = self._swarm.config.swarm, self._cluster
        journal = self._store.journal
        cores = journal.get("cores") or (cluster.threads if cluster else launcher.cores_each(section.particles))
        journal.set("cores", cores)  # a resumed swarm keeps its share: more threads may round otherwise
        if section.launcher == "manual":
            return None
        hosts = {index: journal.particle(index).get("host") for index in range(section.particles)}
        for process in launcher.end_leftovers(self._swarm, hosts):
            self._swarm.say(f"ended process {process}, which an earlier server had left")
        self._store.sweep()
        if cluster:
            return RayLauncher(self._swarm, cluster, cores)
        return launcher.LocalLauncher(self._swarm, cores, launcher.count_gpus(section.devices))

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted)
        outside = self._cluster.address if self._cluster and not self._cluster.own else None
        section = self._swarm.config.swarm
        opened = door.opened(section.host, self._connection, outside, self._router, local=section.launcher == "local")
        with opened as (url, particles):
            self._swarm.publish_server(url, self._token)
            self._greet(address_of(self._connection))
            serving = [asyncio.create_task(self._web.serve(sockets=[self._connection]))]
            if particles:
                serving.append(asyncio.create_task(particles.web.serve(sockets=[particles.connection])))
            await self._until_over(serving)
            for web in (self._web, *([particles.web] if particles else [])):
                web.should_exit = True
            await asyncio.gather(*serving)

    async def _until_over(self, serving: Sequence[asyncio.Task[None]]) -> None:
        self._coordinator.start()
        while not self._coordinator.over:
            self._coordinator.tick()
            for task in serving:
                if task.done():
                    task.result()
                    raise UserError("the web server ended before the swarm.")
            await asyncio.sleep(TICK_SEC)
        await asyncio.sleep(FAREWELL_SEC if self._launcher else FAREWELL_FAR_SEC)

    def _greet(self, url: str) -> None:
        config = self._swarm.config
        section = config.swarm
        self._swarm.say(
            f"{section.particles} particles, {config.model.name} on {config.data.source}: {section.dynamic} "
            f"({section.variant}), {config.training.epochs} rounds, seed {config.seed}"
        )
        self._swarm.say(f"page: {url}")
        if self._cluster:
            self._swarm.say(self._cluster.description(section.particles))
        if self._launcher is None:
            cores = launcher.cores_each(1)
            for index in range(section.particles):
                self._swarm.say(f"start {' '.join(launcher.command(self._swarm, index, cores))}")

    def _interrupted(self) -> None:
        """The first Ctrl-C stops in order, the second one at once."""
        if self._coordinator.standing is Standing.STOPPING and self._launcher:
            self._launcher.kill_all()
        self._coordinator.stop()

    def _best(self, result: dict[str, Any]) -> str:
        """Return where the best particle's run is."""
        if (link := self._swarm.path / "best").exists():
            return str(link)
        index = result["best"]
        host = self._store.journal.particle(index).get("host")
        return f"{result['particles'][index]['run']} on {host}"

    def _conclude(self) -> None:
        """Write the pages that stay, and the table."""
        coordinator, swarm = self._coordinator, self._swarm
        with contextlib.suppress(OSError):  # a full disk has been told already
            dashboard.save_report(swarm.path, coordinator.snapshot(), self._store.journal)
        if coordinator.standing is Standing.FINISHED:
            with contextlib.suppress(UserError):  # HiPlot is optional, and the page has said so
                dashboard.save_hiplot(swarm.path, self._store.journal)
            result = coordinator.result()
            swarm.say(table.text(result))
            swarm.say(f"best: {self._best(result)}, an ordinary run directory")
            swarm.say(f"report: {swarm.path / 'report.html'}")
        elif coordinator.standing is Standing.FAILED:
            raise UserError(
                f"the swarm stopped: {coordinator.message} What was committed is kept in {swarm.path}; "
                "the same command with --resume goes on."
            )
        else:
            swarm.say(f"stopped: the same command with --resume goes on from the last committed rounds of {swarm.path}")
