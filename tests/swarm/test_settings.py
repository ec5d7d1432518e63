"""The configuration of a swarm, and what each particle makes of it."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from keras_actrec.config import RunConfig, load_config, parse_config
from keras_actrec.errors import UserError
from keras_actrec.swarm import settings
from keras_actrec.swarm.settings import SwarmConfig


def make(**swarm: object) -> SwarmConfig:
    return parse_config({"seed": 5, "training": {"epochs": 200}, "swarm": swarm}, kind=SwarmConfig)


def test_the_defaults_are_the_papers() -> None:
    swarm = make().swarm
    assert (swarm.particles, swarm.c1, swarm.c2, swarm.beta, swarm.fitness) == (4, 0.5, 0.5, 1.0, "val_loss")
    assert [swarm.rate(index) for index in range(4)] == [1e-2, 1e-3, 1e-4, (1e-5, 1e-1)]
    table_3 = [[0, 0.2, 0.2, 10], [0.2, 0, 0.2, 10], [0.2, 0.2, 0, 10], [0.2, 0.2, 0.2, 0]]
    assert swarm.coupling_matrix().tolist() == table_3


def test_coupling_may_be_one_number_or_rows() -> None:
    assert make(particles=2, coupling=0.3, strength=2).swarm.coupling_matrix().tolist() == [[0, 0.6], [0.6, 0]]
    assert make(particles=2, coupling=[[9, 1], [2, 9]]).swarm.coupling_matrix().tolist() == [[0, 1], [2, 0]]


@pytest.mark.parametrize(
    ("swarm", "complaint"),
    [
        ({"particles": 4, "neighbours": 4}, "at most 3 neighbours"),
        ({"particles": 3, "coupling": [[1, 2], [3, 4]]}, "3 rows of 3 numbers"),
        ({"learning_rates": []}, "at least one rate"),
        ({"particles": 1, "learning_rates": [[0.1, 0.01]]}, r"\[low, high\]"),
        ({"variant": "attract", "dynamic": "dynamic_1"}, "belongs to dynamic_2"),
        ({"dynamc": "dynamic_1"}, "Did you mean 'dynamic'"),
        ({"c1": -1}, "greater than or equal to 0"),
        ({"particles": 0}, "greater than or equal to 1"),
    ],
)
def test_mistakes_are_told(swarm: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        make(**swarm)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"training": {"patience": 3}}, "patience must be 0"),
        ({"training": {"optimizer": {"ema": 0.9}}}, "ema must be 0"),
        ({"folds": "all"}, "one fold"),
        ({"training": {"semi_supervised": {"contrastive_weight": 0.0}}}, "remove training.semi_supervised"),
    ],
)
def test_what_does_not_go_with_a_swarm_is_refused(section: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse_config({**section, "swarm": {}}, kind=SwarmConfig)


def test_train_py_sends_the_configuration_of_a_swarm_to_the_server(tmp_path: Path) -> None:
    path = tmp_path / "swarm.yaml"
    path.write_text("swarm: {particles: 2}")
    with pytest.raises(UserError, match=r"swarm_server\.py"):
        load_config(path)


def test_draws_depend_on_seed_round_and_particle_alone() -> None:
    known = {settings.draws(seed, number, particle) for seed in (1, 2) for number in (1, 2) for particle in (0, 1)}
    assert len(known) == 8
    assert settings.draws(1, 1, 0) == settings.draws(1, 1, 0)
    r1, r2 = np.array([settings.draws(0, number, 0) for number in range(2000)]).T
    for values in (r1, r2):
        assert values.min() >= 0 and values.max() < 1
        assert abs(values.mean() - 0.5) < 4 / np.sqrt(12 * 2000)
    assert abs(np.corrcoef(r1, r2)[0, 1]) < 4 / np.sqrt(2000)


def test_the_wild_particle_draws_log_uniform_rates() -> None:
    drawn = np.log10(settings.rates(make(), 3))
    assert len(set(drawn)) == 200
    assert drawn.min() >= -5 and drawn.max() <= -1
    assert abs(drawn.mean() + 3) < 4 * (4 / np.sqrt(12)) / np.sqrt(200)
    assert settings.rates(make(), 1) == [1e-3] * 200


def test_a_particle_is_an_ordinary_run() -> None:
    config = parse_config({"seed": 5, "training": {"epochs": 3}, "swarm": {"fitness": "val_loss"}}, kind=SwarmConfig)
    fixed, wild = (settings.particle_config(config, index, "out") for index in (1, 3))
    assert type(fixed) is RunConfig
    assert (fixed.name, fixed.output) == ("particle-2", "out")
    assert fixed.training.optimizer.learning_rate == 1e-3
    assert fixed.training.select_by == "val_loss"
    assert list(wild.training.schedule.rates) == settings.rates(config, 3)
    assert fixed.seed != wild.seed
    assert fixed.data.split_seed == wild.data.split_seed == 5, "particles must be compared on the same validation clips"


def test_a_swarm_of_one_has_the_seed_of_a_plain_run() -> None:
    assert settings.particle_seed(make(particles=1), 0) == 5
    same = make(same_start=True)
    assert {settings.particle_seed(same, index) for index in range(4)} == {5}


def test_rates_are_dealt_out_in_turn() -> None:
    swarm = make(particles=5, learning_rates=[0.1, [0.01, 0.2]]).swarm
    assert [swarm.rate(index) for index in range(5)] == [0.1, (0.01, 0.2), 0.1, (0.01, 0.2), 0.1]


def test_every_shipped_configuration_of_a_swarm_is_valid() -> None:
    folder = Path(__file__).parent.parent.parent / "configs"
    swarms = [path for path in folder.rglob("*.yaml") if "swarm" in yaml.safe_load(path.read_text())]
    found = [settings.load_swarm_config(path) for path in swarms if "compare" not in yaml.safe_load(path.read_text())]
    assert len(found) > 10
