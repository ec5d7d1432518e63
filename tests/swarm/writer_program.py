"""A process that publishes rounds without end and can be killed at any moment, and the handle by which tests run it.

`python writer_program.py DIRECTORY SIZE` waits for a line, forks a writer, prints "pid N", then one line of JSON for
each round of a particle that the journal has acknowledged, and "dead" when somebody has killed the writer; and so on.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import numpy as np

from keras_actrec.swarm.state import Kind, Publication
from keras_actrec.swarm.store import DirectoryStore

PARTICLES = 2
KEPT_ROUNDS = 20
WAIT_SEC = 30.0


def weights(particle: int, round_number: int, size: int) -> np.ndarray:
    """What the writer publishes: anybody can compute it again."""
    return np.random.default_rng([particle, round_number]).random(size, np.float32)


def fitness(particle: int, round_number: int) -> float:
    return -1 / (3 + particle + round_number)


def tell(line: str) -> None:
    """Print a line in one piece, which `print` does not promise to one that may be killed."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def write_round(store: DirectoryStore, particle: int, round_number: int, size: int) -> Publication:
    array = weights(particle, round_number, size)
    if not store.has(particle, Kind.BEFORE, round_number):
        store.put(particle, Kind.BEFORE, round_number, [array[::-1]], size)
    with store.draft(particle, Kind.AFTER, round_number, size) as draft:
        draft.array[:] = array
    store.alias(particle, (Kind.AFTER, round_number), (Kind.BEST, round_number))
    store.alias(particle, (Kind.AFTER, round_number), (Kind.BEFORE, round_number + 1))
    before, after = (store.get(particle, kind, round_number).digest for kind in (Kind.BEFORE, Kind.AFTER))
    value = fitness(particle, round_number)
    row = {"epoch": round_number, "val_loss": -value}
    return store.journal.add_publication(
        Publication(particle, round_number, value, round_number, value, before, after, after, 1e-3, row, 0.1)
    )


def write_without_end(directory: Path, size: int) -> None:
    store = DirectoryStore(directory)
    store.sweep()
    round_number = 1 + min(store.journal.last_round(particle) for particle in range(PARTICLES))
    while True:
        for particle in range(PARTICLES):
            publication = write_round(store, particle, round_number, size)
            tell(json.dumps([particle, round_number, publication.after, publication.fitness]))
        store.journal.close_round(round_number, range(PARTICLES))
        oldest = round_number - KEPT_ROUNDS
        store.prune(oldest, dict.fromkeys(range(PARTICLES), (oldest,)))
        round_number += 1


def main(directory: str, size: str) -> None:
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            tell(f"pid {os.getpid()}")
            write_without_end(Path(directory), int(size))
        os.waitpid(child, 0)
        tell("dead")


class Writer:
    """The program as a child of a test; it ends with the context."""

    def __init__(self, directory: Path, size: int) -> None:
        self.acknowledged: dict[tuple[int, int], tuple[str, float]] = {}
        self._lines: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(directory), str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._child: int | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(WAIT_SEC)

    def start(self) -> None:
        """Let it write; returns when it has begun."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._child = int(self._lines.get(timeout=WAIT_SEC).removeprefix("pid "))

    def kill(self) -> None:
        """End it in the middle of whatever it does; `acknowledged` is then complete."""
        os.kill(self._child, signal.SIGKILL)
        self._child = None
        while (line := self._lines.get(timeout=WAIT_SEC)) != "dead":
            self._note(line)

    def wait_until_acknowledged(self) -> None:
        """Return after the next round that the journal acknowledges."""
        self._note(self._lines.get(timeout=WAIT_SEC))

    def _note(self, line: str) -> None:
        particle, round_number, digest, value = json.loads(line)
        self.acknowledged[particle, round_number] = digest, value

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))


if __name__ == "__main__":
    main(*sys.argv[1:])
