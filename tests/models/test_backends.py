"""Layers and models are the same on every backend: the batteries run again, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from model_cases import CASES, CLASSES

from keras_actrec import models

ROOT = Path(__file__).parent.parent.parent
BATTERIES = ("tests/layers", "tests/models/test_battery.py", "tests/models/test_pso_convnet_transformer.py")
OPTIONS = {case.name: case.options for case in CASES.values()}
PROGRAM = """
import sys, keras, numpy as np
keras.utils.set_random_seed(0)
model = keras.models.load_model(sys.argv[1])
clips = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict({"rgb": clips}, verbose=0))
print(keras.backend.backend())
"""

every_other_backend = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} missing"))
        for name in ("jax", "torch")
    ],
)


def environment(backend: str) -> dict[str, str]:
    return {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.mark.slow
@every_other_backend
def test_batteries(backend: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-k", "not step_", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *BATTERIES],
        cwd=ROOT,
        env=environment(backend),
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@every_other_backend
@pytest.mark.parametrize("name", models.list_models())
def test_a_saved_model_gives_the_same_logits(name: str, backend: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = models.build_model(name, CLASSES, **OPTIONS[name])
    clips = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "clips.npy", clips)
    paths = [str(tmp_path / part) for part in ("model.keras", "clips.npy", "logits.npy")]
    # Nothing but an import of the package is needed: its layers are registered.
    program = "import keras_actrec.layers, keras_actrec.backbones\n" + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", program, *paths],
        cwd=ROOT,
        env=environment(backend),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == [backend], done.stderr[-2000:]
    expected = model.predict({"rgb": clips}, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-4)
