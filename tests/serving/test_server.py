"""The API of `serve`: what it answers, what it refuses, and that it goes on afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import made
import pytest
from fastapi import FastAPI
from serving import OWN, application_of
from starlette.testclient import TestClient
from web_server import served

from keras_actrec import cli, files
from keras_actrec.errors import UserError
from keras_actrec.serving.server import application, examples, models, uploads
from keras_actrec.serving.server.bounds import Bounds
from keras_actrec.serving.server.metrics import Counter, Histogram, text
from keras_actrec.serving.server.service import Service

SAMPLE = re.compile(r'^[a-z_]+(\{[a-z]+="[^"\n]*"(,[a-z]+="[^"\n]*")*\})? [0-9.e+-]+$')
Client = Callable[..., contextlib.AbstractContextManager[TestClient]]


def open_client(app: FastAPI, **headers: str) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8700", headers=OWN | headers)


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.save_run(tmp_path_factory.mktemp("more") / "second", ("Left", "Right"), seed=4)


@pytest.fixture(scope="module")
def client(run: Path, other_run: Path) -> Iterator[TestClient]:
    def opened(told: application.Counted) -> models.Models:
        say: Callable[[str], None] = said.append
        return models.open_models([run, other_run], most_clips=4, least=0.0, wait_sec=0.005, told=told, say=say)

    said = []
    with open_client(application_of(models=opened)) as client:
        assert len(said) == 2
        assert "passes of up to 4 clips" in said[0]
        yield client


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bad")
    whole = made.video(folder / "whole.mp4", 40)
    found = {
        "empty": folder / "empty.mp4",
        "text": folder / "text.mp4",
        "two hours": made.two_hours(folder / "long.mp4"),
        "huge": made.huge(folder / "huge.mp4"),
        "lying": made.lying_jpegs(folder / "lying.avi"),
        "cut": folder / "cut.mp4",
        "noise": folder / "noise.mp4",
    }
    found["empty"].touch()
    found["text"].write_text("#EXTM3U\nfile:///etc/passwd\n" * 40)
    found["cut"].write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found["noise"].write_bytes(whole.read_bytes()[:64] + bytes(range(256)) * 200)
    return found


def post(client: TestClient, video: Path | bytes, path: str = "/api/predict", **parameters: Any) -> Any:
    content = video if isinstance(video, bytes) else video.read_bytes()
    return client.post(path, content=content, params=parameters)


def test_answers_are_those_of_the_command(
    client: TestClient, run: Path, short_video: Path, long_video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", "--run", str(run), str(short_video), str(long_video), "--format", "jsonl"]) == 0
    for line, video in zip(capsys.readouterr().out.splitlines(), (short_video, long_video), strict=True):
        expected, answer = json.loads(line), post(client, video).json()
        assert answer["model"] == "untrained"
        assert answer["label"] == expected["label"]
        assert [one["label"] for one in answer["top"]] == [one["label"] for one in expected["top"]]
        for ours, theirs in zip(answer["top"], expected["top"], strict=True):
            assert ours["probability"] == pytest.approx(theirs["probability"], abs=1e-4)
        assert answer["video"] == expected["video"]
        assert answer["windows"] == expected["windows"]
        assert [one["end_sec"] for one in answer["timeline"]] == [one["end_sec"] for one in expected["timeline"]]


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("empty", "empty file"),
        ("text", "not a video"),
        ("two hours", r"lasts 7\d\d\d s, at most 60 s"),
        ("huge", "frames of 6000x6000 pixels, at most 4096x4096"),
        ("lying", "corrupt|no frames|pixels|memory|crashed"),
        ("cut", "truncated"),
        ("noise", "truncated|not a video|corrupt"),
    ],
)
def test_what_is_no_video_is_told_and_the_next_one_is_answered(
    client: TestClient, bad: dict[str, Path], short_video: Path, kind: str, detail: str
) -> None:
    for path in ("/api/predict", "/api/explain", "/api/preview"):
        answer = post(client, bad[kind], path)
        assert answer.status_code == 422, answer.text
        assert re.search(detail, answer.json()["detail"])
        assert "Traceback" not in answer.text
    assert post(client, short_video).status_code == 200


def test_damage_in_a_long_video_costs_its_windows_only(client: TestClient, tmp_path: Path) -> None:
    whole = made.video(tmp_path / "whole.mp4", 200, g="20", bf="0")
    answer = post(client, made.damaged(tmp_path / "broken.mp4", whole, 0.5, 400)).json()
    assert 1 <= len(answer["unreadable"]) < 17
    assert answer["windows"] + len(answer["unreadable"]) == 17
    assert answer["timeline"][-1]["end_sec"] == 10.0


def test_uploads_are_bounded_in_size(client: TestClient) -> None:
    assert post(client, bytes(2_000_001)).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(100_000)

    answer = client.post("/api/predict", content=pieces())
    assert answer.status_code == 413
    assert answer.json()["detail"] == "the upload is larger than 2 MB."


def test_forms_are_told_how_to_send(client: TestClient, short_video: Path) -> None:
    with short_video.open("rb") as file:
        answer = client.post("/api/predict", files={"file": file}, headers={"Content-Type": "multipart/form-data"})
    assert answer.status_code == 415
    assert "--data-binary" in answer.json()["detail"]


def test_the_model_and_what_is_told_are_chosen(client: TestClient, short_video: Path, long_video: Path) -> None:
    names = [one["name"] for one in client.get("/api/models").json()]
    assert names == ["untrained", "second"]
    answer = post(client, short_video, model="second", top=1).json()
    assert answer["model"] == "second"
    assert len(answer["top"]) == 1
    assert answer["top"][0]["label"] in ("Left", "Right")
    assert post(client, short_video, model="secnd").status_code == 404
    assert "Did you mean 'second'?" in post(client, short_video, model="secnd").json()["detail"]
    assert post(client, long_video, whole=True).json()["windows"] == 1
    assert post(client, long_video, window=1, hop=1, smooth=0).json()["windows"] == 10


@pytest.mark.parametrize(
    "parameters",
    [
        {"top": 0}, {"top": "many"}, {"window": -1}, {"window": "nan"}, {"hop": 1e99}, {"window": 1, "hop": 2},
        {"smooth": -1}, {"whole": "perhaps"},
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense(client: TestClient, short_video: Path, parameters: dict) -> None:
    assert post(client, short_video, **parameters).status_code == 422


def test_no_video_is_cut_into_endless_windows(run: Path, long_video: Path) -> None:
    with open_client(application_of(run, bounds={"windows": 50})) as client:
        answer = post(client, long_video, window=1, hop=0.1)
        assert answer.status_code == 422
        assert "100 windows, at most 50" in answer.json()["detail"]


def test_explanations_are_films(client: TestClient, short_video: Path, long_video: Path) -> None:
    answer = post(client, short_video, "/api/explain", label="Sit")
    assert (answer.headers["x-class"], answer.headers["x-method"]) == ("Sit", "grad_cam")
    assert codec_of(answer.content) == ("h264", 512, 256)
    stretch = post(client, long_video, "/api/explain", start_sec=3.0, end_sec=5.0, method="activation")
    assert stretch.headers["x-method"] == "activation"
    assert stretch.content != post(client, long_video, "/api/explain", method="activation").content
    for parameters in ({"label": "Swim"}, {"method": "dowsing"}, {"start_sec": 3}, {"start_sec": 3, "end_sec": 2}):
        assert post(client, short_video, "/api/explain", **parameters).status_code == 422
    assert post(client, short_video, "/api/explain", method="non_local").json()["detail"].startswith("no overlay")
    assert post(client, long_video, "/api/explain", start_sec=50, end_sec=60).status_code == 422


def test_previews_are_small_films_that_browsers_play(client: TestClient, tmp_path: Path) -> None:
    answer = post(client, made.video(tmp_path / "v.avi", 40, codec="mjpeg"), "/api/preview")
    assert answer.headers["content-type"] == "video/mp4"
    assert codec_of(answer.content) == ("h264", 64, 48)


def codec_of(content: bytes) -> tuple[str, int, int]:
    import io

    with av.open(io.BytesIO(content)) as container:
        context = container.streams.video[0].codec_context
        assert sum(1 for _ in container.decode(video=0)) >= 4
        return context.name, context.width, context.height


def test_more_than_there_are_places_for_are_told_when_to_come_again(run: Path, short_video: Path) -> None:
    app = application_of(run, bounds={"requests": 2})
    with open_client(app) as client:
        with app.state.service.place(), app.state.service.place():
            answer = post(client, short_video)
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert client.get("/health").json()["under_way"] == 2
        assert post(client, short_video).status_code == 200
        assert client.get("/health").json()["under_way"] == 0


def test_a_server_that_is_about_to_end_takes_nothing_new(run: Path, short_video: Path) -> None:
    app = application_of(run)
    with open_client(app) as client:
        health = client.get("/health").json()
        assert (health["status"], health["models"]) == ("ok", ["untrained"])
        app.state.service.drain()
        answer = post(client, short_video)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "ending")


def test_a_pass_that_runs_is_not_waited_for_where_the_server_is_to_end_at_once() -> None:
    closing, may_go = threading.Event(), threading.Event()

    class Busy:
        def __enter__(self) -> None:
            pass

        def close(self) -> None:
            closing.set()
            may_go.wait(60)

    async def end() -> None:
        service = Service([SimpleNamespace(batcher=Busy())], Bounds(), 1)
        await service.__aenter__()
        leaving = asyncio.create_task(service.__aexit__(None, None, None))
        try:
            assert await asyncio.to_thread(closing.wait, 20)
            assert not leaving.done()
            service.abort()
            await asyncio.wait_for(leaving, 20)
        finally:
            may_go.set()

    asyncio.run(end())


def test_nothing_is_kept_unless_asked_for(run: Path, short_video: Path, bad: dict[str, Path], tmp_path: Path) -> None:
    app = application_of(run, keep=tmp_path / "kept")
    folder = app.state.uploads
    with open_client(app) as client:
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o077 == 0, "others on the machine must not read uploads"
        post(client, bad["text"])
        name = "../../my clip.MP4"
        assert post(client, short_video, name=name).status_code == 200
        assert list(folder.iterdir()) == []
    assert not folder.exists()
    video, told = sorted((tmp_path / "kept").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert video.suffix == ".mp4"
    assert video.read_bytes() == short_video.read_bytes()
    document = files.read_json(told)
    assert (document["name"], document["sha256"]) == (name, files.sha256(short_video))
    assert document["label"] in made.CLASSES


def test_only_the_end_of_a_long_name_is_kept(run: Path, short_video: Path, tmp_path: Path) -> None:
    with open_client(application_of(run, keep=tmp_path)) as client:
        assert post(client, short_video, name="n" * 5000 + ".avi").status_code == 200
    (told,) = tmp_path.glob("*.json")
    assert files.read_json(told)["name"] == "n" * 196 + ".avi"
    assert told.with_suffix(".avi").is_file()


@pytest.mark.parametrize("path", ["/api/predict", "/api/explain", "/api/preview"])
def test_a_full_disk_is_told(run: Path, short_video: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_client(application_of(run)) as client:
        for place, name in ((tempfile, "mkstemp"), (tempfile, "TemporaryDirectory"), (uploads, "_receive")):
            if (path, name) == ("/api/predict", "TemporaryDirectory"):  # it makes no film
                continue
            with monkeypatch.context() as patch:
                patch.setattr(place, name, full)
                answer = post(client, short_video, path)
            assert answer.status_code == 507, name
            detail = "the server has no room for the upload (No space left on device); try again later."
            assert answer.json()["detail"] == detail
        assert list(client.app.state.uploads.iterdir()) == []
        assert post(client, short_video, path).status_code == 200


def test_what_cannot_be_kept_is_answered_and_told_once(
    run: Path, short_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.touch()
    with open_client(application_of(run, keep=kept)) as client:
        for _ in range(3):
            assert post(client, short_video).status_code == 200
        said = f"--keep {kept}: uploads are answered, but not kept any more (File exists)."
        assert capsys.readouterr().err.splitlines() == [said]
        kept.unlink()
        assert post(client, short_video).status_code == 200
        assert len(list(kept.iterdir())) == 2
        assert capsys.readouterr().err == ""


def test_metrics_are_prometheus_text(run: Path, short_video: Path, bad: dict[str, Path]) -> None:
    with open_client(application_of(run)) as client:
        for _ in range(3):
            post(client, short_video)
        post(client, bad["empty"])
        client.get("/nowhere/at/all")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert all(SAMPLE.match(line) for line in lines if not line.startswith("#")), lines
    prefix = "keras_actrec_"
    assert samples[f'{prefix}requests_total{{method="POST",route="/api/predict",status="200"}}'] == "3"
    assert samples[f'{prefix}requests_total{{method="POST",route="/api/predict",status="422"}}'] == "1"
    assert samples[f'{prefix}requests_total{{method="GET",route="other",status="404"}}'] == "1"
    assert samples[f'{prefix}pass_windows_sum{{model="untrained"}}'] == "3"
    assert samples[f'{prefix}request_seconds_bucket{{route="/api/predict",le="+Inf"}}'] == "4"
    assert int(samples[f"{prefix}resident_bytes"]) > 50_000_000


def test_worked_metrics() -> None:
    counter, histogram = Counter("Things."), Histogram("Sizes.", (1, 10))
    counter.add(name='a"b\\c\nd')
    counter.add(2.5)
    for value in (0.5, 1, 5, 50):
        histogram.observe(value)
    assert text({"things_total": counter, "sizes": histogram}).splitlines() == [
        "# HELP keras_actrec_things_total Things.",
        "# TYPE keras_actrec_things_total counter",
        "keras_actrec_things_total 2.5",
        'keras_actrec_things_total{name="a\\"b\\\\c\\nd"} 1',
        "# HELP keras_actrec_sizes Sizes.",
        "# TYPE keras_actrec_sizes histogram",
        'keras_actrec_sizes_bucket{le="1"} 2',
        'keras_actrec_sizes_bucket{le="10"} 3',
        'keras_actrec_sizes_bucket{le="+Inf"} 4',
        "keras_actrec_sizes_sum 56.5",
        "keras_actrec_sizes_count 4",
    ]


def test_other_sites_may_neither_read_nor_post(client: TestClient, short_video: Path) -> None:
    body = short_video.read_bytes()
    for headers in ({"X-Actrec": None}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        own = {name: value for name, value in (OWN | headers).items() if value is not None}
        plain = TestClient(client.app, base_url="http://127.0.0.1:8700")
        assert plain.post("/api/predict", content=body, headers=own).status_code == 403
    for path in ("/", "/api/models", "/health"):
        for host in ("evil.example", "[abc", "[::1", "[abc]", "127.0.0.1]", "a b"):
            assert client.get(path, headers={"host": host}).status_code == 403
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    assert "http" not in re.sub(r"http://www\.w3\.org/\S+", "", page.text.replace("http-equiv", ""))


def test_other_machines_need_the_token(run: Path, short_video: Path) -> None:
    with pytest.raises(UserError, match="expected --token"):
        application_of(run, host="0.0.0.0")
    with open_client(application_of(run, host="0.0.0.0", token="open sesame"), host="10.0.0.5:8700") as client:
        for path in ("/", "/api/models", "/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 401
        assert post(client, short_video).status_code == 401
        health = client.get("/health")
        assert (health.status_code, health.json()["status"], "models" in health.json()) == (200, "ok", False)
        assert client.get("/healthy").status_code == client.get("/health.json").status_code == 401
        bearer = {"Authorization": "Bearer open sesame"}
        assert client.get("/metrics", headers=bearer).status_code == 200
        assert client.post("/api/predict", content=short_video.read_bytes(), headers=bearer).status_code == 200
        assert "--token" in client.get("/", params={"token": "guess"}).text or client.get("/").status_code == 401


def test_example_clips(run: Path, tmp_path: Path, short_video: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(short_video.read_bytes())
    (tmp_path / "b.txt").touch()
    with open_client(application_of(run, offered=examples.in_folder(tmp_path))) as client:
        (offered,) = client.get("/api/examples").json()
        assert (offered["name"], offered["label"]) == ("a.mp4", None)
        found = client.get(offered["address"])
        assert (found.headers["content-type"], found.content) == ("video/mp4", short_video.read_bytes())
        for number in ("1", "-1", "..%2Fb.txt", "99999999999999999999"):
            assert client.get(f"/examples/{number}").status_code in (404, 422)
    with pytest.raises(UserError, match="no video in it"):
        examples.in_folder(run)
    row = {"path": "a.mp4", "label": "Sit", "split": "test"}
    of_run = made.save_run(tmp_path / "run", data=f"{{frames: 4, size: 32, root: {tmp_path}}}", training_clip=row)
    assert [(one.path.name, one.label) for one in examples.of_run(of_run)] == [("a.mp4", "Sit")]


def test_networks_of_several_inputs_say_that_they_are_not_explained(tmp_path: Path, short_video: Path) -> None:
    run = made.save_run(
        tmp_path / "tempos",
        data="{tempos: [3, 4, 5], frames: 4, size: 32, selection: variance_rate}",
        model="{name: ms3d, shared_filters: 4, pathway_filters: [4, 4, 4], blocks: [1, 1], growth: 4, code_size: 8}",
    )
    with open_client(application_of(run)) as client:
        assert post(client, short_video).json()["label"] in made.CLASSES
        assert client.get("/api/models").json()[0]["explains"] is False
        answer = post(client, short_video, "/api/explain")
        assert answer.status_code == 422
        assert "works with one input only" in answer.json()["detail"]


def test_two_runs_of_one_name_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two runs are called 'untrained'"):
        models.open_models(
            [run, run], most_clips=1, least=0.0, wait_sec=0.0, told=lambda *_: None, say=lambda line: None
        )


def test_many_at_once_and_a_sender_that_falls_asleep(run: Path, short_video: Path) -> None:
    """Over real sockets: ten good uploads beside one that stalls, one that hangs up, and noise that is no HTTP."""
    with served(application_of(run, bounds={"silent_sec": 1.0})) as port:
        address, body = ("127.0.0.1", port), short_video.read_bytes()
        head = "\r\n".join(f"{name}: {value}" for name, value in OWN.items())
        head = f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n"
        asleep = socket.create_connection(address, 30)
        asleep.sendall(head.encode() + body[:100])
        gone = socket.create_connection(address, 30)
        gone.sendall(head.encode() + body[:100])
        gone.close()
        with socket.create_connection(address, 30) as noise:
            noise.sendall(bytes(range(256)) * 100)

        def ask(_: int) -> int:
            connection = http.client.HTTPConnection(*address, timeout=60)
            try:
                connection.request("POST", "/api/predict", body, OWN)
                return connection.getresponse().status
            finally:
                connection.close()

        with ThreadPoolExecutor(10) as threads:
            assert list(threads.map(ask, range(10))) == [200] * 10
        with asleep, asleep.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 408")


def test_a_refusal_reaches_a_sender_who_is_still_sending(run: Path) -> None:
    app = application_of(run, bounds={"requests": 1})
    with served(app) as port, app.state.service.place():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/api/predict", bytes(1_900_000), OWN)
        assert connection.getresponse().status == 429


def test_requests_in_flight_do_not_pile_up_in_memory(run: Path, short_video: Path) -> None:
    app = application_of(run)
    service, before = app.state.service, threading.active_count()
    with open_client(app) as client:
        for _ in range(20):
            assert post(client, short_video).status_code == 200
        assert service.under_way == 0
    end = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.05)
    assert threading.active_count() <= before
