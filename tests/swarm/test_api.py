"""The particles' API: who may ask, what is answered, and what a particle's line makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from lossy import Lossy
from starlette.testclient import TestClient
from tests_support import move, publication

from keras_actrec.config import parse_config
from keras_actrec.errors import StopRequestedError, UserError
from keras_actrec.swarm import link as link_module
from keras_actrec.swarm.api import create_router
from keras_actrec.swarm.bucket import StoreError
from keras_actrec.swarm.coordinator import Coordinator
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.journal import StorageFullError
from keras_actrec.swarm.link import LeaveError, Link, OccupiedError, stop_requested
from keras_actrec.swarm.particle import Pulse
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.swarm.state import Command, Phase, Sign, to_json
from keras_actrec.swarm.store import MemoryStore

TOKEN = "secret"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Player": "me"}


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    document = {"output": str(tmp_path), "training": {"epochs": 3}, "swarm": {"particles": 2, "launcher": "manual"}}
    made = Coordinator(SwarmDirectory.create(parse_config(document, kind=SwarmConfig)), MemoryStore(), None)
    made.start()
    return made


@pytest.fixture
def client(coordinator: Coordinator) -> TestClient:
    app = FastAPI()
    app.include_router(create_router(coordinator, TOKEN))
    client = TestClient(app, headers=HEADERS)
    client.post("/particles/0/join", json={"pid": 1, "host": "here"}).raise_for_status()
    return client


def publish(client: TestClient, particle: int, number: int, **changes: Any) -> Any:
    body = to_json(publication(particle, number, **changes))
    return client.post(f"/particles/{particle}/rounds/{number}/publication", json=body)


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer", f"Basic {TOKEN}"])
def test_without_the_token_nothing_is_answered(client: TestClient, authorization: str) -> None:
    answer = client.post("/particles/0/join", json={"pid": 1, "host": "x"}, headers={"Authorization": authorization})
    assert answer.status_code == 401


def test_a_round_over_http(client: TestClient) -> None:
    client.post("/particles/1/join", json={"pid": 2, "host": "here"}).raise_for_status()
    assert client.get("/particles/0/rounds/1/publication").json() == {"publication": None}
    told = publish(client, 0, 1).json()["publication"]
    assert told == to_json(publication(0, 1))
    assert client.get("/particles/0/rounds/1").json() == {"publications": None}
    publish(client, 1, 1).raise_for_status()
    found = client.get("/particles/0/rounds/1").json()["publications"]
    assert [item["particle"] for item in found] == [0, 1]
    sent = client.post("/particles/0/rounds/1/move", json=to_json(move(0, 1)))
    assert sent.json() == client.get("/particles/0/rounds/1/move").json()


def test_waiting_ends_as_soon_as_the_round_is_closed(client: TestClient, coordinator: Coordinator) -> None:
    coordinator.join(1, "other", 2, "here")
    publish(client, 0, 1)
    timer = threading.Timer(0.2, lambda: coordinator.publish(1, "other", publication(1, 1)))
    timer.start()
    began = time.monotonic()
    answer = client.get("/particles/0/rounds/1?wait_sec=20").json()
    timer.join()
    assert answer["publications"] is not None
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/particles/5/join", {"pid": 1, "host": "x"}, 409),
        ("/particles/0/rounds/2/publication", to_json(publication(0, 1)), 409),
        ("/particles/0/rounds/1/publication", {"particle": 0}, 409),
        ("/particles/0/rounds/1/publication", to_json(publication(0, 1)) | {"surprise": 1}, 409),
        ("/particles/0/alive", {"phase": "dreaming", "round": 1}, 422),
        ("/particles/zero/join", {"pid": 1, "host": "x"}, 422),
    ],
)
def test_what_does_not_fit_is_refused(client: TestClient, path: str, body: dict[str, Any], status: int) -> None:
    assert client.post(path, json=body).status_code == status


def test_another_process_is_told_to_leave(client: TestClient) -> None:
    answer = client.post(
        "/particles/0/alive", json={"phase": "training", "round": 1}, headers={**HEADERS, "X-Player": "somebody else"}
    )
    assert answer.status_code == 410


def test_a_full_disk_stops_the_swarm(
    client: TestClient, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFullError("journal")

    monkeypatch.setattr(coordinator.store.journal, "add_publication", full)
    assert publish(client, 0, 1).status_code == 503
    assert coordinator.ending


@contextlib.contextmanager
def serving(coordinator: Coordinator, token: str, around: Callable[[FastAPI], Any] = lambda app: app) -> Iterator[Any]:
    """A real server on a free port, which server.json names."""
    routes = FastAPI()
    routes.include_router(create_router(coordinator, token))
    app = around(routes)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        coordinator.swarm.publish_server(f"http://127.0.0.1:{port}", token)
        yield app
    finally:
        server.should_exit = True
        thread.join(30)


def test_a_particle_finds_a_server_that_came_back_elsewhere_with_another_token(coordinator: Coordinator) -> None:
    link = Link(coordinator.swarm, 0, server_sec=30)
    with serving(coordinator, "first"):
        link.join()
        assert link.publish(publication(0, 1)) == publication(0, 1)
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(link.publication(1)))
    asking.start()
    time.sleep(0.3)
    with serving(coordinator, "second"):
        asking.join(20)
    link.close()
    assert answers == [publication(0, 1)]


def test_a_server_that_stays_away_is_given_up_with_a_sentence(coordinator: Coordinator) -> None:
    link = Link(coordinator.swarm, 0, server_sec=0.2)
    with pytest.raises(UserError, match=r"has not answered for 0 s .* --resume"):
        link.join()
    link.close()


def test_who_takes_the_place_of_a_killed_process_waits_until_it_is_silent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator = make(tmp_path, silence_sec=0.5)
    with serving(coordinator, TOKEN):
        killed, new = Link(coordinator.swarm, 0, 30), Link(coordinator.swarm, 0, 30)
        killed.join()
        assert new.join() == {"last_round": 0}
        assert new.alive(Sign(Phase.TRAINING, 1)) is Command.RUN
        killed.close(), new.close()
    assert capsys.readouterr().out.count("If it has ended, this process takes its place") == 1


def test_who_wants_the_place_of_one_that_lives_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "LAST_PAUSE_SEC", 0.05)
    coordinator = make(tmp_path, silence_sec=0.5)
    with serving(coordinator, TOKEN):
        alive, new = Link(coordinator.swarm, 0, 30), Link(coordinator.swarm, 0, 30)
        alive.join()
        monkeypatch.setattr(coordinator, "_silent_sec", lambda player: 0.0)
        with pytest.raises(OccupiedError, match="being played by process"):
            new.join()
        alive.close(), new.close()


def test_leaving_stopping_and_refusals_reach_the_particle(coordinator: Coordinator) -> None:
    with serving(coordinator, TOKEN):
        old, new = Link(coordinator.swarm, 0, 5), Link(coordinator.swarm, 1, 5)
        old.join(), new.join()
        coordinator._players[0].player = "another"
        with pytest.raises(LeaveError):
            old.alive(Sign(Phase.TRAINING, 1))
        with pytest.raises(UserError, match="finite"):
            # httpx would refuse to send NaN, so the number is one that becomes infinite on the way.
            new._ask("POST", "rounds/1/publication", to_json(publication(1, 1)) | {"fitness": "1e999"})
        coordinator.stop()
        assert new.alive(Sign(Phase.TRAINING, 1)) is Command.STOP

        def check() -> None:
            raise stop_requested()

        with pytest.raises(StopRequestedError):
            new.others(1, check)
        old.close(), new.close()


def test_a_particle_whose_server_is_gone_says_so_once_and_ends(coordinator: Coordinator) -> None:
    swarm = coordinator.swarm
    config = swarm.config.swarm.model_copy(update={"server_sec": 0.3, "heartbeat_sec": 0.05})
    swarm.config = swarm.config.model_copy(update={"swarm": config})
    pulse = Pulse(swarm, 0, None)
    with serving(coordinator, TOKEN):
        pulse.link.join()
        pulse.start()
    deadline = time.monotonic() + 20
    with pytest.raises(UserError, match="has not answered") as caught:
        while time.monotonic() < deadline:
            pulse.obey()
            time.sleep(0.01)
    began = time.monotonic()
    pulse.confess(caught.value)
    pulse.close()
    assert time.monotonic() - began < 5


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_pause_holds_the_particle_and_is_not_counted_as_training(coordinator: Coordinator) -> None:
    swarm = coordinator.swarm
    config = swarm.config.swarm.model_copy(update={"heartbeat_sec": 0.02})
    swarm.config = swarm.config.model_copy(update={"swarm": config})
    with serving(coordinator, TOKEN):
        pulse = Pulse(swarm, 0, None)
        pulse.link.join()
        pulse.sign = Sign(Phase.TRAINING, 1, 2, 9)
        coordinator.pause()
        pulse.start()
        until(lambda: pulse._command is Command.PAUSE)
        timer = threading.Timer(0.5, coordinator.resume)
        timer.start()
        began = time.monotonic()
        pulse.obey()
        assert time.monotonic() - began > 0.3
        assert pulse.paused_sec > 0.3
        assert pulse.sign == Sign(Phase.TRAINING, 1, 2, 9)
        coordinator.stop()
        until(lambda: pulse._command is Command.STOP)
        with pytest.raises(StopRequestedError):
            pulse.obey()
        timer.join()
        pulse.close()


def make(folder: Path, **swarm: Any) -> Coordinator:
    document = {"output": str(folder), "training": {"epochs": 3}, "swarm": {"particles": 2, "launch": "none", **swarm}}
    made = Coordinator(SwarmDirectory.create(parse_config(document, kind=SwarmConfig)), MemoryStore(), None)
    made.start()
    return made


def play(coordinator: Coordinator, around: Callable[[FastAPI], Any]) -> tuple[list[Any], Any]:
    """Let two particles play three rounds, and return all that they were told."""
    heard: list[Any] = [[], []]

    def one(index: int) -> None:
        link = Link(coordinator.swarm, index, server_sec=60)
        told = heard[index]
        told.append(link.join())
        for number in range(1, 4):
            told.append(link.alive(Sign(Phase.TRAINING, number)))
            told.append(link.publication(number))
            told.append(link.publish(publication(index, number)))
            told.append(link.publish(publication(index, number, fitness=-9.0)))
            if number < 3:
                told.append(link.others(number, lambda: None))
                told.append(link.move(number))
                told.append(link.moved(move(index, number, before="d" * 32)))
                told.append(link.moved(move(index, number)))
        link.finish({"test_top1": 0.5, "run": "x"})
        link.close()

    with serving(coordinator, TOKEN, around) as app:
        threads = [threading.Thread(target=one, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    return heard, app


def test_on_a_bad_network_particles_hear_the_same_and_the_journal_holds_the_same(tmp_path: Path) -> None:
    outcomes = []
    for name, share in (("quiet", 0.0), ("bad", 0.6)):
        coordinator = make(tmp_path / name)
        heard, lossy = play(coordinator, lambda app, share=share: Lossy(app, share, seed=3))
        journal = coordinator.store.journal
        events = sorted((event.level, str(event.particle), event.text) for event in journal.events())
        published, moves = (
            sorted(rows, key=str)
            for rows in ([one for _, one in journal.publications()], [one for _, one in journal.moves()])
        )
        outcomes.append((heard, published, moves, [journal.members(n) for n in (1, 2)], events))
    assert set(lossy.struck) == {"refused", "lost", "cut", "twice", "slow", "page"}, lossy.struck
    quiet, bad = outcomes
    assert bad == quiet


def test_a_failure_that_is_told_twice_is_one_failure(client: TestClient, coordinator: Coordinator) -> None:
    for _ in range(2):
        client.post("/particles/0/fail", json={"message": "diverged", "kind": "user"}).raise_for_status()
    assert [event.text for event in coordinator.store.journal.events()] == ["cannot go on: diverged"]


def test_a_store_that_fails_a_particle_stops_the_swarm_for_a_resume(coordinator: Coordinator) -> None:
    with serving(coordinator, TOKEN):
        pulse = Pulse(coordinator.swarm, 0, None)
        pulse.link.join()
        pulse.confess(StoreError("s3://swarms/x", "it has not answered for 120 s", "check the network"))
        pulse.close()
    assert coordinator.ending
    (event,) = coordinator.store.journal.events()
    assert event.level == "error"
    assert event.text.startswith("particle-1: expected the store s3://swarms/x to work") and "resume" in event.text


def test_who_hears_no_answer_to_its_last_words_ends_well_when_the_swarm_has_finished(tmp_path: Path) -> None:
    coordinator = make(tmp_path)
    link = Link(coordinator.swarm, 0, server_sec=30)
    coordinator.swarm.result.write_text("{}")
    began = time.monotonic()
    link.finish({"test_top1": 0.5})
    with pytest.raises(UserError, match="has finished"):
        link.alive(Sign(Phase.TRAINING, 1))
    link.close()
    assert time.monotonic() - began < 10


def test_a_sign_of_life_that_hangs_is_repeated_before_the_server_thinks_that_nobody_lives(tmp_path: Path) -> None:
    coordinator = make(tmp_path, silence_sec=4)
    hanging = [True]

    class Hanging:
        def __init__(self, app: FastAPI) -> None:
            self._app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"].endswith("alive") and hanging:
                hanging.pop()
                await asyncio.sleep(10)
            await self._app(scope, receive, send)

    with serving(coordinator, TOKEN, Hanging):
        link = Link(coordinator.swarm, 0, server_sec=30)
        link.join()
        began = time.monotonic()
        assert link.alive(Sign(Phase.TRAINING, 1)) is Command.RUN
        assert time.monotonic() - began < 4, "the server would have given it up"
        link.close()
