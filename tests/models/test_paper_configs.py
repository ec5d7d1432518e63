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
FIVE = ROOT / "configs" / "papers" / "five_models"
CLASSES = {"ucf101": 101, "hmdb51": 51}


def test_there_are_some() -> None:
    assert PATHS


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_loads_and_names_a_valid_model(path: Path) -> None:
    config = load_config(path)
    options = {"frames": config.data.frames, "size": config.data.size, **config.model.options}
    for data in (config.data, *config.joint):
        model = models.make_config(config.model.name, num_classes=CLASSES.get(data.source, 10), **options)
        assert (model.frames, model.size) == (data.frames, data.size)
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


FIVE_MODELS = {
    # name: model, frames, how they are chosen, size, regime
    "late_fusion": ("late_fusion", 5, "uniform", 256, "transfer"),
    "lrcn": ("lrcn", 5, "uniform", 256, "transfer"),
    "c3d": ("c3d", 16, "random_run", 112, "end_to_end"),
    "i3d": ("i3d_resnet50", 16, "random_run", 224, "end_to_end"),
    "non_local": ("non_local", 16, "random_run", 224, "end_to_end"),
}
ROWS = [f"{source}_{name}" for source in CLASSES for name in FIVE_MODELS]
JOINT_ROWS = ["joint_late_fusion", "joint_c3d", "joint_non_local"]
SETTINGS = ["ucf101_i3d_cut3", "ucf101_i3d_augment2", "ucf101_i3d_augment3"]
IMPORTED = {"c3d": "weights/c3d_sports1m.keras", "non_local": "weights/non_local_kinetics400.keras"}


def test_rows_of_the_five_models() -> None:
    """Table 1: five networks on each data set, three on both at once; and the ways to cut and augment of Sec. 4.1."""
    assert sorted(path.stem for path in FIVE.glob("*.yaml")) == sorted([*ROWS, *JOINT_ROWS, *SETTINGS])


@pytest.mark.parametrize("stem", [*ROWS, *JOINT_ROWS])
def test_settings_of_the_five_models(stem: str) -> None:
    config = load_config(FIVE / f"{stem}.yaml")
    source, _, name = stem.partition("_")
    data, training = config.data, config.training
    shape = (config.model.name, data.frames, data.selection, data.size, training.regime)
    assert shape == FIVE_MODELS[name]
    assert data.source == ("ucf101" if source == "joint" else source)
    assert (data.fold, data.fit, data.instances, data.validation_fraction) == (1, "squash", 1, 0.2)
    assert (training.optimizer.name, training.optimizer.learning_rate, training.batch_size) == ("adam", 1e-4, 64)
    assert training.init_from == IMPORTED.get(name)
    assert config.evaluation.clips == 5


@pytest.mark.parametrize("path", sorted(FIVE.glob("*.yaml")), ids=lambda path: path.stem)
def test_exponential_decay_of_the_five_models(path: Path) -> None:
    """PyTorch's ExponentialLR: the rate is multiplied once per epoch."""
    from keras_actrec.training.schedules import build_schedule

    training = load_config(path).training
    rates = build_schedule(training.optimizer, training.schedule, steps_per_epoch=10, epochs=training.epochs)
    found = [float(rates(step)) for step in (0, 9, 10, 25, 100)]
    assert found == pytest.approx([1e-4 * 0.999**epoch for epoch in (0, 0, 1, 2, 10)], rel=1e-5)


@pytest.mark.parametrize("stem", JOINT_ROWS)
def test_joint_rows_cut_both_data_sets_alike(stem: str) -> None:
    config = load_config(FIVE / f"{stem}.yaml")
    (other,) = config.joint
    assert (config.data.source, other.source) == ("ucf101", "hmdb51")
    assert other.root == "datasets/hmdb51" and "hmdb51" in other.lists
    shared = ("frames", "selection", "size", "fit", "instances", "augmentation")
    assert all(getattr(other, name) == getattr(config.data, name) for name in shared)


@pytest.mark.parametrize("stem", [stem for stem in (*ROWS, *JOINT_ROWS) if stem.partition("_")[2] in IMPORTED])
def test_headers_say_how_weights_are_imported(stem: str) -> None:
    """The command in the header writes the very file that the run starts from."""
    text = (FIVE / f"{stem}.yaml").read_text()
    config = load_config(FIVE / f"{stem}.yaml")
    command = next(line for line in text.splitlines() if "import-weights" in line)
    assert f"--model {config.model.name} " in command
    assert command.endswith(f"--out {config.training.init_from}")


@pytest.mark.parametrize("stem", ["ucf101_non_local", "hmdb51_non_local", "joint_non_local"])
def test_the_non_local_rows_have_the_shape_of_the_weights_that_they_start_from(stem: str) -> None:
    from keras_actrec.porting.families import i3res

    config = load_config(FIVE / f"{stem}.yaml")
    options = {"frames": config.data.frames, "size": config.data.size, **config.model.options}
    model = models.make_config("non_local", num_classes=101, **options)
    wanted = {**i3res.GEOMETRY, **i3res.NON_LOCAL}
    assert {name: getattr(model, name) for name in wanted} == wanted
    assert model.normalization == i3res.I3RES.normalization


def test_the_ways_to_cut_and_augment() -> None:
    base, third, crop, flips = (load_config(FIVE / f"{stem}.yaml") for stem in ("ucf101_i3d", *SETTINGS))
    assert third.data.model_copy(update={"instances": 1}) == base.data and third.data.instances == 5
    assert base.data.augmentation.model_dump() == type(base.data.augmentation)().model_dump()
    jitter = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.2}
    drawn = {"flip": 0.2, "flip_vertical": 0.2, "colour": 0.2, **jitter}
    assert flips.data.augmentation.model_dump(exclude_defaults=True) == drawn
    assert crop.data.augmentation.model_dump(exclude_defaults=True) == {"resized_crop": 0.08, **drawn}
    assert crop.data.augmentation.crop_ratio == (3 / 4, 4 / 3)
    for other in (third, crop, flips):
        assert (other.model, other.training, other.evaluation) == (base.model, base.training, base.evaluation)
