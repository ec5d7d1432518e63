"""The server of `swarm-simulate`: rounds in parts are rounds in one go, and bad questions are refused."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from keras_actrec import cli
from keras_actrec.errors import UserError
from keras_actrec.swarm.simulation import application
from keras_actrec.swarm.simulation.landscapes import LANDSCAPES, landscape
from keras_actrec.swarm.simulation.rounds import Rules, play, start

POST = {"X-Swarm": "1"}
RULES = {"landscape": "ackley", "particles": 5, "neighbours": 2, "seed": 4}


@pytest.fixture
def client() -> TestClient:
    return TestClient(application.create_app(host="127.0.0.1", token=None), base_url="http://127.0.0.1")


def ask(client: TestClient, rules: dict[str, Any], state: dict[str, Any] | None = None, rounds: int = 1) -> Any:
    answer = client.post("/api/rounds", json={"rules": rules, "state": state, "rounds": rounds}, headers=POST)
    assert answer.status_code == 200, answer.text
    return answer.json()


def state_of(frame: dict[str, Any]) -> dict[str, Any]:
    return {name: frame[name] for name in ("round", "positions", "bests", "losses")}


def test_rounds_in_parts_are_the_rounds_of_the_simulation(client: TestClient) -> None:
    frames = ask(client, RULES, rounds=3)["rounds"]
    frames += ask(client, RULES, state_of(frames[-1]), 4)["rounds"]
    rules = Rules(**RULES)
    state = start(rules)
    assert np.array_equal(frames[0]["before"], state.positions)
    for frame in frames:
        state, told = play(rules, state)
        assert frame["round"] == told.number
        for name, wanted in (("positions", state.positions), ("after", told.after), ("bests", told.bests)):
            assert np.array_equal(frame[name], wanted)
        assert [tuple(order) for order in frame["orders"]] == list(told.orders)


def test_rules_may_change_between_rounds(client: TestClient) -> None:
    (first,) = ask(client, RULES)["rounds"]
    (same,) = ask(client, RULES, state_of(first))["rounds"]
    (other,) = ask(client, RULES | {"c2": 2.0, "landscape": "sphere"}, state_of(first))["rounds"]
    assert same["before"] == other["before"] == first["positions"]
    assert same["positions"] != other["positions"]


def test_no_round_gives_the_beginning(client: TestClient) -> None:
    found = ask(client, RULES, rounds=0)
    assert found["rounds"] == []
    assert np.array_equal(found["start"], start(Rules(**RULES)).positions)


def test_much_work_comes_in_smaller_parts(client: TestClient) -> None:
    found = ask(client, {"particles": 60, "neighbours": 59}, rounds=20)
    assert 1 <= len(found["rounds"]) < 20


@pytest.mark.parametrize(
    ("rules", "state"),
    [
        ({"particles": 61}, None),
        ({"particles": 0}, None),
        ({"steps": 51}, None),
        ({"dimensions": 3}, None),
        ({"landscape": "hill"}, None),
        ({"c1": -1}, None),
        ({"beta": 0}, None),
        ({"colour": 1}, None),
        ({"particles": 2}, {"round": 1, "positions": [[0, 0]], "bests": [[0, 0]], "losses": [1]}),
        ({"particles": 1}, {"round": 1, "positions": [[0, 0]], "bests": [[0, 0]], "losses": []}),
        ({"particles": 1}, {"round": 1, "positions": [[0, 0, 0]], "bests": [[0, 0]], "losses": [1]}),
        ({"particles": 1}, {"round": 0, "positions": [[0, 0]], "bests": [[0, 0]], "losses": [1]}),
        ({"particles": 1}, {"round": 1, "positions": [["a", 0]], "bests": [[0, 0]], "losses": [1]}),
    ],
)
def test_bad_questions_are_refused(client: TestClient, rules: dict[str, Any], state: dict[str, Any] | None) -> None:
    answer = client.post("/api/rounds", json={"rules": rules, "state": state}, headers=POST)
    assert answer.status_code in (409, 422)
    assert answer.json()["detail"]


def test_numbers_that_are_none_are_refused(client: TestClient) -> None:
    for word in ("NaN", "Infinity", "1e999"):
        state = f'{{"round": 1, "positions": [[{word}, 0]], "bests": [[0, 0]], "losses": [1]}}'
        text = f'{{"rules": {{"particles": 1}}, "state": {state}}}'
        answer = client.post("/api/rounds", content=text, headers=POST | {"content-type": "application/json"})
        assert answer.status_code == 422


def test_huge_numbers_are_told_as_a_swarm_that_flew_apart(client: TestClient) -> None:
    state = {"round": 1, "positions": [[1e200, 0]], "bests": [[0, 0]], "losses": [1]}
    answer = client.post("/api/rounds", json={"rules": {"particles": 1}, "state": state}, headers=POST)
    assert answer.status_code == 409
    assert "flew apart" in answer.json()["detail"]


@pytest.mark.parametrize("name", LANDSCAPES)
def test_landscapes_are_drawn_as_they_are(client: TestClient, name: str) -> None:
    found = client.get(f"/api/landscapes/{name}").json()
    heights, field = np.array(found["heights"]), landscape(name)
    assert heights.shape == (application.GRID, application.GRID)
    assert (heights.min(), heights.max()) == (0, 1)
    rows, columns = np.nonzero(heights == 0)
    places = (2 * np.stack([columns, rows], axis=1) / (application.GRID - 1) - 1) * field.reach
    cell = 2 * field.reach / application.GRID
    assert np.linalg.norm(np.array(field.minima)[:, None] - places, axis=-1).min() < cell


def test_other_sites_and_names_are_kept_out(client: TestClient) -> None:
    body = {"rules": {}, "rounds": 0}
    assert client.post("/api/rounds", json=body).status_code == 403
    assert client.post("/api/rounds", json=body, headers=POST | {"origin": "http://elsewhere"}).status_code == 403
    assert client.get("/", headers={"host": "elsewhere"}).status_code == 403
    assert "default-src 'none'" in client.get("/").headers["content-security-policy"]
    assert client.get("/static/rounds.py").status_code == 404
    assert client.get("/api/landscapes/hill").status_code == 409


def test_a_page_that_others_reach_needs_a_token() -> None:
    with pytest.raises(UserError, match="--token"):
        application.create_app(host="0.0.0.0", token=None)
    client = TestClient(application.create_app(host="0.0.0.0", token="word"), base_url="http://127.0.0.1")
    assert client.get("/").status_code == 401
    assert client.get("/", headers={"Authorization": "Bearer word"}).status_code == 200


def test_mistakes_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["swarm-simulate", "--port", "99999"]) == 1
    assert "--port: expected 0 to 65535" in capsys.readouterr().err
    assert cli.main(["swarm-simulate", "--host", "0.0.0.0"]) == 1
    assert "expected --token" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["swarm-simulate", "--port", str(taken.getsockname()[1])]) == 1
    assert "cannot listen" in capsys.readouterr().err
