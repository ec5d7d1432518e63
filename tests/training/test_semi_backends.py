"""The same step of semi-supervised training on each backend, and on two devices."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "semi_program.py"

pytestmark = pytest.mark.slow


def fit_on(backend: str, devices: int = 0) -> dict[str, list[float]]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(devices)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def expected() -> dict[str, list[float]]:
    return fit_on("tensorflow")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_numbers_of_tensorflow(backend: str, expected: dict[str, list[float]]) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    found = fit_on(backend)
    assert found.keys() == expected.keys()
    assert {"pseudo_share", "agreement", "contrastive_loss", "auxiliary_pseudo_loss"} <= set(found)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-4, abs=1e-6), name


def test_two_devices_do_what_one_does() -> None:
    one, two = fit_on("tensorflow", 1), fit_on("tensorflow", 2)
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-4, abs=1e-6), name
