"""Repetitions of a comparison on a cluster, with processes that only write what real ones would."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keras_actrec import files
from keras_actrec.cluster.guardian import PYTHON, Job
from keras_actrec.cluster.shares import Demand, Node
from keras_actrec.errors import UserError
from keras_actrec.swarm import compare_ray, compare_run
from keras_actrec.swarm.compare_settings import CompareConfig

TODO = [(1, 1), (2, 1), (3, 1), (4, 1)]


class World:
    """A cluster of two nodes with a core each, and its processes: each finishes an arm whenever it is looked at."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.jobs: list[Job] = []
        self.running: list[Process] = []
        self.most = 0
        self.fails: set[str] = set()
        nodes = [Node(name, name, name, 1, 0) for name in ("n0", "n1")]
        self.cluster = SimpleNamespace(nodes=nodes, demand=Demand(1), threads=3, wait_sec=9.0, environment=dict)

    @contextlib.contextmanager
    def join(self, *_: object) -> Iterator[SimpleNamespace]:
        yield self.cluster

    def process(self, _: object, job: Job) -> Process:
        self.jobs.append(job)
        self.running.append(Process(self, job))
        self.most = max(self.most, len(self.running))
        return self.running[-1]


class Process:
    """In place of `Steady`."""

    waited_sec = 0.0

    def __init__(self, world: World, job: Job) -> None:
        self._world = world
        self._console = Path(job.console)
        self.seed = job.command[job.command.index("--seed") + 1]
        self._arms = iter(("independent", "average"))

    @property
    def code(self) -> int | None:
        if self.seed in self._world.fails:
            self._console.write_text("error: no clips\n")
            return 1
        arm = next(self._arms, None)
        if arm is None:
            return 0
        files.write_json(compare_run.result_path(self._world.directory, arm, int(self.seed), 1), {})
        return None

    def kill(self) -> None:
        if self in self._world.running:
            self._world.running.remove(self)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setattr(compare_ray, "Cluster", made.join)
    monkeypatch.setattr(compare_ray, "Steady", made.process)
    monkeypatch.setattr(compare_ray, "POLL_SEC", 0.0)
    return made


def config_of(**section: Any) -> CompareConfig:
    arms = ["independent", "average"]
    return CompareConfig.model_validate({"compare": {"arms": arms, "launcher": "ray", **section}})


@pytest.mark.parametrize(("processes", "most"), [(None, 2), (1, 1), (3, 3)])
def test_as_many_run_as_fit_or_as_are_wanted(world: World, processes: int | None, most: int) -> None:
    told: list[tuple[str, int, int]] = []
    compare_ray.train(config_of(processes=processes), world.directory, TODO, lambda *swarm: told.append(swarm))
    assert sorted(told) == [(arm, *pair) for arm in ("average", "independent") for pair in TODO]
    assert world.most == most
    assert world.running == []


def test_a_repetition_is_the_process_that_this_machine_would_start(world: World) -> None:
    compare_ray.train(config_of(), world.directory, [(7, 1)], lambda *_: None)
    (job,) = world.jobs
    assert job.command == (PYTHON, *compare_run.arguments(world.directory, 7, 1, 3))
    assert job.environment["OMP_NUM_THREADS"] == "3"


def test_one_that_fails_ends_the_others_and_is_told(world: World) -> None:
    world.fails = {"2"}
    with pytest.raises(UserError, match=r"seed 2, fold 1 ended with code 1: no clips"):
        compare_ray.train(config_of(), world.directory, TODO, lambda *_: None)
    assert world.running == []
    assert len(world.jobs) == 2, "nothing else was begun"
