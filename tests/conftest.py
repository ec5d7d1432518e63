"""Fixtures that several test files share: rendered videos, and the commands as subprocesses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def stick_actions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small rendered `stick-actions`, shared by all tests of a session; nobody writes into it."""
    from keras_actrec.config import StickActions
    from keras_actrec.data import synthetic

    root = tmp_path_factory.mktemp("stick-actions")
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
