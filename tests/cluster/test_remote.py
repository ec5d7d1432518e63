"""What becomes of Ray's answers: exit codes, lost nodes, broken lines, and what is started again."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pretended_ray import NO_MEMORY, NODE_DIED, WORKER_DIED, ActorUnavailableError, Cluster, Ray, RayError, placed

from keras_actrec.cluster.guardian import PARENT, PYTHON, Job
from keras_actrec.cluster.remote import Ended, Remote
from keras_actrec.cluster.steady import GONE, TRIES, Steady, check_patience
from keras_actrec.config import parse_config
from keras_actrec.errors import UserError
from keras_actrec.swarm import ray_launcher
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.ray_launcher import RayLauncher
from keras_actrec.swarm.settings import SwarmConfig


@pytest.fixture(autouse=True)
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    pretended = Ray()
    monkeypatch.setitem(sys.modules, "ray", pretended)
    return pretended


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job((PYTHON,), str(tmp_path), str(tmp_path / "console.txt"), {})


def test_a_process_waits_runs_and_ends(ray: Ray, cluster: Cluster, job: Job) -> None:
    remote = Remote(cluster, job)
    (actor,) = cluster.actors
    assert (remote.started, remote.ended, remote.runs) == (None, None, False)
    placed(actor)
    assert remote.started.host == "host of n1"
    assert remote.runs
    actor.wait.answers[0].give(-9)
    assert remote.ended == Ended(-9)
    assert not remote.runs
    assert ray.killed == [actor], "its place is given back"


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (NODE_DIED, Ended(None, "its node host of n1 was lost", lost=True)),
        (WORKER_DIED, Ended(None, "Ray has ended it: its worker process has died")),
        (NO_MEMORY, Ended(None, "Ray has ended it: too little memory on its node")),
    ],
)
def test_what_ray_reports_becomes_a_sentence(cluster: Cluster, job: Job, error: RayError, wanted: Ended) -> None:
    remote = Remote(cluster, job)
    placed(cluster.actors[0])
    cluster.actors[0].wait.answers[0].give(error)
    assert remote.ended == wanted


def test_any_end_on_a_node_that_is_gone_is_the_nodes(cluster: Cluster, job: Job) -> None:
    remote = Remote(cluster, job)
    placed(cluster.actors[0])
    cluster.alive = {"n0"}
    cluster.actors[0].wait.answers[0].give(WORKER_DIED)
    assert remote.ended.lost


def test_a_node_that_is_lost_before_the_process_began(cluster: Cluster, job: Job) -> None:
    remote = Remote(cluster, job)
    cluster.actors[0].start.answers[0].give(NODE_DIED)
    assert remote.ended is None or remote.started is None
    assert remote.ended == Ended(None, "its node was lost", lost=True)


def test_an_error_inside_the_actor_is_told_as_it_is(cluster: Cluster, job: Job) -> None:
    error = RayError("ray::Guardian.start() many lines")
    error.cause = FileNotFoundError("the node n1 has no folder /shared")
    remote = Remote(cluster, job)
    cluster.actors[0].start.answers[0].give(error)
    assert remote.started is None
    assert remote.ended == Ended(None, "the node n1 has no folder /shared")


def test_a_broken_line_is_asked_again(cluster: Cluster, job: Job) -> None:
    remote = Remote(cluster, job)
    (actor,) = cluster.actors
    placed(actor)
    actor.wait.answers[0].give(ActorUnavailableError("socket closed"))
    assert remote.ended is None and remote.runs
    actor.wait.answers[1].give(0)
    assert remote.ended == Ended(0)


def test_killing_asks_the_actor_first_and_ends_it_in_any_case(ray: Ray, cluster: Cluster, job: Job) -> None:
    waiting, running = Remote(cluster, job), Remote(cluster, job)
    placed(cluster.actors[1])
    for remote in (waiting, running):
        remote.kill()
        assert not remote.runs
        assert remote.ended is not None
    assert [len(actor.end.answers) for actor in cluster.actors] == [0, 1]
    assert ray.killed == cluster.actors


def test_what_goes_on_by_itself_is_started_again_as_often_as_nodes_are_lost(cluster: Cluster, job: Job) -> None:
    process = Steady(cluster, job)
    for _ in range(TRIES + 2):
        placed(cluster.actors[-1])
        cluster.actors[-1].wait.answers[0].give(NODE_DIED)
        assert process.code is None
    assert len(cluster.actors) == TRIES + 3
    placed(cluster.actors[-1])
    assert process.code is None
    cluster.actors[-1].wait.answers[0].give(3)
    assert process.code == 3, "an exit code is final"
    assert "its node host of n1 was lost; started again" in Path(job.console).read_text()


def test_what_ray_ends_again_and_again_is_given_up(cluster: Cluster, job: Job) -> None:
    process = Steady(cluster, job)
    for tried in range(1, TRIES + 1):
        placed(cluster.actors[-1])
        cluster.actors[-1].wait.answers[0].give(NO_MEMORY)
        assert process.code == (GONE if tried == TRIES else None)
    assert len(cluster.actors) == TRIES
    last = Path(job.console).read_text().splitlines()[-1]
    assert last == "error: Ray has ended it: too little memory on its node."


def test_patience_ends_when_none_has_a_place(cluster: Cluster, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Steady(cluster, job), Steady(cluster, job)
    check_patience(cluster, [])
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 99)
    check_patience(cluster, [first, second])
    monkeypatch.setattr(time, "monotonic", lambda: now + 101)
    with pytest.raises(UserError, match="nothing could be started for 100 s: no place, 2 of them"):
        check_patience(cluster, [first, second])
    placed(cluster.actors[0])
    check_patience(cluster, [first, second])


def test_the_launcher_of_a_swarm(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config({"output": str(tmp_path), "swarm": {"particles": 2}}, kind=SwarmConfig)
    swarm = SwarmDirectory.create(config)
    launcher = RayLauncher(swarm, cluster, workers=3)
    jobs: list[Job] = []
    monkeypatch.setattr(ray_launcher, "Remote", lambda where, job: jobs.append(job) or Remote(where, job))
    assert (launcher.ended(0), launcher.waits(0), launcher.runs(0)) == (None, None, False)
    assert launcher.start(0) is None
    (job,) = jobs
    assert job.command[:3] == (PYTHON, "-m", "keras_actrec.swarm.particle")
    assert job.command[3:] == ("--swarm", str(swarm.path), "--particle", "1", "--workers", "3", "--parent", PARENT)
    assert job.environment == {"KERAS_BACKEND": "tensorflow"}
    assert launcher.waits(0) is None, "Ray needs a moment to start a worker"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    assert launcher.waits(0) == "no place, 1 of them"
    placed(cluster.actors[0])
    assert launcher.waits(0) is None and launcher.runs(0)
    swarm.console(0).write_text("error: why\n")
    cluster.actors[0].wait.answers[0].give(1)
    assert launcher.ended(0).reason == "its process ended with code 1 (error: why)"
    assert launcher.ended(0).is_fault
    launcher.start(0)
    placed(cluster.actors[1])
    cluster.actors[1].wait.answers[0].give(NODE_DIED)
    assert launcher.ended(0).reason == "its node host of n1 was lost"
    assert not launcher.ended(0).is_fault
    launcher.start(1)
    launcher.kill_all()
    assert not launcher.runs(1)
    swarm.close()
