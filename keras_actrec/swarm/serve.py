"""Runs a swarm: directory, store, coordinator, page, until it ends. Imports no Keras."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from keras_actrec.errors import UserError
from keras_actrec.swarm import dashboard, launcher, table
from keras_actrec.swarm.api import create_router
from keras_actrec.swarm.coordinator import Coordinator
from keras_actrec.swarm.dashboard import security
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.swarm.state import Standing
from keras_actrec.swarm.store import DirectoryStore

TICK_SEC = 0.1
FAREWELL_SEC = 1.5
"""Particles and page hear of the end in this time before the server goes."""


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
    security.require_token(config.swarm.host, config.swarm.token)
    with listen(config.swarm.host, config.swarm.port) as connection:
        swarm = open_swarm(config, resume)
        try:
            if swarm.finished:
                swarm.say(f"the swarm {swarm.path} has already finished")
                return swarm, Standing.FINISHED
            return swarm, Server(swarm, connection).run()
        finally:
            swarm.close()


def open_swarm(config: SwarmConfig, resume: str | None) -> SwarmDirectory:
    """Make a swarm's directory, or find the one to go on with."""
    if resume is None:
        return SwarmDirectory.create(config)
    found = SwarmDirectory.resume(resume, config)
    if found is None:
        print("there is no unfinished swarm of this configuration; a new one begins", flush=True)
    return found or SwarmDirectory.create(config)


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a listening socket, so that a port in use is told before anything is begun."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        connection = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"swarm.host={host} is no address of this machine: {error}.") from None
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            connection.bind(address)
            connection.listen(128)
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}, port {port}: {error.strerror}; choose another with swarm.port=8601, "
                "or swarm.port=0 for any free one."
            ) from None
        yield connection


class Server:
    """One swarm being run by this process."""

    def __init__(self, swarm: SwarmDirectory, connection: socket.socket) -> None:
        self._swarm = swarm
        self._connection = connection
        section = swarm.config.swarm
        self._store = DirectoryStore(swarm.path)
        self._token = secrets.token_urlsafe(24)
        self._launcher = self._make_launcher()
        self._coordinator = Coordinator(swarm, self._store, self._launcher)
        app = dashboard.create_app(
            self._coordinator, host=section.host, token=section.token, output=Path(swarm.config.output)
        )
        app.include_router(create_router(self._coordinator, self._token))
        settings = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        self._web = _Web(settings)

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

    def _make_launcher(self) -> launcher.LocalLauncher | None:
        section = self._swarm.config.swarm
        journal = self._store.journal
        cores = journal.get("cores") or launcher.cores_each(section.particles)
        journal.set("cores", cores)  # a resumed swarm keeps its share: more threads may round otherwise
        if section.launch == "none":
            return None
        hosts = {index: journal.particle(index).get("host") for index in range(section.particles)}
        for process in launcher.end_leftovers(self._swarm, hosts):
            self._swarm.say(f"ended process {process}, which an earlier server had left")
        self._store.sweep()
        return launcher.LocalLauncher(self._swarm, cores, launcher.count_gpus(section.devices))

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted)
        url = self._url()
        self._swarm.publish_server(url, self._token)
        self._greet(url)
        serving = asyncio.create_task(self._web.serve(sockets=[self._connection]))
        self._coordinator.start()
        while not self._coordinator.over:
            self._coordinator.tick()
            if serving.done():
                serving.result()
                raise UserError("the web server ended before the swarm.")
            await asyncio.sleep(TICK_SEC)
        await asyncio.sleep(FAREWELL_SEC)
        self._web.should_exit = True
        await serving

    def _url(self) -> str:
        host, port = self._connection.getsockname()[:2]
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
        return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"

    def _greet(self, url: str) -> None:
        config = self._swarm.config
        section = config.swarm
        self._swarm.say(
            f"{section.particles} particles, {config.model.name} on {config.data.source}: {section.dynamic} "
            f"({section.variant}), {config.training.epochs} rounds, seed {config.seed}"
        )
        self._swarm.say(f"page: {url}")
        if self._launcher is None:
            cores = launcher.cores_each(1)
            for index in range(section.particles):
                self._swarm.say(f"start {' '.join(launcher.command(self._swarm, index, cores))}")

    def _interrupted(self) -> None:
        """The first Ctrl-C stops in order, the second one at once."""
        if self._coordinator.standing is Standing.STOPPING and self._launcher:
            self._launcher.kill_all()
        self._coordinator.stop()

    def _conclude(self) -> None:
        """Write the pages that stay, and the table."""
        coordinator, swarm = self._coordinator, self._swarm
        with contextlib.suppress(OSError):  # a full disk has been told already
            dashboard.save_report(swarm.path, coordinator.snapshot(), self._store.journal)
        if coordinator.standing is Standing.FINISHED:
            with contextlib.suppress(UserError):  # HiPlot is optional, and the page has said so
                dashboard.save_hiplot(swarm.path, self._store.journal)
            swarm.say(table.text(coordinator.result()))
            swarm.say(f"best: {swarm.path / 'best'}, an ordinary run directory")
            swarm.say(f"report: {swarm.path / 'report.html'}")
        elif coordinator.standing is Standing.FAILED:
            raise UserError(
                f"the swarm stopped: {coordinator.message} What was committed is kept in {swarm.path}; "
                "the same command with --resume goes on."
            )
        else:
            swarm.say(f"stopped: the same command with --resume goes on from the last committed rounds of {swarm.path}")


class _Web(uvicorn.Server):
    """The web server; signals are the swarm's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
