"""The directory of a swarm, and who writes it. Imports no Keras.

<output>/<name>-<YYYYmmdd-HHMMSS>-<id>/
    config.yaml          the resolved configuration; written last, so that a folder with one is a whole swarm
    swarm.sqlite         the journal: rounds, fitness, choices, random draws, events
    weights/             positions of the particles
    particles/           one ordinary run directory per particle, and what each has printed
    best                 link to the best particle's run directory
    server.json          where the server is, while it runs (readable by its owner alone: it holds a token)
    result.json, report.html, hiplot.html, log.txt
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
from pathlib import Path
from typing import Any

from keras_actrec import config as configuration
from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.locking import HeldError, Lock
from keras_actrec.swarm.settings import SwarmConfig, load_swarm_config, name_of

OPERATIONAL = {
    "host",
    "port",
    "token",
    "launcher",
    "ray",
    "devices",
    "restarts",
    "heartbeat_sec",
    "silence_sec",
    "start_sec",
    "server_sec",
    "store_sec",
    "cache",
    "cache_gb",
    "deadline_sec",
    "straggler",
    "on_failure",
}
"""Fields of the section `swarm` that may change when a swarm is resumed: how it is run, not what it learns."""


class SwarmDirectory:
    """Paths of one swarm, its lock and its log.

    Attributes:
        path: the directory.
        config: the resolved configuration.
    """

    def __init__(self, path: str | os.PathLike[str], config: SwarmConfig) -> None:
        self.path = Path(path)
        self.config = config
        self._lock = Lock(self.path / ".lock")

    @classmethod
    def create(cls, config: SwarmConfig) -> SwarmDirectory:
        """Make a new swarm in `config.output` and lock it."""
        now = datetime.datetime.now().astimezone()
        path = Path(config.output) / f"{config.name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        path.mkdir(parents=True)
        swarm = cls(path, config)
        swarm.lock()
        _write_config(config, path / "config.yaml")
        return swarm

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SwarmDirectory:
        """Open an existing swarm; nothing is locked.

        Raises:
            UserError: there is no swarm at `path`.
        """
        path = Path(path)
        file = path / "config.yaml"
        if not file.is_file():
            raise UserError(f"{path} is no swarm directory: expected a config.yaml in it.")
        config = load_swarm_config(file)
        if "swarm" not in config.model_fields_set:
            raise UserError(f"{path} is no swarm directory: it belongs to a training of its own, by train.py.")
        return cls(path, config)

    @classmethod
    def resume(cls, which: str, config: SwarmConfig) -> SwarmDirectory | None:
        """Return the swarm to go on with, locked, with today's operational settings.

        Args:
            which: "latest" for the newest unfinished one of this configuration, or a directory.
            config: of today.

        Returns:
            None when "latest" finds none.

        Raises:
            UserError: the directory has another configuration, or another server runs it.
        """
        found = cls._latest(config) if which == "latest" else cls.open(which)
        if found is None:
            return None
        if learnt_from(found.config) != learnt_from(config):
            raise UserError(f"{found.path} was started with another configuration; use the same, or a new swarm.")
        swarm = cls(found.path, config)
        swarm.lock()
        _write_config(config, swarm.path / "config.yaml")  # particles read today's operational settings there
        return swarm

    @classmethod
    def _latest(cls, config: SwarmConfig) -> SwarmDirectory | None:
        paths = sorted(Path(config.output).glob("*/config.yaml"), key=lambda path: path.stat().st_mtime_ns)
        for path in reversed(paths):
            with contextlib.suppress(UserError):
                swarm = cls.open(path.parent)
                if not swarm.finished and learnt_from(swarm.config) == learnt_from(config):
                    return swarm
        return None

    def lock(self) -> None:
        """Become the only server of the swarm.

        Raises:
            UserError: another server is running it.
        """
        try:
            self._lock.acquire()
        except HeldError as error:
            raise UserError(
                f"another server (process {error.holder}) is running the swarm {self.path}; stop it first."
            ) from None

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    @property
    def server_file(self) -> Path:
        """Where particles find the server."""
        return self.path / "server.json"

    @property
    def result(self) -> Path:
        """What came out; there when the swarm has finished."""
        return self.path / "result.json"

    @property
    def finished(self) -> bool:
        """Whether the swarm has ended."""
        return self.result.exists()

    @property
    def log(self) -> Path:
        """Copy of the lines on the console."""
        return self.path / "log.txt"

    @property
    def particles(self) -> Path:
        """Folder of the particles' runs."""
        return self.path / "particles"

    def run(self, particle: int) -> Path:
        """Run directory of a particle."""
        return self.particles / name_of(particle)

    def console(self, particle: int) -> Path:
        """What a particle's process has printed."""
        return self.particles / f"{name_of(particle)}.console.txt"

    def publish_server(self, url: str, token: str) -> None:
        """Tell particles where the server is; only the owner may read the token."""
        with files.publish(self.server_file, mode=0o600) as temporary:
            temporary.write_text(json.dumps({"url": url, "token": token, "pid": os.getpid()}), encoding="utf-8")

    def read_server(self) -> dict[str, Any] | None:
        """Return {"url", "token", "pid"}; None while there is no server, or where a network shows half of the file."""
        try:
            return files.read_json(self.server_file)
        except (OSError, ValueError):
            return None

    def say(self, line: str) -> None:
        """Print a line and copy it to the log, with the time before it."""
        print(line, flush=True)
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        with self.log.open("a", encoding="utf-8") as file:
            file.write("".join(f"{now} {part}\n" for part in line.splitlines()))

    def link_best(self, particle: int) -> None:
        """Make `best` lead to a particle's run; if it is on another machine, or without links, result.json names it."""
        link = self.path / "best"
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)
            if self.run(particle).is_dir():
                link.symlink_to(self.run(particle).relative_to(self.path), target_is_directory=True)


def learnt_from(config: SwarmConfig) -> dict[str, Any]:
    """Return the part of a configuration that decides what a swarm learns."""
    document = config.model_dump()
    document["swarm"] = {key: value for key, value in document["swarm"].items() if key not in OPERATIONAL}
    return document


def _write_config(config: SwarmConfig, path: Path) -> None:
    """Publish the configuration without the page's password."""
    section = config.swarm.model_copy(update={"token": None})
    configuration.save_config(config.model_copy(update={"swarm": section}), path)
