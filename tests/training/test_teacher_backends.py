"""Teachers, pseudo-labels and their losses on several devices, and on the other backends in a process of their own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).parent / "teacher_program.py"
ROOT = Path(__file__).parents[2]
BATTERIES = (
    "tests/losses/test_pseudo_label.py",
    "tests/losses/test_cross_contrastive.py",
    "tests/training/test_pseudo_labels.py",
    "tests/training/test_teacher.py",
)


def start(backend: str, *command: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_batteries(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = start(backend, "-m", "pytest", "-q", "-p", "no:cacheprovider", *BATTERIES)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.slow
def test_two_devices_equal_one(tmp_path: Path) -> None:
    """Weights, slow weights, the mean of the predictions and the classes of clips, which half of a batch each gave."""
    results = []
    for devices in (0, 2):
        done = start("tensorflow", PROGRAM, tmp_path / f"{devices}.npz", devices)
        assert done.returncode == 0, done.stdout + done.stderr
        with np.load(tmp_path / f"{devices}.npz") as file:
            results.append(dict(file))
    one, two = results
    last, mean = two.pop("clash_last"), two.pop("clash_mean")
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=1e-5, err_msg=name)
    *_, remembered = (one[name] for name in sorted(one))
    assert (remembered >= 0).sum() > 12 and len(set(remembered.tolist())) > 1

    # The devices contradict each other about clip 0, agree on clip 1, and each has clips of its own.
    np.testing.assert_array_equal(last[:6], [-1, 1, 2, -1, 1, -1])
    # Of eight rows 1, 3, 2 are certain of the classes and two are torn between all three.
    np.testing.assert_allclose(mean, 0.5 / 3 + 0.5 * (np.array([1, 3, 2]) + 2 / 3) / 8, rtol=1e-5)
