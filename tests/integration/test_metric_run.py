"""MS3D through the command: three tempos, tailored, codes; killed and resumed; its repository; what is told of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from processes import finish, kill, start, wait_for

from keras_actrec import tensor_file

pytestmark = [pytest.mark.integration, pytest.mark.slow]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, stick_actions: Path) -> Path:
    path = tmp_path_factory.mktemp("metric") / "metric.yaml"
    path.write_text(
        f"""
name: metric
seed: 2
data:
  root: {stick_actions}
  stick_actions: {{clips_per_class: 12, difficulty: easy, seed: 1}}
  tempos: [3, 4, 5]
  frames: 4
  size: 32
  selection: variance_rate
  tailor: {{ring_px: 2}}
model: {{name: ms3d, shared_filters: 6, pathway_filters: [4, 4, 4], blocks: [2, 3], growth: 4, code_size: 16}}
training:
  objective: n_pair
  metric: {{symmetric: true, standardize: true, normalize: true, temperature: 0.25, cross_entropy: 1}}
  repository: {{fragments: 4, passes: 2, gamma: per_class, false_accepts: 0.2}}
  epochs: 3
  batch_size: 24
  optimizer: {{name: adam, learning_rate: 0.01, ema: 0.9}}
logging: {{tensorboard: false}}
evaluation: {{baseline: false, probes: false, throughput: false, velocity_videos: 3}}
"""
    )
    return path


@pytest.fixture(scope="module")
def run(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(start(config, tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.ci
def test_what_the_run_leaves(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["tailor"]["boxes"]["manifest"] > 0
    opened = metrics["open_set"]
    assert set(opened["scores"]) == {"max_softmax", "energy", "distance"}
    assert opened["unknown"] == sum(opened["unknown_classes"].values()) > 0
    assert opened["repository"]["codes"] == 12 * 4 * 2
    assert opened["repository"]["top1"] == pytest.approx(opened["top1"], abs=0.1)
    timing = json.loads((run / "timing.json").read_text())
    assert timing["velocity"]["videos_per_sec"] > 0
    page = (run / "report.html").read_text()
    for words in ("Unknown actions", "person boxes", "training minimises n_pair"):
        assert words.lower() in page.lower()


def test_pulling_the_plug_changes_nothing(config: Path, run: Path, tmp_path: Path) -> None:
    process = start(config, tmp_path, "--resume")
    wait_for(lambda: any(len(p.read_text().splitlines()) > 1 for p in tmp_path.glob("*/history.csv")), process)
    kill(process)
    resumed = finish(start(config, tmp_path, "--resume"))
    assert len(list(tmp_path.iterdir())) == 1
    for name in ("metrics.json", "history.csv", "manifest.lock"):
        assert (resumed / name).read_bytes() == (run / name).read_bytes(), name
    ours, theirs = (tensor_file.load(path / "repository.safetensors") for path in (resumed, run))
    for name, array in ours[0].items():
        np.testing.assert_array_equal(array, theirs[0][name])


@pytest.mark.ci
def test_evaluating_again_gives_the_same(run: Path, answer: Command, tmp_path: Path) -> None:
    done = answer("evaluate", "--run", run, "--out", tmp_path / "again.json")
    assert done.returncode == 0, done.stderr
    again, first = (json.loads(path.read_text()) for path in (tmp_path / "again.json", run / "metrics.json"))
    assert again["test"]["top1"] == first["test"]["top1"]
    assert again["tailor"] == first["tailor"]


def test_the_cross_entropy_of_the_same_encoder_keeps_a_repository_too(
    config: Path, tmp_path: Path, answer: Command
) -> None:
    done = finish(start(config, tmp_path, "training.objective=cross_entropy", "training.epochs=1"))
    metrics = json.loads((done / "metrics.json").read_text())
    assert metrics["open_set"]["repository"]["codes"] == 96
    listed = answer("repository", "list", "--run", done)
    assert listed.returncode == 0, listed.stderr
    assert "SitDown" in listed.stdout


@pytest.mark.ci
def test_mistakes_are_told(config: Path, answer: Command) -> None:
    for override, message in (
        ("data.tempos=[]", "'ms3d' wants data.tempos"),
        ("data.tempos=[3, 4]", "expected one for each of the 2 tempos"),
        ("data.tailor.boxes=yolov8", "data.tailor.weights"),
    ):
        done = answer("train", "--config", config, override)
        assert done.returncode == 1
        assert message in done.stderr
