"""The same training program on the other backends, killed and resumed as on TensorFlow."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_actrec import tensor_file

PROGRAM = Path(__file__).parent / "resumable_program.py"
ROOT = Path(__file__).parents[2]
CODE = """
import sys
from keras_actrec.config import TrainingConfig
from keras_actrec.training import distribution
for changes in ({"virtual_cpus": 2}, {"devices": ("GPU:0", "GPU:1")}):
    try:
        distribution.set_up(TrainingConfig(**changes))
    except Exception as error:
        print(type(error).__name__, error)
"""

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("backend", ["jax", "torch"])]


@pytest.fixture(autouse=True)
def installed(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")


def environment(backend: str) -> dict[str, str]:
    return {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def start(backend: str, output: Path, pause_sec: float = 0.0) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), str(output), str(pause_sec)]
    return subprocess.Popen(
        command, env=environment(backend), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    return output


def test_trains_and_resumes_bit_by_bit(tmp_path: Path, backend: str) -> None:
    assert "epoch 4/4" in finish(start(backend, tmp_path / "calm"))

    process = start(backend, tmp_path / "killed", pause_sec=0.3)
    deadline = time.monotonic() + 300
    while not any((tmp_path / "killed").glob("run-*/checkpoints/state-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.7)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert "resuming after epoch" in finish(start(backend, tmp_path / "killed"))

    calm, killed = (next((tmp_path / name).glob("run-*")) for name in ("calm", "killed"))
    assert (calm / "history.csv").read_bytes() == (killed / "history.csv").read_bytes()
    first, second = (tensor_file.load(run / "checkpoints" / "state-0004.safetensors")[0] for run in (calm, killed))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_several_devices_are_refused(backend: str) -> None:
    command = [sys.executable, "-c", CODE]
    output = subprocess.run(command, env=environment(backend), capture_output=True, text=True, timeout=200).stdout
    lines = output.splitlines()
    assert len(lines) == 2
    assert all("UserError several devices need KERAS_BACKEND=tensorflow" in line for line in lines)
