"""The paper's collaborative rows: each loads, names a valid model, and has the numbers of Tables 2 and 3."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_actrec import models
from keras_actrec.config import load_config
from keras_actrec.errors import UserError
from keras_actrec.swarm.settings import PAPER_RATES, SwarmConfig, load_swarm_config, particle_config

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "configs" / "papers" / "pso_convnet_transformer"
TABLE_1 = sorted(FOLDER.glob("table1_*.yaml"))
TABLE_6 = sorted(FOLDER.glob("table6_*.yaml"))
BOTH = [*TABLE_1, *TABLE_6]
CLASSES = {"ucf101": 101, "hmdb51": 51, "manifest": 20}
each = pytest.mark.parametrize("path", BOTH, ids=lambda path: path.stem)


def row(config: SwarmConfig) -> tuple[str, str, str, str]:
    return config.data.source, config.swarm.dynamic, config.model.name, config.model.options["backbone"]


def model_of(config: SwarmConfig) -> models.ModelConfig:
    return models.make_config(
        config.model.name,
        CLASSES[config.data.source],
        frames=config.data.frames,
        size=config.data.size,
        **config.model.options,
    )


def test_rows_of_table_one() -> None:
    transformer, rnn = "convnet_transformer", "convnet_rnn"
    wanted = {
        ("ucf101", dynamic, transformer, backbone)
        for dynamic in ("dynamic_1", "dynamic_2")
        for backbone in ("densenet201", "resnet152")
    }
    wanted |= {("ucf101", "dynamic_1", rnn, backbone) for backbone in ("densenet201", "resnet152")}
    assert {row(load_swarm_config(path)) for path in TABLE_1} == wanted
    assert len(TABLE_1) == len(wanted)


def test_rows_of_table_six() -> None:
    networks = [("hmdb51", "resnet152"), ("hmdb51", "densenet201"), ("manifest", "densenet201")]
    wanted = {
        (source, dynamic, "convnet_transformer", backbone)
        for source, backbone in networks
        for dynamic in ("none", "dynamic_1", "dynamic_2")
    }
    assert {row(load_swarm_config(path)) for path in TABLE_6} == wanted
    assert len(TABLE_6) == len(wanted)


@each
def test_the_name_tells_the_row(path: Path) -> None:
    config = load_swarm_config(path)
    source, dynamic, model, backbone = row(config)
    words = path.stem.split("_")
    assert words[-1] == backbone
    assert model.endswith(words[-2])
    assert {"none": "individual"}.get(dynamic, dynamic.replace("_", "")) in words
    assert words[0] == "table1" or ("kinetics400" if source == "manifest" else source) in words
    assert config.name == f"pso-{path.stem.replace('_', '-')}"


@each
def test_numbers_of_table_two(path: Path) -> None:
    config = load_swarm_config(path)
    training, augmentation = config.training, config.data.augmentation
    assert (training.batch_size, training.epochs, training.regime) == (8, 20, "end_to_end")
    assert (config.data.size, config.data.frames) == (224, 4)
    assert (augmentation.zoom, augmentation.rotation_deg, augmentation.shift) == (0.1, 8, 0.2)
    assert (training.optimizer.name, training.optimizer.momentum, training.optimizer.weight_decay) == ("sgd", 0, 0)
    assert training.schedule.name == "constant"
    model = model_of(config)
    assert (model.weights, model.noise, model.head_units, model.head_dropout) == ("imagenet", 0.1, 1024, 0.4)
    if config.model.name == "convnet_rnn":
        assert model.units == 2048
    else:
        assert (model.heads, model.dense_dim) == (4, 64)


@each
def test_numbers_of_the_swarm(path: Path) -> None:
    """The group of four, c1 and c2 of Table 2; M of Table 3; the rates of Section 4."""
    swarm = load_swarm_config(path).swarm
    assert (swarm.particles, swarm.nearest, swarm.variant) == (4, 3, "paper")
    assert swarm.learning_rates == PAPER_RATES == (0.01, 0.001, 0.0001, (0.00001, 0.1))
    assert (swarm.c1, swarm.c2, swarm.beta, swarm.strength, swarm.warmup_rounds) == (0.5, 0.5, 1, 1, 0)
    assert swarm.coupling_matrix().tolist() == [
        [0, 0.2, 0.2, 10],
        [0.2, 0, 0.2, 10],
        [0.2, 0.2, 0, 10],
        [0.2, 0.2, 0.2, 0],
    ]
    assert (swarm.fitness, swarm.positions, swarm.distance) == ("val_loss", "trainable", "euclidean")


@each
def test_what_the_notebooks_computed_is_an_override_away(path: Path) -> None:
    overrides = ["swarm.variant=released", "swarm.fitness=val_accuracy", "swarm.positions=all"]
    swarm = load_swarm_config(path, overrides).swarm
    assert (swarm.variant, swarm.fitness, swarm.positions) == ("released", "val_accuracy", "all")
    if swarm.dynamic != "none":
        assert overrides[0] in path.read_text()
        assert " ".join(overrides) in path.read_text()


@each
def test_header_states_command_and_claim(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert f"# Run: python swarm_server.py --config {path.relative_to(ROOT)}" in header
    assert any(line.startswith("# Claimed") for line in header)
    assert any("Not run here" in line for line in header)
    assert any("test split" in line and "read once" in line for line in header)


@pytest.mark.parametrize("path", TABLE_1, ids=lambda path: path.stem)
def test_the_network_is_that_of_the_single_run(path: Path) -> None:
    """Particle 1 of a row is the end-to-end run of one network, but for its fold and how its best epoch is chosen."""
    config = load_swarm_config(path)
    kind = config.model.name.removeprefix("convnet_")
    single = load_config(FOLDER / f"ucf101_end_to_end_{kind}_{config.model.options['backbone']}.yaml")
    particle = particle_config(config, 0, output="runs", workers=2)
    assert (particle.model, particle.seed) == (single.model, single.seed)
    assert particle.training == single.training.model_copy(update={"select_by": "val_loss"})
    same = {"workers": 2, "split_seed": 0}
    assert particle.data == single.data.model_copy(update=same)
    assert single.name.endswith(f"{kind}-{config.model.options['backbone']}")
    assert f"{single.name.removeprefix('pso-').replace('-', '_')}.yaml" in path.read_text()


def test_as_a_plain_run_they_say_where_they_belong() -> None:
    with pytest.raises(UserError, match=r"swarm_server\.py"):
        load_config(TABLE_1[0])
