"""Fixtures that several test files share: rendered videos, and the commands as subprocesses; and the files' order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for chromium.py, web_server.py

import chromium

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).parent.parent
LONG = {"slow": 160, "integration": 40, "browser": 20}
"""How many ordinary tests take about as long as one of these, by its first marker of these."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let processes that share the tests take the longest files first, so that they end at about the same time."""
    if not hasattr(config, "workerinput"):
        return
    lengths: Counter[Path] = Counter()
    for item in items:
        lengths[item.path] += next((LONG[mark] for mark in LONG if item.get_closest_marker(mark)), 1)
    items.sort(key=lambda item: (-lengths[item.path], item.path))


@pytest.fixture(scope="session")
def stick_actions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small rendered `stick-actions`, shared by all processes of a session; nobody writes into it."""
    from keras_actrec.config import StickActions
    from keras_actrec.data import synthetic

    base = tmp_path_factory.getbasetemp()
    # Each process of a session has a folder of its own in that of the session; processes that render take turns.
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "stick-actions"
    synthetic.ensure(root, StickActions(clips_per_class=12, difficulty="easy", seed=1))
    return root


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python ARGUMENTS...` from the repository, as a user does, and return what it printed."""

    def run(*arguments: str | Path, timeout_sec: float = 600, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_sec,
            env={**os.environ, **environment},
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser of this machine."""
    path = chromium.executable()
    if path is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    return path


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[chromium.Browser]:
    """A running browser."""
    with chromium.launch() as running:
        yield running


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m keras_actrec ARGUMENTS...` in this process: a process of its own spends 4 s on importing Keras."""
    from keras_actrec import cli

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


@pytest.fixture
def tiny_config(tmp_path: Path, stick_actions: Path) -> Path:
    """A configuration that trains in seconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"""
name: tiny
seed: 3
output: {tmp_path / "runs"}
data:
  root: {stick_actions}
  stick_actions: {{clips_per_class: 12, difficulty: easy, seed: 1}}
  frames: 4
  size: 32
  augmentation: {{zoom: 0.1, rotation_deg: 8, shift: 0.1, mixup: 0.2}}
model:
  name: convnet_transformer
  backbone: tiny
  weights: none
  head_units: 16
training:
  epochs: 3
  batch_size: 16
  optimizer: {{name: adam, learning_rate: 0.003, ema: 0.9}}
  schedule: {{name: cosine, warmup_epochs: 1}}
logging: {{tensorboard: false}}
evaluation: {{throughput: false}}
"""
    )
    return path
