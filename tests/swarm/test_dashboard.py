import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parent))  # for pretended.py

import pretended

from keras_actrec.errors import UserError
from keras_actrec.swarm.dashboard import (
    application,
    assets,
    create_app,
    history,
    lineage,
    pages,
    save_hiplot,
    save_report,
    updates,
)
from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.state import Move, Publication
from keras_actrec.web import security

HERE, TOKEN = "127.0.0.1", "correct horse, b\u00e4ttery"
OWN = {"X-Swarm": "page"}
PAGES = ("/", "/history", "/hiplot", "/docs")
READ = (*PAGES, "/openapi.json", "/api/state", "/api/updates", "/api/history")
WRITE = ("/api/pause", "/api/continue", "/api/stop")


@pytest.fixture
def coordinator(tmp_path: Path) -> pretended.Coordinator:
    made = pretended.Coordinator(tmp_path / "runs" / "present")
    made.advance(3)
    return made


@pytest.fixture
def serve(coordinator: pretended.Coordinator, tmp_path: Path) -> Callable[..., TestClient]:
    def make(host: str = HERE, token: str | None = None) -> TestClient:
        app = create_app(coordinator, host=host, token=token, output=tmp_path / "runs")
        # The test client itself cannot go to IPv6 addresses; its header can name them.
        headers = {"host": f"[{host}]:8600" if ":" in host else f"{host}:8600"}
        return TestClient(app, base_url="http://127.0.0.1:8600", headers=headers, follow_redirects=False)

    return make


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()


def past_swarm(output: Path, name: str, rounds: int = 5, done: int = 5) -> pretended.Coordinator:
    """A directory as an ended swarm leaves it."""
    directory = output / name
    directory.mkdir(parents=True)
    swarm = pretended.Coordinator(directory, rounds, journal=directory / history.JOURNAL)
    swarm.advance(done)
    swarm.store.journal.set_particle(1, host="elsewhere", message=pretended.NASTY)
    (directory / history.CONFIG).write_text(
        f"name: older\nseed: 4\ntraining: {{epochs: {rounds}}}\nmodel: {{name: convnet_rnn}}\n"
        "data: {source: folder}\nswarm: {particles: 4, dynamic: dynamic_2, variant: released, token: secret}\n"
    )
    if swarm.result:
        (directory / history.RESULT).write_text(json.dumps(swarm.result))
    return swarm


# What is served


def test_the_state_is_the_snapshot_and_infinity_is_null(client: TestClient, coordinator: pretended.Coordinator) -> None:
    coordinator.trouble = 2
    state = client.get("/api/state").json()
    assert state["name"] == f"quick {pretended.NASTY}"
    assert [particle["phase"] for particle in state["particles"]] == ["training", "training", "lost", "training"]
    assert state["particles"][2]["silent_sec"] is None
    assert state["particles"][3]["silent_sec"] == pytest.approx(1.2)


def test_updates_bring_what_is_new_and_nothing_twice(client: TestClient, coordinator: pretended.Coordinator) -> None:
    first = client.get("/api/updates").json()
    journal = coordinator.store.journal
    assert [record["id"] for record in first["publications"]] == [number for number, _ in journal.publications()]
    assert len(first["publications"]) == len(first["moves"]) == 12
    expected = vars(journal.publication(2, 3))
    (found,) = [r for r in first["publications"] if (r["particle"], r["round"]) == (2, 3)]
    assert found == {"id": found["id"], **expected}
    assert not first["more"]
    assert not any(
        client.get("/api/updates", params=first["cursor"]).json()[kind] for kind in ("publications", "moves", "events")
    )
    coordinator.advance()
    second = client.get("/api/updates", params=first["cursor"]).json()
    assert [record["round"] for record in second["publications"] + second["moves"]] == [4] * 8
    assert [event["text"] for event in second["events"]] == ["round 4 of 10 is complete"]


