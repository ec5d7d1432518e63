"""A swarm that only pretends: a coordinator that advances by itself, with numbers like those of real particles."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.settings import name_of
from keras_actrec.swarm.state import Move, Publication

HACK = "document.body.dataset.hacked='yes'"
NASTY = f'<img src=x onerror="{HACK}"></script><script>{HACK}</script>'
RATES = (1e-2, 1e-3, 1e-4, 3e-3)


class Coordinator:
    """As the dashboard wants it; `advance` does one round of all particles.

    Args:
        directory: of the swarm.
        rounds: of the swarm.
        count: number of particles.
        journal: ":memory:" or a file.
    """

    def __init__(self, directory: Path, rounds: int = 10, count: int = 4, journal: str | Path = ":memory:") -> None:
        self.store = SimpleNamespace(journal=Journal(journal))
        self.directory, self.rounds, self.count = directory, rounds, count
        self.standing, self.round, self.calls = "running", 0, []
        self.result: dict[str, Any] | None = None
        self.trouble: int | None = None
        self.message = "killed by signal 9; it is started again from round 3"
        self.started_at = time.time()
        self.lock = threading.RLock()
        self.rng = np.random.default_rng(7)

    def snapshot(self) -> dict[str, Any]:
        with self.lock:
            return {
                "name": f"quick {NASTY}",
                "directory": str(self.directory),
                "standing": self.standing,
                "message": "",
                "round": self.round,
                "rounds": self.rounds,
                "started_at": self.started_at,
                "now": time.time(),
                "elapsed_sec": time.time() - self.started_at,
                "settings": {
                    "dynamic": "dynamic_1",
                    "variant": "paper",
                    "fitness": "val_loss",
                    "particles": self.count,
                },
                "model": "convnet_transformer",
                "data": "stick-actions",
                "seed": 1,
                "particles": [self.particle(index) for index in range(self.count)],
                "result": self.result,
            }

    def particle(self, index: int) -> dict[str, Any]:
        last = self.store.journal.publication(index, self.round)
        is_lost = index == self.trouble
        phase = "lost" if is_lost else {"paused": "paused", "finished": "finished"}.get(self.standing, "training")
        return {
            "index": index,
            "name": name_of(index),
            "phase": phase,
            "round": self.round,
            "batch": 7 + index,
            "batches": 24,
            "learning_rate": RATES[index % 4],
            "fitness": last.fitness if last else None,
            "best_fitness": last.best_fitness if last else None,
            "best_round": last.best_round if last else 0,
            "restarts": int(is_lost),
            "silent_sec": math.inf if is_lost else 0.4 * index,
            "pid": 1000 + index,
            "host": "here",
            "run": f"particles/{name_of(index)}",
            "message": self.message if is_lost else "",
        }

    def pause(self) -> None:
        self._change("paused", "pause")

    def resume(self) -> None:
        self._change("running", "resume")

    def stop(self) -> None:
        self._change("stopped", "stop")

    def _change(self, standing: str, call: str) -> None:
        with self.lock:
            self.calls.append(call)
            self.standing = standing
            self.store.journal.add_event("info", f"{call} was asked for")

    def advance(self, rounds: int = 1) -> None:
        """Do rounds, as far as the swarm is running."""
        for _ in range(rounds):
            with self.lock:
                if self.standing != "running" or self.round >= self.rounds:
                    return
                self._publish(self.round + 1)
                self._move(self.round + 1)
                self.round += 1
                self.store.journal.add_event("info", f"round {self.round} of {self.rounds} is complete")
                if self.round == self.rounds:
                    self._finish()

    def run(self, every_sec: float, ending: threading.Event) -> None:
        """Do a round every so often."""
        while not ending.wait(every_sec):
            self.advance()

    def _publish(self, number: int) -> None:
        for index in range(self.count):
            speed = (0.9, 0.45, 0.12, 0.6)[index % 4]
            loss = 2.4 * math.exp(-speed * number / 3) + 0.35 + 0.1 * float(self.rng.normal())
            before = self.store.journal.publication(index, number - 1)
            is_best = before is None or -loss > before.best_fitness
            best = (number, -loss) if is_best else (before.best_round, before.best_fitness)
            share = 1 - loss / 3
            row = {"epoch": number, "loss": 0.8 * loss, "accuracy": share, "val_loss": loss, "val_accuracy": share}
            digests = [f"{index:02x}{number:04x}{kind:02x}" for kind in range(3)]
            train_sec = 4 + 0.5 * index + float(self.rng.random())
            rate = RATES[index % 4] * (10 ** float(self.rng.uniform(-1, 1)) if index == 3 else 1)
            self.store.journal.add_publication(Publication(index, number, -loss, *best, *digests, rate, row, train_sec))

    def _move(self, number: int) -> None:
        members = tuple(range(self.count))
        self.store.journal.close_round(number, members)
        spots = self.rng.normal(size=(self.count, 2)) + np.arange(self.count)[:, None]
        published = self.store.journal.published(number)
        for index in members:
            distances = np.linalg.norm(spots - spots[index], axis=1) * 3
            order = tuple(int(other) for other in np.argsort(distances, kind="stable")[: max(1, self.count - 1)])
            chosen = max(order, key=lambda other: published[other].best_fitness)
            weights = tuple(0.2 / float(distances[other]) for other in order if other != index)
            sizes = dict(
                zip(
                    ("own", "neighbours", "own_best", "neighbourhood_best"),
                    10.0 ** self.rng.uniform(-2, 1, 4),
                    strict=True,
                )
            )
            terms = {name: float(size) for name, size in sizes.items()} | {"total": float(sum(sizes.values()))}
            draws = tuple(float(value) for value in self.rng.random(2))
            wait_sec = float(self.rng.random()) * 2
            move = Move(
                index,
                number,
                members,
                tuple(map(float, distances)),
                order,
                chosen,
                draws,
                weights,
                terms,
                "aa",
                0.3,
                wait_sec,
            )
            self.store.journal.add_move(move)

    def _finish(self) -> None:
        self.standing = "finished"
        last = self.store.journal.published(self.rounds)
        best = max(last, key=lambda index: last[index].best_fitness)
        particles = [
            {
                "index": index,
                "name": name_of(index),
                "learning_rate": RATES[index % 4],
                "rounds": self.rounds,
                "best_round": last[index].best_round,
                "best_fitness": last[index].best_fitness,
                "validation_top1": 0.8 + 0.02 * index,
                "test_top1": 0.75 + 0.02 * index,
                "test_top5": 0.98,
                "coverage": 1.0,
                "run": f"particles/{name_of(index)}",
            }
            for index in range(self.count)
        ]
        self.result = {"best": best, "particles": particles}
