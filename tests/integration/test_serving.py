"""`serve` as a process: it answers, and ends in order."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "serving"))  # for made.py

import made
import psutil

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
OWN = {"X-Actrec": "test", "Content-Type": "application/octet-stream"}
Serve = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.save_run(tmp_path_factory.mktemp("runs") / "untrained")


@pytest.fixture
def serve(run: Path, tmp_path: Path) -> Iterator[Serve]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-m", "keras_actrec", "serve", "--run", run, "--port", "0", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        started.append(process)
        for line in process.stdout:
            if found := re.match(r"page: http://127\.0\.0\.1:(\d+)", line):
                return process, int(found[1])
        raise AssertionError(f"not started, exit code {process.wait(10)}")

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def ask(port: int, body: bytes) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/api/predict?hop=0.1&window=0.5", body, OWN)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_what_is_under_way_is_answered_before_the_end(serve: Serve, tmp_path: Path) -> None:
    process, port = serve("--workers", "1")
    video = made.video(tmp_path / "long.mp4", 1500).read_bytes()
    found = []
    asking = threading.Thread(target=lambda: found.append(ask(port, video)))
    asking.start()
    deadline = time.monotonic() + 60
    while _under_way(port) == 0 and not found:
        assert time.monotonic() < deadline
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    asking.join(120)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    ((status, answer),) = found
    assert (status, answer["windows"]) == (200, 746)
    assert "ending: 1 requests are under way" in said, said
    assert said.rstrip().endswith("ended")
    assert "Traceback" not in said
    assert workers
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert not list(tmp_path.glob("keras-actrec-uploads-*"))


def test_a_second_signal_waits_for_nobody(serve: Serve, tmp_path: Path) -> None:
    """One request waits for a worker that does not answer, another one does not send its upload."""
    process, port = serve("--workers", "1")
    (worker,) = [one for one in psutil.Process(process.pid).children() if "guarded.worker" in " ".join(one.cmdline())]
    worker.suspend()
    found = []
    video = made.video(tmp_path / "short.mp4", 20).read_bytes()
    asking = threading.Thread(target=lambda: found.append(ask(port, video)))
    asking.start()
    with socket.create_connection(("127.0.0.1", port), 60) as slow:
        head = "".join(f"{name}: {value}\r\n" for name, value in OWN.items())
        slow.sendall(f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}Content-Length: 99\r\n\r\nx".encode())
        deadline = time.monotonic() + 60
        while _under_way(port) < 2:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGTERM)
        assert "ending: 2 requests are under way" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    asking.join(60)
    ((status, answer),) = found
    assert (status, answer["detail"]) == (503, "the server is about to end; try again in a moment.")
    assert (process.returncode, said) == (0, "ended\n")
    assert psutil.wait_procs([worker], timeout=10)[1] == []
    assert not list(tmp_path.glob("keras-actrec-uploads-*"))


def _under_way(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/health")
        return json.loads(connection.getresponse().read())["under_way"]
    finally:
        connection.close()