def test_long_histories_come_in_pieces(coordinator: pretended.Coordinator) -> None:
    cursor, rounds, pieces = {"publication": 0, "move": 0, "event": 0}, [], 0
    while True:
        piece = updates.since({}, coordinator.store.journal, **cursor, at_once=5)
        cursor, pieces = piece["cursor"], pieces + 1
        rounds += [(record["particle"], record["round"]) for record in piece["publications"]]
        assert len(piece["publications"]) <= 5
        if not piece["more"]:
            break
    assert rounds == [(particle, number) for number in (1, 2, 3) for particle in range(4)]
    assert pieces == 3


@pytest.mark.parametrize("bad", ["-1", "x"])
def test_ids_are_numbers(client: TestClient, bad: str) -> None:
    assert client.get("/api/updates", params={"move": bad}).status_code == 422


@pytest.mark.parametrize(
    ("path", "call", "standing"),
    [("pause", "pause", "paused"), ("continue", "resume", "running"), ("stop", "stop", "stopped")],
)
def test_commands_reach_the_coordinator(
    client: TestClient, coordinator: pretended.Coordinator, path: str, call: str, standing: str
) -> None:
    answer = client.post(f"/api/{path}", headers=OWN)
    assert coordinator.calls == [call]
    assert answer.json()["standing"] == standing


