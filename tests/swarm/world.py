"""A swarm's server with a clock, processes and a store that tests control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests_support import publication

from keras_actrec.config import parse_config
from keras_actrec.swarm.coordinator import Coordinator
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.launcher import Ended, with_code
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.swarm.state import Command, Phase, Sign
from keras_actrec.swarm.store import MemoryStore

RESULT = {
    "run": "somewhere",
    "best_epoch": 2,
    "validation_top1": 0.5,
    "test_top1": 0.25,
    "test_top5": 0.75,
    "coverage": 1.0,
    "evaluated": 8,
    "params": 10,
}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Processes:
    """A launcher without processes."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.killed: list[int] = []
        self.codes: dict[int, int] = {}
        self.lost: set[int] = set()
        self.waiting: set[int] = set()

    def start(self, particle: int) -> int:
        self.started.append(particle)
        self.codes.pop(particle, None)
        self.lost.discard(particle)
        return 1000 + len(self.started)

    def ended(self, particle: int) -> Ended | None:
        if particle in self.lost:
            return Ended("its node was lost", is_fault=False)
        code = self.codes.get(particle)
        return None if code is None else with_code(code, self.last_line(particle))

    def waits(self, particle: int) -> str | None:
        return "no place" if particle in self.waiting else None

    def runs(self, particle: int) -> bool:
        return particle in self.started and particle not in self.codes

    def kill(self, particle: int) -> None:
        self.killed.append(particle)
        self.codes[particle] = -9

    def kill_all(self) -> None:
        for particle in set(self.started):
            self.kill(particle)

    def last_line(self, particle: int) -> str:
        return f"last words of {particle}"


class World:
    """A swarm of two (or more), its clock, processes and store."""

    def __init__(self, output: Path, *, by_hand: bool = False, epochs: int = 3, **swarm: Any) -> None:
        document = {"output": str(output), "training": {"epochs": epochs}, "swarm": {"particles": 2, **swarm}}
        self.clock, self.processes, self.store = Clock(), Processes(), MemoryStore()
        self.directory = SwarmDirectory.create(parse_config(document, kind=SwarmConfig))
        self.by_hand = by_hand
        self.coordinator = self.resume()

    def resume(self) -> Coordinator:
        """A server that begins, or comes back, over what is committed."""
        launcher = None if self.by_hand else self.processes
        self.coordinator = Coordinator(self.directory, self.store, launcher, self.clock)
        self.coordinator.start()
        return self.coordinator

    def join(self, *particles: int) -> None:
        for particle in particles:
            self.coordinator.join(particle, f"process of {particle}", 4000 + particle, "here")

    def sign(self, particle: int, phase: Phase = Phase.TRAINING, number: int = 1) -> Command:
        return self.coordinator.alive(particle, f"process of {particle}", Sign(phase, number, 3, 9))

    def publish(self, particle: int, number: int, **changes: object) -> None:
        told = publication(particle, number, **changes)
        self.coordinator.publish(particle, f"process of {particle}", told)

    def others(self, particle: int, number: int) -> list[int] | None:
        found = self.coordinator.publications(particle, f"process of {particle}", number)
        return None if found is None else [item.particle for item in found]

    def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.coordinator.tick()

    def row(self, particle: int) -> dict[str, Any]:
        return self.coordinator.snapshot()["particles"][particle]
