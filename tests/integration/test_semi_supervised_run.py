"""Semi-supervised training through the command: what it leaves, pulling the plug, two devices, and its list again."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from processes import finish, kill, start, wait_for

from keras_actrec import tensor_file

pytestmark = [pytest.mark.integration, pytest.mark.slow]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, stick_actions: Path) -> Path:
    path = tmp_path_factory.mktemp("semi") / "semi.yaml"
    path.write_text(
        f"""
name: semi
seed: 2
data:
  root: {stick_actions}
  stick_actions: {{clips_per_class: 12, difficulty: easy, seed: 1}}
  labels: {{per_class: 2}}
  frames: 4
  size: 16
  augmentation: {{zoom: 0.1, flip: 0.5}}
model: {{name: r3d_18, base_width: 2}}
training:
  semi_supervised:
    auxiliary:
      model: {{name: convnet_transformer, backbone: tiny, weights: none, head_units: 8}}
      frames: 6
    unlabelled_ratio: 3
    threshold: 0.2
    ramp_epochs: 2
    projection: 8
    teacher: 0.9
    alignment: true
    class_thresholds: true
    strong: {{patch_dropout: 0.2, brightness: 0.2}}
  epochs: 4
  batch_size: 4
  steps_per_epoch: 4
  optimizer: {{name: adam, learning_rate: 0.005}}
  select_by: last
evaluation: {{baseline: false, probes: false, throughput: false, ensemble: true}}
"""
    )
    return path


@pytest.fixture(scope="module")
def run(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(start(config, tmp_path_factory.mktemp("undisturbed")))


def changed(config: Path, to: Path, **training: object) -> Path:
    document = yaml.safe_load(config.read_text())
    document["training"] |= training
    to.write_text(yaml.safe_dump(document))
    return to


@pytest.mark.ci
def test_what_the_run_leaves(run: Path) -> None:
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert len(rows) == 4
    for row in rows:
        assert 0 < float(row["pseudo_share"]) <= 1
        assert 0 <= float(row["auxiliary_pseudo_precision"]) <= 1
        assert {"agreement", "supervised_loss", "pseudo_loss", "contrastive_loss", "val_auxiliary_accuracy"} <= set(row)
        assert not {name for name in row if name.startswith("val_") and ("pseudo" in name or "contrast" in name)}
    metrics = json.loads((run / "metrics.json").read_text())
    found = metrics["semi_supervised"]
    assert found["labelled"] == 24
    assert found["unlabelled"] > 24
    assert 0 <= found["ensemble"]["top1"] <= 1
    listed = [line for line in (run / "labelled.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(listed) == 24
    classes = list(csv.DictReader((run / "pseudo_labels.csv").open()))
    assert {(row["epoch"], row["network"]) for row in classes} == {
        (str(epoch), network) for epoch in range(1, 5) for network in ("primary", "auxiliary")
    }
    learnt = json.loads((run / "provenance.json").read_text())
    assert "unlabelled" in learnt["learnt"]
    page = (run / "report.html").read_text()
    assert "Pseudo-labels" in page
    assert "ensemble" in page


@pytest.mark.ci
def test_both_networks_are_ordinary_models(run: Path, command: Command, answer: Command) -> None:
    code = (
        "import sys; from keras_actrec import models; "
        "print([models.load_model(path).output.shape for path in sys.argv[1:]])"
    )
    done = command("-c", code, run / "model.keras", run / "auxiliary.keras")
    assert "[(None, 12), (None, 12)]" in done.stdout, done.stderr
    evaluated = answer("evaluate", "--run", run, "--split", "test")
    assert evaluated.returncode == 0, evaluated.stderr
    top1 = json.loads((run / "metrics.json").read_text())["test"]["top1"]
    assert f"top-1 {100 * top1:.1f} %" in evaluated.stdout
    found, before = (json.loads((run / name).read_text()) for name in ("evaluation-test.json", "metrics.json"))
    assert found["semi_supervised"] == before["semi_supervised"]
    assert f"ensemble: top-1 {100 * found['semi_supervised']['ensemble']['top1']:.1f} %" in evaluated.stdout


@pytest.mark.ci
def test_pulling_the_plug_changes_nothing(config: Path, run: Path, tmp_path: Path) -> None:
    process = start(config, tmp_path, "--resume")
    wait_for(lambda: any(len(p.read_text().splitlines()) > 2 for p in tmp_path.glob("*/history.csv")), process)
    kill(process)
    resumed = finish(start(config, tmp_path, "--resume"))
    assert len(list(tmp_path.iterdir())) == 1
    for name in ("metrics.json", "history.csv", "manifest.lock", "pseudo_labels.csv", "labelled.txt"):
        assert (resumed / name).read_bytes() == (run / name).read_bytes(), name
    ours, theirs = (tensor_file.load(path / "checkpoints" / "state-0004.safetensors")[0] for path in (resumed, run))
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_two_devices_share_a_batch(config: Path, tmp_path: Path) -> None:
    changes = {"class_thresholds": False, "ramp_epochs": 12}  # few steps, in which the labels are to be learnt from
    semi = yaml.safe_load(config.read_text())["training"]["semi_supervised"] | changes
    path = changed(config, tmp_path / "two.yaml", virtual_cpus=2, devices=["CPU:0", "CPU:1"], semi_supervised=semi)
    done = finish(start(path, tmp_path / "runs"))
    rows = list(csv.DictReader((done / "history.csv").open()))
    assert len(rows) == 4
    assert float(rows[-1]["supervised_loss"]) < float(rows[0]["supervised_loss"])


@pytest.mark.ci
def test_the_list_of_a_run_gives_another_run_the_same_labels(config: Path, run: Path, tmp_path: Path) -> None:
    document = yaml.safe_load(config.read_text())
    document["data"]["labels"] = {"list": str(run / "labelled.txt")}
    document["training"] |= {"epochs": 1, "semi_supervised": None, "steps_per_epoch": 2}
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(document))
    again = finish(start(path, tmp_path / "runs"))
    ours, theirs = (
        [line for line in (folder / "labelled.txt").read_text().splitlines() if not line.startswith("#")]
        for folder in (again, run)
    )
    assert ours == theirs