def test_a_command_that_cannot_be_done_says_why(
    client: TestClient, coordinator: pretended.Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise UserError("it has ended")

    monkeypatch.setattr(coordinator, "pause", refuse)
    answer = client.post("/api/pause", headers=OWN)
    assert (answer.status_code, answer.json()) == (409, {"detail": "it has ended"})


def test_the_page_and_all_that_it_loads_come_from_here(client: TestClient) -> None:
    page = client.get("/").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(loaded) >= 6
    assert all(address.startswith("/") and not address.startswith("//") for address in loaded)
    assert {client.get(address).status_code for address in loaded} == {200}
    assert pretended.NASTY not in page
    assert "&lt;img src=x" in page


def test_plotly_is_the_installed_file_and_may_be_kept(client: TestClient) -> None:
    answer = client.get(f"/static/{assets.plotly_name()}")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == assets.plotly_path().read_bytes()
    assert "max-age=31536000" in answer.headers["cache-control"]
    plain = client.get(f"/static/{assets.plotly_name()}", headers={"accept-encoding": "identity"})
    assert plain.content == answer.content
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize("name", ["application.py", "page.html", "..%2fapplication.py", "%2fetc%2fpasswd"])
def test_only_the_files_of_the_page_are_served(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_the_api_is_described_without_a_network(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) >= {"/api/state", "/api/updates", *WRITE, "/api/history"}
    fields = document["components"]["schemas"]["NumberedMove"]["properties"]
    assert {"id", "chosen", "weights", "terms"} <= set(fields)
    page = client.get("/docs").text
    assert "POST /api/pause" in page
    assert "X-Swarm (header)" in page
    assert "http" not in page.replace("http-equiv", "")
    assert client.get("/redoc").status_code == 404
    assert not {"swagger_ui_html", "redoc_html"} & {getattr(route, "name", "") for route in client.app.routes}


# Who may


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.7.5", "box.example"])
def test_where_others_can_reach_it_everything_needs_the_token(
    serve: Callable[..., TestClient], path: str, host: str
) -> None:
    client = serve(host, TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}".encode()}
    wrong = {"Authorization": "Bearer wrong"}
    assert client.get(path).status_code == 401
    assert client.get(path, headers=wrong).status_code == 401
    assert client.get(path, params={"token": "wrong"}).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer "}).status_code == 401
    assert client.get(path, headers=bearer).status_code == 200


@pytest.mark.parametrize("path", WRITE)
def test_commands_need_the_token_too(
    serve: Callable[..., TestClient], coordinator: pretended.Coordinator, path: str
) -> None:
    client = serve("0.0.0.0", TOKEN)
    assert client.post(path, headers=OWN).status_code == 401
    assert client.post(path, params={"token": TOKEN}, headers=OWN).status_code == 401
    assert coordinator.calls == []
    headers = OWN | {"Authorization": f"Bearer {TOKEN}".encode()}
    assert client.post(path, headers=headers).status_code == 200
    assert len(coordinator.calls) == 1


def test_the_token_in_the_address_is_needed_once(serve: Callable[..., TestClient]) -> None:
    client = serve("0.0.0.0", TOKEN)
    answer = client.get("/", params={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 200
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert client.get("/api/state").status_code == 200
    assert "set-cookie" not in client.get("/").headers
    assert client.post("/api/pause", headers=OWN).status_code == 200
    client.cookies.clear()
    name, _, value = cookie.partition(";")[0].partition("=")
    assert client.get("/", headers={"cookie": f"{name}={value[:-1]}x"}).status_code == 401


def test_a_stranger_is_asked_for_the_token(serve: Callable[..., TestClient]) -> None:
    client = serve("0.0.0.0", TOKEN)
    answer = client.get("/")
    assert 'name="token"' in answer.text
    assert "quick" not in answer.text
    assert "The token is wrong" in client.get("/", params={"token": "guess"}).text
    assert client.get("/api/state").headers["www-authenticate"] == "Bearer"


def test_a_cookie_over_https_is_secure(serve: Callable[..., TestClient]) -> None:
    client = serve("0.0.0.0", TOKEN)
    assert "; Secure" in client.get("https://box/", params={"token": TOKEN}).headers["set-cookie"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.7.5", "box.example", ""])
def test_no_server_for_others_without_a_token(coordinator: pretended.Coordinator, tmp_path: Path, host: str) -> None:
    with pytest.raises(UserError, match=r"swarm\.token"):
        create_app(coordinator, host=host, token=None, output=tmp_path)


@pytest.mark.parametrize("host", [HERE, "0.0.0.0"])
def test_an_empty_token_is_none(coordinator: pretended.Coordinator, tmp_path: Path, host: str) -> None:
    with pytest.raises(UserError, match="empty"):
        create_app(coordinator, host=host, token="", output=tmp_path)


@pytest.mark.parametrize("host", [HERE, "127.0.0.9", "::1", "localhost"])
def test_at_home_no_token_is_needed(serve: Callable[..., TestClient], host: str) -> None:
    assert {serve(host).get(path).status_code for path in READ} == {200}
    assert serve(host, TOKEN).get("/").status_code == 401, "one that is set counts all the same"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("127.0.0.1:8600", 200),
        ("localhost:8600", 200),
        ("LOCALHOST", 200),
        ("[::1]:8600", 200),
        ("localhost.", 200),
        ("evil.example:8600", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.7.5:8600", 403),
        ("evil.example@127.0.0.1", 403),
        ("127.0.0.1/evil.example", 403),
        ("", 403),
    ],
)
def test_another_name_is_refused(client: TestClient, header: str, status: int) -> None:
    assert client.get("/api/state", headers={"host": header}).status_code == status
    assert client.get("/particles/1", headers={"host": header}).status_code == (404 if status == 200 else 403)


@pytest.mark.parametrize(
    ("host", "header", "status"),
    [
        ("box.example", "box.example:8600", 200),
        ("box.example", "Box.Example", 200),
        ("box.example", "10.1.2.3:8600", 200),
        ("box.example", "evil.example", 403),
        ("192.168.7.5", "192.168.7.5", 200),
        ("192.168.7.5", "evil.example", 403),
        ("0.0.0.0", "anything.example", 200),
        ("::", "anything.example", 200),
    ],
)
def test_names_that_a_server_for_others_answers_to(
    serve: Callable[..., TestClient], host: str, header: str, status: int
) -> None:
    headers = {"host": header, "Authorization": f"Bearer {TOKEN}".encode()}
    assert serve(host, TOKEN).get("/api/state", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        (OWN, 200),
        (OWN | {"Origin": "http://127.0.0.1:8600", "Sec-Fetch-Site": "same-origin"}, 200),
        (OWN | {"Origin": "http://evil.example"}, 403),
        (OWN | {"Origin": "http://127.0.0.1:9999"}, 403),
        (OWN | {"Origin": "null"}, 403),
        (OWN | {"Sec-Fetch-Site": "cross-site"}, 403),
        (OWN | {"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:8600", "Sec-Fetch-Site": "same-origin"}, 403),
    ],
)
@pytest.mark.parametrize("path", WRITE)
def test_other_sites_cannot_press_the_buttons(
    client: TestClient, coordinator: pretended.Coordinator, path: str, headers: dict, status: int
) -> None:
    assert client.post(path, headers=headers).status_code == status
    assert len(coordinator.calls) == (status == 200)


@pytest.mark.parametrize("path", WRITE)
def test_a_link_cannot_press_the_buttons(client: TestClient, coordinator: pretended.Coordinator, path: str) -> None:
    assert client.get(path, headers=OWN).status_code == 405
    assert coordinator.calls == []


def test_no_other_site_may_read_by_cors(client: TestClient) -> None:
    answer = client.get("/api/state", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert client.options("/api/pause", headers={"Origin": "http://evil.example"}).status_code == 403


@pytest.mark.parametrize("path", [*READ, "/static/page.js", "/nothing"])
def test_every_answer_is_protected(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    if path.startswith("/api/") or path in PAGES:
        assert headers["cache-control"] == "no-store"
    if path != "/hiplot":
        assert "'unsafe-eval'" not in policy
        assert "script-src 'self';" in policy
    else:
        assert "connect-src" not in policy, "HiPlot's script can reach nobody"
        assert "sandbox allow-scripts" in policy
        assert "allow-same-origin" not in policy


def test_the_particles_routes_have_rules_of_their_own(serve: Callable[..., TestClient]) -> None:
    client = serve("0.0.0.0", TOKEN)
    router = APIRouter()

    @router.post("/particles/{index}/sign")
    def sign(index: int) -> int:
        return index

    client.app.include_router(router)
    assert client.post("/particles/3/sign").json() == 3
    assert client.get("/particles/../api/state").status_code == 401
    assert client.get("/particles/%2e%2e/api/state").status_code in {401, 404}
    assert client.get("/particles").status_code == 401
    assert client.get("//particles/../api/state").status_code in {401, 404}


def test_secrets_are_compared_in_constant_time(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append(first)
        return False

    client = serve("0.0.0.0", TOKEN)
    cookie = client.get("/", params={"token": TOKEN}).headers["set-cookie"].partition(";")[0]
    client.cookies.clear()
    monkeypatch.setattr(security.hmac, "compare_digest", compare)
    bearer = {"Authorization": f"Bearer {TOKEN}".encode()}
    assert client.get("/", headers=bearer).status_code == 401
    assert client.get("/", headers={"cookie": cookie}).status_code == 401
    assert client.get("/", params={"token": TOKEN}).status_code == 401
    assert {TOKEN.encode(), cookie.partition("=")[2].encode()} <= set(compared)


def test_web_sockets_do_not_pass(client: TestClient) -> None:
    reached = []

    @client.app.websocket("/talk")
    async def talk(connection: WebSocket) -> None:
        reached.append("talk")
        await connection.accept()

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/talk"):
        pass
    assert reached == []


# Past swarms


def test_past_swarms_are_listed_newest_first(client: TestClient, tmp_path: Path) -> None:
    output = tmp_path / "runs"
    for name, done in (("first", 5), ("second & <b>", 2)):
        past_swarm(output, name, done=done).store.journal.close()
    for name, age_sec in (("first", 1000), ("second & <b>", 10)):
        os.utime(output / name / history.JOURNAL, (time.time() - age_sec,) * 2)
    (output / "a run").mkdir()
    (output / "a run" / history.CONFIG).write_text("name: run")
    (output / "torn").mkdir()
    (output / "torn" / history.CONFIG).write_text("name: run")
    (output / "torn" / history.JOURNAL).write_bytes(b"no database at all, only some bytes")
    os.utime(output / "torn" / history.JOURNAL, (1, 1))
    lines = client.get("/api/history").json()
    assert [line["name"] for line in lines] == ["second & <b>", "first", "torn"]
    assert [line["round"] for line in lines] == [2, 5, 0]
    assert [line["finished"] for line in lines] == [False, True, False]
    assert lines[0]["dynamic"] == "dynamic_2 released"
    assert lines[0]["best_fitness"] < lines[1]["best_fitness"] < 0
    assert "torn" in lines[2]["problem"]
    page = client.get("/history").text
    assert 'href="/history/second%20%26%20%3Cb%3E"' in page
    assert "second &amp; &lt;b&gt;" in page
    assert "<b>" not in page


def test_a_past_swarm_is_shown_by_the_same_page(client: TestClient, tmp_path: Path) -> None:
    past_swarm(tmp_path / "runs", "older-1").store.journal.close()
    page = client.get("/history/older-1").text
    assert 'data-mode="past"' in page
    source = re.search(r'data-source="([^"]+)"', page).group(1)
    answer = client.get(source)
    update = answer.json()
    state = update["state"]
    assert (state["standing"], state["round"], state["rounds"], state["seed"]) == ("finished", 5, 5, 4)
    assert (state["model"], state["data"]) == ("convnet_rnn", "folder")
    assert state["particles"][1]["host"] == "elsewhere"
    assert {particle["phase"] for particle in state["particles"]} == {"finished"}
    assert len(update["publications"]) == len(update["moves"]) == 20
    assert state["result"]["particles"][3]["test_top1"] == 0.81
    assert "secret" not in answer.text
    assert client.get("/history/older-1/hiplot").status_code == 200


def test_a_past_swarm_is_only_read(client: TestClient, tmp_path: Path) -> None:
    past_swarm(tmp_path / "runs", "older-1").store.journal.close()
    files = sorted((tmp_path / "runs" / "older-1").iterdir())
    before = {path: path.read_bytes() for path in files}
    assert client.get("/api/history/older-1/updates").status_code == 200
    assert {path: path.read_bytes() for path in before} == before


def test_an_unfinished_swarm_that_another_server_runs_can_be_read(client: TestClient, tmp_path: Path) -> None:
    other = past_swarm(tmp_path / "runs", "busy", rounds=5, done=2)
    state = client.get("/api/history/busy/updates").json()["state"]
    assert (state["standing"], state["round"], state["result"]) == ("stopped", 2, None)
    other.advance()
    assert client.get("/api/history/busy/updates").json()["state"]["round"] == 3


@pytest.mark.parametrize("name", ["%2e%2e", "nothing", "..%2fruns%2folder-1", "%2fetc"])
def test_only_swarms_of_the_output_folder_are_shown(client: TestClient, tmp_path: Path, name: str) -> None:
    past_swarm(tmp_path / "runs", "older-1").store.journal.close()
    past_swarm(tmp_path / "elsewhere", "private").store.journal.close()
    for path in (f"/history/{name}", f"/api/history/{name}/updates", f"/history/{name}/hiplot"):
        answer = client.get(path)
        assert answer.status_code in {404, 409}
        assert "no " in answer.text or "not" in answer.text.lower()


def test_no_past_swarms(client: TestClient) -> None:
    assert "none" in client.get("/history").text
    assert client.get("/api/history").json() == []


# HiPlot


def publication(particle: int, number: int, best_round: int) -> Publication:
    row = {"epoch": number, "val_loss": 1.0, "</script><b>": 2.0}
    return Publication(particle, number, -1.0, best_round, -1.0, "b", "a", "c", 0.1, row, 2.0)


def move(particle: int, number: int, chosen: int) -> Move:
    order = tuple(sorted({particle, chosen}))
    weights = (0.2,) * (len(order) - 1)
    terms = {"own": 1.0, "total": 2.0}
    distances = (0.0, 1.0) if particle == 0 else (1.0, 0.0)
    return Move(particle, number, (0, 1), distances, order, chosen, (0.1, 0.2), weights, terms, "b", 0.1, 0.2)


def lineage_journal() -> Journal:
    journal = Journal(":memory:")
    for record in (publication(0, 1, 1), publication(1, 1, 1), publication(0, 2, 1), publication(1, 2, 2)):
        journal.add_publication(record)
    journal.add_move(move(0, 2, chosen=1))
    journal.add_move(move(1, 2, chosen=0))
    journal.add_publication(publication(0, 3, 1))
    journal.add_publication(publication(1, 3, 2))
    journal.add_move(move(0, 3, chosen=0))
    journal.add_publication(publication(0, 4, 1))
    return journal


def test_a_point_descends_from_who_pulled_it() -> None:
    parents = {point["uid"]: point["from_uid"] for point in lineage.points(lineage_journal())}
    assert parents == {
        "p1-r1": None,
        "p2-r1": None,
        "p1-r2": "p1-r1",  # a warm-up round: nobody pulled
        "p2-r2": "p2-r1",
        "p1-r3": "p2-r2",  # the best of particle 2 was that of round 2
        "p2-r3": "p1-r1",  # the best of particle 1 was that of round 1
        "p1-r4": "p1-r3",  # its own best pulled
    }


def test_hiplot_shows_all_points_and_nothing_that_breaks_its_script(tmp_path: Path) -> None:
    path = save_hiplot(tmp_path, lineage_journal())
    text = path.read_text()
    assert path.name == "hiplot.html"
    assert all(f'\\"uid\\": \\"{uid}\\"' in text for uid in ("p1-r1", "p2-r3", "p1-r4"))
    assert "</script><b>" not in text


def test_hiplot_before_the_first_round_or_without_hiplot_says_so(
    serve: Callable[..., TestClient], coordinator: pretended.Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hiplot", None)
    answer = serve().get("/hiplot")
    assert answer.status_code == 409
    assert "pip install hiplot" in answer.text
    coordinator.store.journal = Journal(":memory:")
    assert "after the first" in serve().get("/hiplot").text


# The saved report


def test_the_saved_report_holds_everything_and_loads_nothing(
    coordinator: pretended.Coordinator, tmp_path: Path
) -> None:
    coordinator.store.journal.add_event("error", pretended.NASTY, 1)
    path = save_report(tmp_path, coordinator.snapshot(), coordinator.store.journal)
    text = path.read_text()
    assert path == tmp_path / "report.html"
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="', text.replace(assets.plotly_path().read_text(), ""))
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL).group(1)
    content = json.loads(data)
    assert len(content["publications"]) == 12
    assert content["events"][-1]["text"] == pretended.NASTY
    assert pretended.NASTY not in text


def test_a_report_of_any_length_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "AT_ONCE", 3)
    swarm = pretended.Coordinator(tmp_path, rounds=6)
    swarm.advance(6)
    text = pages.saved(swarm.snapshot(), swarm.store.journal)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))
    assert (len(data["publications"]), len(data["moves"]), data["more"]) == (24, 24, False)


# What it costs


def test_importing_it_is_quick_and_light() -> None:
    script = (
        "import sys, time, fastapi, numpy, pydantic\n"
        "start = time.process_time()\n"
        "import keras_actrec.swarm.dashboard\n"
        "heavy = {'keras', 'tensorflow', 'pandas', 'plotly', 'hiplot', 'jax', 'torch', 'cv2', 'scipy'}\n"
        "print(time.process_time() - start, sorted(heavy & set(sys.modules)))"
    )
    root = Path(application.__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    seconds, _, heavy = done.stdout.strip().partition(" ")
    assert float(seconds) < 0.5
    assert heavy == "[]"
