"""The configs of the papers: each loads, names a valid model, and says its command and the paper's claim."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_actrec import models
from keras_actrec.config import load_config

ROOT = Path(__file__).parent.parent.parent
PATHS = sorted(path for path in (ROOT / "configs" / "papers").rglob("*.yaml") if not path.stem.startswith("table"))
"""Single networks; those of swarms have a test of their own."""
PSO = ROOT / "configs" / "papers" / "pso_convnet_transformer"
CLASSES = {"ucf101": 101, "hmdb51": 51}


def test_there_are_some() -> None:
    assert PATHS


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_loads_and_names_a_valid_model(path: Path) -> None:
    config = load_config(path)
    options = {"frames": config.data.frames, "size": config.data.size, **config.model.options}
    model = models.make_config(config.model.name, num_classes=CLASSES.get(config.data.source, 10), **options)
    assert model.frames == config.data.frames
    assert not {"frames", "size", "num_classes"} & set(config.model.options), "these follow from the section `data`"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_header_states_command_and_claim(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert f"# Run: python train.py --config {path.relative_to(ROOT)}" in header
    assert any(line.startswith("# Claimed") for line in header)
    assert any("Not run here" in line for line in header)


def test_rows_of_the_pso_convnet_transformer() -> None:
    """Its single networks: four transfer-learning baselines, the same four end to end, HMDB-51, eight ConvNets."""
    rows = {
        (config.data.source, config.training.regime, config.model.name, config.model.options["backbone"])
        for config in map(load_config, [path for path in PATHS if path.parent == PSO])
    }
    both, kinds = ("densenet201", "resnet152"), ("convnet_transformer", "convnet_rnn")
    for regime in ("transfer", "end_to_end"):
        assert {("ucf101", regime, kind, backbone) for kind in kinds for backbone in both} <= rows
    assert {("hmdb51", "end_to_end", "convnet_transformer", backbone) for backbone in both} <= rows
    searched = {load_config(path).model.options["backbone"] for path in PSO.glob("search_rnn_*.yaml")}
    families = ("inception_v3", "resnet101", "densenet121", "efficientnet_b0", "efficientnet_b4", "efficientnet_b7")
    assert searched == {*families, *both}


@pytest.mark.parametrize("path", sorted(PSO.glob("ucf101_end_to_end_*.yaml")), ids=lambda path: path.stem)
def test_settings_of_table_two(path: Path) -> None:
    config = load_config(path)
    assert (config.training.batch_size, config.training.epochs) == (8, 20)
    assert (config.data.frames, config.data.size, config.folds) == (4, 224, "all")
    augmentation = config.data.augmentation
    assert (augmentation.zoom, augmentation.rotation_deg, augmentation.shift) == (0.1, 8, 0.2)
    assert config.training.optimizer.momentum == 0
