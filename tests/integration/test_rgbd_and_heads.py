"""Depth, two modalities, two heads and fused answers, through the commands."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from keras_actrec import files
from keras_actrec.config import load_config
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.training import datasets, inputs

pytestmark = pytest.mark.integration

Command = Callable[..., subprocess.CompletedProcess[str]]
Train = Callable[..., Path]
SMALL = (
    "model={name: r3d_18, base_width: 4, depths: [1, 1, 1, 1]}",
    "training.epochs=1",
    "evaluation.baseline=false",
    "evaluation.probes=false",
)


@pytest.fixture
def train(command: Command, tiny_config: Path) -> Train:
    """Train the tiny configuration with changes, and return the run directory that is named."""

    def run(*changes: str) -> Path:
        done = command("train.py", "--config", tiny_config, *changes)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return Path(done.stdout.strip().splitlines()[-1].removeprefix("run: "))

    return run


def data_of(config: Path, *overrides: str) -> inputs.Inputs:
    loaded = load_config(config, overrides)
    return inputs.open_inputs(loaded, datasets.load(loaded), Quarantine(), "slowfast")


def test_depth_and_rgb_are_cut_and_changed_alike(tiny_config: Path) -> None:
    """Each modality is the same whether the other is read beside it or not: same frames, same draw."""
    asked = {"both": "[rgb,depth]", "rgb": "[rgb]", "depth": "[depth]"}
    batches = {}
    for name, modalities in asked.items():
        loader = data_of(tiny_config, f"data.modalities={modalities}", "data.selection=random_run").training()
        loader.set_epoch(1)
        batches[name] = next(iter(loader.dataset()))[0]
    assert batches["both"]["rgb"].shape[1:] == (4, 32, 32, 3) and batches["both"]["depth"].shape[1:] == (4, 32, 32, 1)
    for name in ("rgb", "depth"):
        # Both are read at the larger of the two sizes that they need, so pixels may differ by what resizing rounds.
        np.testing.assert_allclose(batches["both"][name], batches[name][name], atol=0.05)
    # Depth in -1..1 where the network wants RGB by means and deviations.
    assert batches["depth"]["depth"].numpy().min() >= -1 and batches["depth"]["depth"].numpy().max() <= 1
    assert batches["rgb"]["rgb"].numpy().max() > 1.5


def test_a_network_that_sees_frames_alone_and_data_without_depth_are_told(
    tiny_config: Path, answer: Command, tmp_path: Path
) -> None:
    done = answer("train", "--config", tiny_config, "data.modalities=[depth]")
    assert done.returncode == 1 and "'convnet_transformer' looks at RGB frames alone" in done.stderr
    config = load_config(tiny_config)
    rows = (Path(config.data.root) / "manifest.csv").read_text().splitlines()
    column = rows[0].split(",").index("depth")
    cells = [row.split(",") for row in rows[1:]]
    bare = [",".join([*row[:column], "", *row[column + 1 :]]) for row in cells]
    (tmp_path / "bare.csv").write_text("\n".join([rows[0], *bare]))
    other = ("data.source=manifest", f"data.lists={tmp_path / 'bare.csv'}", "data.modalities=[depth]")
    done = answer("train", "--config", tiny_config, *SMALL, *other)
    assert done.returncode == 1 and "no clip of" in done.stderr


@pytest.mark.slow
def test_two_heads_and_the_fusion_of_two_runs(train: Train, answer: Command, tmp_path: Path) -> None:
    runs = {}
    for name in ("rgb", "depth"):
        changes = (f"data.modalities=[{name}]", "data.targets=verb_noun", f"name=tiny-{name}")
        runs[name] = train(*SMALL, *changes)
    test = files.read_json(runs["rgb"] / "metrics.json")["test"]
    assert set(test["heads"]) == {"verb", "noun"}
    assert test["top1"] <= min(head["top1"] for head in test["heads"].values())
    report = (runs["rgb"] / "report.html").read_text()
    assert "Confusions of the verb" in report and "Confusions of the noun" in report
    history = (runs["rgb"] / "history.csv").read_text()
    assert "val_verb_accuracy" in history and "noun_loss" in history

    out = tmp_path / "fused.json"
    done = answer("evaluate", "--fuse", runs["rgb"], runs["depth"], "--out", out)
    assert done.returncode == 0, done.stderr
    fused = files.read_json(out)
    assert [row["modalities"] for row in fused["fused"]] == [["rgb"], ["depth"]]
    assert fused["fused"][0]["top1"] == pytest.approx(test["top1"])
    assert fused["params"] > files.read_json(runs["rgb"] / "metrics.json")["params"]
    assert fused["test"]["evaluated"] == test["evaluated"]

    other = answer("evaluate", "--fuse", runs["rgb"])
    assert other.returncode == 1 and "two run directories or more" in other.stderr
    labels = answer("evaluate", "--run", runs["rgb"], "data.targets=label")
    assert labels.returncode == 1 and "data.targets" in labels.stderr


@pytest.mark.slow
def test_two_heads_on_two_devices_and_on_cached_features(train: Train) -> None:
    changes = ("data.targets=verb_noun", "training.epochs=1", "evaluation.baseline=false", "evaluation.probes=false")
    two = train(*changes, "training.virtual_cpus=2")
    cached = train(*changes, "training.regime=transfer")
    for run in (two, cached):
        assert set(files.read_json(run / "metrics.json")["test"]["heads"]) == {"verb", "noun"}
