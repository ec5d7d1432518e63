"""Keras begins without scikit-learn and Matplotlib in commands, which can have both afterwards."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

NAMES = ("sklearn", "matplotlib")


def loaded(script: str) -> set[str]:
    """Run a script in a process of its own; return which of both it has loaded."""
    script = f"{script}\nimport sys\nprint('loaded:', *[name for name in {NAMES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.fixture(autouse=True)
def both_are_installed() -> None:
    for name in NAMES:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")


def test_a_command_has_keras_without_them_and_gets_them_afterwards() -> None:
    begin = "from keras_actrec import cli; cli.begin(); import keras; keras.layers.Dense(2)(keras.ops.ones((1, 3)))"
    assert loaded(begin) == set()
    afterwards = "import sklearn.manifold, matplotlib.pyplot as plt, matplotlib.patches; plt.figure()"
    assert loaded(f"{begin}; {afterwards}") == set(NAMES)


def test_they_are_left_out_for_keras_alone() -> None:
    others = "import sys, types\nfrom keras_actrec import lean_keras\nlean_keras.install()\n"
    others += "sys.modules['keras'] = types.SimpleNamespace(__spec__=types.SimpleNamespace(_initializing=True))\n"
    assert loaded(f"{others}import sklearn, matplotlib") == set(NAMES), "another one asks, in the middle of it"


def test_a_library_changes_nothing() -> None:
    script = "import sys; before = list(sys.meta_path)\nimport keras_actrec, keras_actrec.cli\n"
    assert loaded(f"{script}assert sys.meta_path == before") == set()
