"""A swarm whose processes are killed and stopped at random, until it has finished all the same."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DEADLINE_SEC = 3600.0
AT_ONCE = 0.5
"""Share of the blows that do not wait for the swarm to get on."""


def start(config: Path, output: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a server; what it prints goes to a file beside the output folder."""
    with output.with_suffix(".txt").open("ab") as console:
        return subprocess.Popen(
            [sys.executable, "swarm_server.py", "--config", config, *arguments, f"output={output}", "swarm.port=0"],
            cwd=ROOT,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(server: subprocess.Popen[bytes], output: Path) -> Path:
    """Wait for the end of a server and return the swarm's directory."""
    code = server.wait(DEADLINE_SEC)
    text = output.with_suffix(".txt").read_text()
    assert code == 0, text[-4000:]
    return Path(text.strip().splitlines()[-1].removeprefix("swarm: "))


def state(output: Path) -> dict[str, Any] | None:
    """Return what the running server shows on its page; None while there is none that answers."""
    for file in output.glob("*/server.json"):
        with contextlib.suppress(OSError, ValueError):
            url = json.loads(file.read_text())["url"]
            with urllib.request.urlopen(f"{url}/api/state", timeout=2) as answer:
                return json.load(answer)
    return None


def outcome(swarm: Path, store: Path | None = None) -> dict[str, bytes]:
    """Return the bytes in which equal swarms are equal: last positions, history and metrics of each particle.

    Args:
        swarm: its directory.
        store: where its positions are; None: in the directory.
    """
    found = {}
    for run in sorted(swarm.glob("particles/particle-*/")):
        positions = sorted(((store or swarm) / "weights" / run.name).glob("after-*.safetensors"))
        for path in (positions[-1], run / "history.csv", run / "metrics.json"):
            found[f"{run.name}/{path.name[:12]}"] = path.read_bytes()
    return found


def undisturbed(config: Path, folder: Path, *arguments: str) -> dict[str, bytes]:
    """Return the outcome of a swarm of this machine alone that nothing happens to."""
    output = folder / "quiet"
    return outcome(finish(start(config, output, *arguments), output))


@dataclasses.dataclass
class Tally:
    """What was done to a swarm."""

    particles_killed: int = 0
    killed_while_writing: int = 0
    servers_killed: int = 0
    stopped: int = 0

    @property
    def kills(self) -> int:
        """All kills."""
        return self.particles_killed + self.servers_killed


class Chaos:
    """Kills at random.

    Args:
        config: of the swarm; `heartbeat_sec` and `silence_sec` short, `restarts` high.
        output: folder for the swarm.
        kills: so many, of particles and of the server; after them the swarm is left in peace.
        stops: so many processes get SIGSTOP and are never continued.
        seed: of the choices.
        longest_pause_sec: between two of them.

    Mostly the swarm gets on for at least one publication before the next blow; else a particle could be killed while
    it starts again and again, and nothing else would be tried. Half of the blows come soon after another all the same.
    """

    def __init__(
        self, config: Path, output: Path, *, kills: int, stops: int = 1, seed: int = 0, longest_pause_sec: float = 1.0
    ) -> None:
        self._config, self._output = config, output
        self._kills, self._stops = kills, stops
        self._random = random.Random(seed)
        self._longest_pause_sec = longest_pause_sec
        self.tally = Tally()

    def run(self) -> Path:
        """Run the swarm to its end and return its directory."""
        self._output.mkdir(parents=True)
        server = start(self._config, self._output)
        for deed in self._deeds():
            if self._random.random() > AT_ONCE:
                self._let_it_get_on(server)
            self._wait(server, self._random.uniform(0.0, self._longest_pause_sec))
            if server.poll() is not None:
                break
            if deed == "server":
                server.kill()
                server.wait()
                self.tally.servers_killed += 1
                server = start(self._config, self._output, "--resume")
            else:
                self._strike(deed)
        return finish(server, self._output)

    def _deeds(self) -> Iterator[str]:
        """Give what to do, in random order: mostly kills of particles, a third of them in the middle of writing."""
        share = max(self._kills // 6, 1)
        deeds = ["server"] * share + ["writing"] * (2 * share) + ["particle"] * (self._kills - 3 * share)
        deeds += ["stop"] * self._stops
        self._random.shuffle(deeds)
        return iter(deeds)

    def _let_it_get_on(self, server: subprocess.Popen[bytes]) -> None:
        """Wait until somebody has published another round."""
        before = self._published()
        end = time.monotonic() + 300.0
        while self._published() <= before and time.monotonic() < end and server.poll() is None:
            time.sleep(0.1)

    def _published(self) -> int:
        """Return how many rounds of particles are committed."""
        found = list(self._output.glob("*/swarm.sqlite"))
        if not found:
            return 0
        with contextlib.closing(sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True, timeout=10)) as journal:
            try:
                return journal.execute("SELECT COUNT(*) FROM publications").fetchone()[0]
            except sqlite3.OperationalError:  # not made yet
                return 0

    def _wait(self, server: subprocess.Popen[bytes], seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and server.poll() is None:
            time.sleep(0.02)

    def _strike(self, deed: str) -> None:
        """Kill or stop one particle's process; try until there is one."""
        end = time.monotonic() + 60.0
        while time.monotonic() < end:
            pid = self._writer() if deed == "writing" else self._random.choice([*self._pids().values(), None])
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP if deed == "stop" else signal.SIGKILL)
                    self._count(deed)
                return

    def _count(self, deed: str) -> None:
        if deed == "stop":
            self.tally.stopped += 1
        else:
            self.tally.particles_killed += 1
            self.tally.killed_while_writing += deed == "writing"

    def _pids(self) -> dict[str, int]:
        known = state(self._output) or {"particles": []}
        return {row["name"]: row["pid"] for row in known["particles"] if row["phase"] not in ("finished", "failed")}

    def _writer(self) -> int | None:
        """Return a process that is writing a position or a checkpoint now: its half-written file is there."""
        pids = self._pids()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            for path in (*self._output.glob("*/weights/*/.*"), *self._output.glob("*/particles/*/checkpoints/.*")):
                name = next(part for part in reversed(path.parts) if part.startswith("particle-"))
                if name in pids:
                    return pids[name]
        return None
