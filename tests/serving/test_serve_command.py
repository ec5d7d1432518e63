"""The options of `serve`: mistakes are told before anything heavy happens."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from keras_actrec import cli


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "203.0.113.1"), "expected --token"),
        (("--host", "0.0.0.0", "--token", ""), "expected a token of at least one character in --token"),
        (("--port", "99999"), "--port: expected 0 to 65535, got 99999"),
        (("--max-mb", "0"), "--max-mb: expected more than 0, got 0"),
        (("--max-video-sec", "nan"), "--max-video-sec: expected more than 0"),
        (("--workers", "0"), "--workers: expected 1 or more, got 0"),
        (("--batch-wait-ms", "-1"), "--batch-wait-ms: expected 0 or more"),
        (("--examples", "nowhere"), "--examples nowhere: expected a folder of videos, or none"),
        (("--threshold", "7"), "expected a threshold from 0 to 1, got 7"),
        (("--keep", __file__), "expected a folder, that is a file"),
        (("--keep", f"{__file__}/kept"), "cannot write there (Not a directory)"),
    ],
)
def test_mistakes_are_one_sentence(
    run: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--run", str(run), "--port", "0", *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_port_in_use(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", "--run", str(run), "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use; choose another with --port" in (
        capsys.readouterr().err
    )


def test_runs_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--run", str(tmp_path), "--port", "0"]) == 1
    assert "is no run directory" in capsys.readouterr().err


def test_workers_import_neither_keras_nor_tensorflow() -> None:
    script = (
        "import sys, keras_actrec.serving.server.worker\n"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
