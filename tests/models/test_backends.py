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
from case import CLASSES
from model_cases import CASES

from keras_actrec import models

ROOT = Path(__file__).parent.parent.parent
BATTERIES = ("tests/layers", "tests/models/test_battery.py", "tests/models/test_pso_convnet_transformer.py")
OPTIONS = {case.name: case.options for case in CASES.values() if {channels for _, channels in case.inputs} == {3}}
PROGRAM = """
import sys, keras, numpy as np
import keras_actrec.layers, keras_actrec.backbones  # nothing else is needed: their layers are registered
for folder in sys.argv[1:]:
    model = keras.models.load_model(f"{folder}/model.keras")
    clips = dict(np.load(f"{folder}/clips.npz"))
    np.save(f"{folder}/logits.npy", keras.ops.convert_to_numpy(model(clips, training=False)))
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
@pytest.mark.timeout(3700)
@every_other_backend
def test_batteries(backend: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-k", "not step_", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *BATTERIES],
        cwd=ROOT,
        env=environment(backend),
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def saved(name: str, folder: Path) -> np.ndarray:
    """Save a tiny network of an architecture and clips for it; return its logits for them."""
    keras.utils.set_random_seed(0)
    model = models.build_model(name, CLASSES, **OPTIONS[name])
    rng = np.random.default_rng(0)
    clips = {tensor.name: rng.normal(size=(2, *tensor.shape[1:])).astype("float32") for tensor in model.inputs}
    folder.mkdir()
    model.save(folder / "model.keras")
    np.savez(folder / "clips.npz", **clips)
    return keras.ops.convert_to_numpy(model(clips, training=False))


@every_other_backend
def test_saved_models_give_the_same_logits(backend: str, tmp_path: Path) -> None:
    """One process reads them all, as importing a backend takes longer than running them."""
    expected = {name: saved(name, tmp_path / name) for name in models.list_models()}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(str(tmp_path / name) for name in expected)],
        cwd=ROOT,
        env=environment(backend),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == [backend], done.stderr[-2000:]
    different = {
        name: np.abs(np.load(tmp_path / name / "logits.npy") - logits).max() for name, logits in expected.items()
    }
    assert not {name: value for name, value in different.items() if value > 1e-4}
