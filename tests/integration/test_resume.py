"""Pull the plug: a run that was killed and resumed ends with the very same numbers."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.ci]


def start(config: Path, output: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a training run in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "train.py", "--config", config, *arguments, f"output={output}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> Path:
    """Wait for a run and return its directory."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-4000:]
    return Path(output.strip().splitlines()[-1].removeprefix("run: "))


def kill(process: subprocess.Popen[str]) -> None:
    """Send SIGKILL to the whole group, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds, while the process runs."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_runs_end_with_the_same_metrics(tiny_config: Path, tmp_path: Path) -> None:
    undisturbed = finish(start(tiny_config, tmp_path / "undisturbed"))

    output = tmp_path / "killed"
    generator = random.Random(0)
    for epoch in (1, 2):
        process = start(tiny_config, output, "--resume")
        wait_for(
            lambda epoch=epoch: any(len(p.read_text().splitlines()) > epoch for p in output.glob("*/history.csv")),
            process,
        )
        time.sleep(generator.uniform(0, 0.3))
        kill(process)
    process = start(tiny_config, output, "--resume")
    wait_for(lambda: any(output.glob("*/baseline/history.csv")), process)
    kill(process)
    resumed = finish(start(tiny_config, output, "--resume"))

    assert len(list(output.iterdir())) == 1
    for name in ("metrics.json", "history.csv", "manifest.lock"):
        assert (resumed / name).read_bytes() == (undisturbed / name).read_bytes(), name
