from pathlib import Path
from typing import Any

import pytest
import yaml

from keras_actrec.errors import UserError
from keras_actrec.sweep import settings
from keras_actrec.sweep.settings import load_sweep_config

ROOT = Path(__file__).parents[2]


def write(tmp_path: Path, **changes: Any) -> Path:
    document = {
        "name": "small",
        "training": {"epochs": 3},
        "sweep": {"space": {"training.batch_size": [4, 8], "model.heads": [1, 2]}},
    } | changes
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"space": {}}, "sweep.space"),
        ({"space": {"training.epoch": [1]}}, "unknown key 'training.epoch'. Did you mean 'epochs'"),
        ({"space": {"trainin.epochs": [1]}}, "unknown key 'trainin.epochs'. Did you mean 'training'"),
        ({"space": {"training.epochs": [1, 0]}}, "training.epochs=0: training.epochs"),
        ({"space": {"training.epochs": [1, 1]}}, "each once"),
        ({"space": {"training.epochs": {"low": 1, "hihg": 3}}}, "no key 'hihg'. Did you mean 'high'"),
        ({"space": {"output": ["a"]}}, "no key that can vary"),
        ({"space": {"seed": [1]}, "serch": "tpe"}, "unknown key 'sweep.serch'. Did you mean 'search'"),
        ({"space": {"training.optimizer.learning_rate": {"low": 0.1, "high": 1.0}}, "search": "grid"}, "search: grid"),
    ],
)
def test_mistakes_are_told_before_anything_begins(tmp_path: Path, section: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        load_sweep_config(write(tmp_path, sweep=section))
    assert told in str(caught.value)


def test_a_value_that_needs_another_one_beside_it_is_left_to_the_trials(tmp_path: Path) -> None:
    # contrastive_weight alone wants an auxiliary network, which another key brings.
    training = {"epochs": 3, "semi_supervised": {"contrastive_weight": 0.0}}
    space = {
        "training.semi_supervised.contrastive_weight": [0.0, 1.0],
        "training.semi_supervised.auxiliary": [None, {"frames": 4}],
    }
    config = load_sweep_config(write(tmp_path, training=training, sweep={"space": space}))
    with pytest.raises(UserError, match="compares two networks"):
        settings.run_config(config, {"training.semi_supervised.contrastive_weight": 1.0})


@pytest.mark.parametrize("changes", [{"folds": "all"}, {"joint": [{"source": "folder"}]}])
def test_trials_that_cannot_be_compared_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="a sweep"):
        load_sweep_config(write(tmp_path, **changes))


def test_more_trials_add_to_a_sweep_and_another_space_is_another_one(tmp_path: Path) -> None:
    path = write(tmp_path)
    here = settings.directory(load_sweep_config(path))
    for same in ("sweep.trials=3", "sweep.hours=2", "sweep.workers=2", "data.workers=1"):
        assert settings.directory(load_sweep_config(path, [same])) == here
    for other in (
        "sweep.search=random",
        "sweep.space={seed: [1, 2]}",
        "training.epochs=4",
        "seed=5",
        "sweep.test=true",
    ):
        assert settings.directory(load_sweep_config(path, [other])) != here


def test_the_run_of_a_point_has_its_values_and_no_sweep(tmp_path: Path) -> None:
    config = load_sweep_config(write(tmp_path))
    run = settings.run_config(config, {"training.batch_size": 8, "model.heads": 2}, output="there")
    assert (run.training.batch_size, run.model.options["heads"], run.output) == (8, 2, "there")
    assert "sweep" not in run.model_dump()


def test_trials_are_judged_by_what_chooses_their_epoch(tmp_path: Path) -> None:
    found = {
        select_by: settings.metric_of(load_sweep_config(write(tmp_path), [f"training.select_by={select_by}"]))
        for select_by in ("val_accuracy", "val_loss", "last")
    }
    assert found == {
        "val_accuracy": ("val_accuracy", "maximize"),
        "val_loss": ("val_loss", "minimize"),
        "last": ("val_accuracy", "maximize"),
    }


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_that_ship_are_valid_and_say_how_to_start_them(path: Path) -> None:
    load_sweep_config(path)
    assert path.read_text().splitlines()[0] == f"# python -m keras_actrec sweep --config {path.relative_to(ROOT)}"
