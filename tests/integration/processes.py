"""Training runs as processes of their own, which can be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


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
