"""The same maps on every backend: a saved network is explained in a process of its own."""

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
from keras_actrec.explain import METHODS, Explanation, Options, explain_subject, open_subject

ROOT = Path(__file__).parent.parent.parent
NAMES = [name for name in ("convnet_transformer", "lrcn", "c3d", "i3d_inception", "non_local") if name in CASES]
PROGRAM = """
import sys, keras, numpy as np
from keras_actrec import models
from keras_actrec.explain import METHODS, Explanation, Options, explain_subject, open_subject
for path in sys.argv[1:]:
    subject = open_subject(models.load_model(path), np.load(path + ".npy"))
    results = explain_subject(subject, METHODS, 1, Options(steps=4))
    np.savez(path + ".npz", **{result.method: result.heat for result in results if isinstance(result, Explanation)})
print(keras.backend.backend())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} missing"))
        for name in ("jax", "torch")
    ],
)
def test_the_same_heat(backend: str, tmp_path: Path) -> None:
    expected = {}
    for name in NAMES:
        keras.utils.set_random_seed(0)
        path = str(tmp_path / f"{name}.keras")
        model = models.build_model(CASES[name].name, CLASSES, **CASES[name].options)
        model.save(path)
        clip = np.random.default_rng(0).normal(size=model.input_shape[1:]).astype("float32")
        np.save(f"{path}.npy", clip)
        results = explain_subject(open_subject(model, clip), METHODS, 1, Options(steps=4))
        expected[path] = {result.method: result.heat for result in results if isinstance(result, Explanation)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *expected],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == [backend], done.stderr[-2000:]
    for path, heats in expected.items():
        found = np.load(f"{path}.npz")
        assert set(found.files) == set(heats)
        for method, heat in heats.items():
            np.testing.assert_allclose(
                found[method], heat, rtol=1e-2, atol=1e-4 * heat.max(), err_msg=f"{path} {method}"
            )
