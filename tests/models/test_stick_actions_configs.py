"""The small runs on rendered videos: each loads, names a valid model, and sees the videos of the quick start."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_actrec import models
from keras_actrec.config import load_config

ROOT = Path(__file__).parent.parent.parent
PATHS = sorted((ROOT / "configs" / "stick_actions").glob("*.yaml"))
SHARED = ("source", "root", "stick_actions", "prepared", "prepared_short_side", "fold")

EXPLAINED = sorted((ROOT / "configs" / "explain").glob("*.yaml"))
"""The networks whose sheets stand in docs/explain.md."""

every_run = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_every_model_over_clips_has_a_run() -> None:
    runs = {load_config(path).model.name for path in PATHS}
    baselines = {"convnet_transformer", "convnet_rnn", "frame_average", "single_frame"}
    assert set(models.list_models()) <= runs | baselines


@every_run
def test_loads_and_names_a_valid_model(path: Path) -> None:
    config = load_config(path)
    model = models.make_config(
        config.model.name, num_classes=12, frames=config.data.frames, size=config.data.size, **config.model.options
    )
    assert model.normalization == "minus_one_one"
    assert config.name == f"stick-{path.stem.replace('_', '-')}"
    assert path.read_text().startswith(f"# python train.py --config configs/stick_actions/{path.name}\n")


@pytest.mark.parametrize("path", EXPLAINED, ids=lambda path: path.stem)
def test_the_explained_networks_load(path: Path) -> None:
    config = load_config(path)
    models.make_config(config.model.name, 12, frames=config.data.frames, size=config.data.size, **config.model.options)
    assert path.read_text().startswith(f"# python train.py --config configs/explain/{path.name}\n")
    assert f"configs/explain/{path.name}" in (ROOT / "docs" / "explain.md").read_text()


@pytest.mark.parametrize("path", PATHS + EXPLAINED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_sees_the_videos_of_the_quick_start(path: Path) -> None:
    ours, theirs = load_config(path).data, load_config(ROOT / "configs" / "quickstart.yaml").data
    assert {name: getattr(ours, name) for name in SHARED} == {name: getattr(theirs, name) for name in SHARED}
    assert ours.size <= theirs.prepared_short_side


def test_the_two_ways_to_fuse_differ_in_nothing_else() -> None:
    joined, averaged = (
        load_config(ROOT / "configs" / "stick_actions" / name).model_dump()
        for name in ("late_fusion.yaml", "late_fusion_average.yaml")
    )
    assert averaged["model"].pop("fusion") == "average"
    assert joined["model"].pop("fusion_units") == 128
    assert joined.pop("name") != averaged.pop("name")
    assert joined == averaged


def test_tailoring_is_compared_with_nothing_else_changed() -> None:
    tailored, plain = (
        load_config(ROOT / "configs" / "tailoring" / f"{name}.yaml").model_dump() for name in ("with", "without")
    )
    assert tailored["data"].pop("tailor") and plain["data"].pop("tailor") is None
    assert {tailored.pop("name"), plain.pop("name")} == {"tailoring-with", "tailoring-without"}
    assert tailored == plain
