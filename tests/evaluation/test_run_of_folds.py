"""Whoever wants one network of a run of all folds is told where the networks lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_runs
import pytest

from keras_actrec import files
from keras_actrec.config import load_config, parse_config
from keras_actrec.data.manifest import Manifest
from keras_actrec.errors import UserError
from keras_actrec.evaluation import run_search, run_table, trained
from keras_actrec.inspection import answers
from keras_actrec.serving import export_run
from keras_actrec.training import evaluate, experiment, weights
from keras_actrec.training.run_directory import RunDirectory


def _inspect(path: Path) -> None:
    manifest = Manifest("toy", path, 1, ("a", "b"), ())
    answers.of_split(path, load_config(path / "config.yaml"), manifest, "test", [])


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    path = made_runs.make(tmp_path, "all", 1, 0.5, folds="all")
    for number in (10, 2):
        (path / f"fold-{number}").mkdir()
        (path / f"fold-{number}" / "model.keras").touch()
    return path


@pytest.mark.parametrize(
    "opening",
    [
        trained.open_trained,
        export_run.open_run,
        lambda path: evaluate.open_finished(str(path), "test", [], False),
        lambda path: weights.init_from(None, path),
        _inspect,
    ],
    ids=["trained", "export", "evaluate", "init_from", "inspect"],
)
def test_the_folders_of_the_folds_are_named(opening: Callable[[Path], object], folds: Path) -> None:
    sentence = f"{folds} holds a network for each fold; name one of them: {folds}/fold-2, {folds}/fold-10."
    with pytest.raises(UserError) as raised:
        opening(folds)
    assert str(raised.value) == sentence


def test_a_run_without_a_network_is_none_of_folds(tmp_path: Path) -> None:
    path = made_runs.make(tmp_path, "one", 1, 0.5)
    run_search.check_one_network(path)
    with pytest.raises(UserError, match="holds no trained model"):
        trained.open_trained(path)


def test_a_run_of_all_folds_costs_what_its_folds_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(fold: RunDirectory, *_: object) -> dict[str, Any]:
        number = fold.config.data.fold
        metrics = {"dataset": "toy", "model": "r3d_18", "classes": ["a"], "fold": number, "seed": 1, "params": 204_000}
        files.write_json(fold.metrics, {**metrics, "flops": 1.5e9, "test": {"top1": number / 4, "coverage": 1.0}})
        fold.add_timing(training_sec=60.0 * number)
        fold.mark_finished()
        return files.read_json(fold.metrics)

    monkeypatch.setattr(experiment, "run_fold", train)
    monkeypatch.setattr(experiment, "describe", str)
    monkeypatch.setattr(experiment.datasets, "load", lambda *_: made_runs.manifest())
    config = parse_config({"name": "all", "folds": "all", "output": str(tmp_path)})
    with RunDirectory.create(config, made_runs.manifest()) as directory:
        experiment.run_folds(directory, [1, 2], None)
    (run,) = run_search.find([tmp_path]).runs
    assert (run.minutes, run.value("params"), run.value("flops")) == (3.0, 204_000, 1.5e9)
    table = run_table.build([run])
    assert list(table["costs"]) == ["params", "flops"] and table["groups"][0]["minutes"]["mean"] == 3.0
    assert table["groups"][0]["values"]["test.top1"]["mean"] == pytest.approx(0.375)
