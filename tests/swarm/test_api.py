"""The particles' API: who may ask, what is answered, and what a particle's line makes of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests_support import move, publication

from keras_actrec.config import parse_config
from keras_actrec.errors import StopRequestedError, UserError
from keras_actrec.swarm.api import create_router
from keras_actrec.swarm.coordinator import Coordinator
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.journal import StorageFullError
from keras_actrec.swarm.link import LeaveError, Link, stop_requested
from keras_actrec.swarm.particle import Pulse
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.swarm.state import Command, Phase, Sign, to_json
from keras_actrec.swarm.store import MemoryStore

TOKEN = "secret"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Player": "me"}


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    document = {"output": str(tmp_path), "training": {"epochs": 3}, "swarm": {"particles": 2, "launch": "none"}}
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
def serving(coordinator: Coordinator, token: str) -> Iterator[None]:
    """A real server on a free port, which server.json names."""
    app = FastAPI()
    app.include_router(create_router(coordinator, token))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        coordinator.swarm.publish_server(f"http://127.0.0.1:{port}", token)
        yield
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
        time.sleep(0.3)
        timer = threading.Timer(0.5, coordinator.resume)
        timer.start()
        began = time.monotonic()
        pulse.obey()
        assert time.monotonic() - began > 0.3
        assert pulse.paused_sec > 0.3
        assert pulse.sign == Sign(Phase.TRAINING, 1, 2, 9)
        coordinator.stop()
        time.sleep(0.3)
        with pytest.raises(StopRequestedError):
            pulse.obey()
        timer.join()
        pulse.close()
