"""The ledger of the papers says what the configurations say, and its estimates follow its own rules."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from keras_actrec import files

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def ledger() -> ModuleType:
    specification = importlib.util.spec_from_file_location("ledger", ROOT / "docs" / "ledger.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["ledger"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(ledger: ModuleType) -> list[Any]:
    return ledger.rows()


def row_of(rows: list[Any], name: str) -> Any:
    return next(row for row in rows if Path(row.path).stem == name)


def test_the_page_is_what_the_script_makes_of_the_configurations(ledger: ModuleType, rows: list[Any]) -> None:
    page = ledger.page(rows, files.read_json(ledger.COUNTS))
    assert ledger.PAGE.read_text() == page, "run: python docs/ledger.py --count --write"


def test_every_configuration_of_a_paper_has_a_row(rows: list[Any]) -> None:
    found = {row.path for row in rows}
    assert found == {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs" / "papers").rglob("*.yaml")}
    assert all(row.claimed and row.what and (row.needs or row.measured) for row in rows)


def test_claims_are_read_over_lines_and_cut_at_the_sentence(rows: list[Any]) -> None:
    assert row_of(rows, "ucf101_i3d").claimed == "validation 93.27 %, test 66.73 %"
    assert row_of(rows, "table1_dynamic1_rnn_densenet201").claimed == "84.62 %, mean of three folds"
    many = row_of(rows, "table6_kinetics400_dynamic1_transformer_densenet201").claimed
    assert many.endswith("93.42 +- 1.5 (94.53)") and "92.5 +- 0.09" in many
    assert row_of(rows, "kinetics").what.startswith("Table I: from scratch on Kinetics")


def test_hours_follow_the_rules_of_the_page(ledger: ModuleType, rows: list[Any]) -> None:
    """Worked by hand: 9,537 clips, four fifths of them trained on for 20 epochs, five clips a test video."""
    row = row_of(rows, "ucf101_i3d")
    (network,) = ledger.networks(row)
    config = row.config
    assert (config.training.epochs, config.data.validation_fraction, config.evaluation.clips) == (20, 0.2, 5)
    training = 20 * (9537 * 0.8 * 3 + 9537 * 0.2)
    expected = (training + 3783 * 5 * config.evaluation.crops) * 1e9 / 20e12 / 3600
    assert ledger.gpu_hours(row, {network.key: 1e9}) == pytest.approx(expected)


def test_swarms_folds_and_joint_runs_cost_more(ledger: ModuleType, rows: list[Any]) -> None:
    swarm = row_of(rows, "table1_dynamic1_rnn_densenet201")
    (network,) = ledger.networks(swarm)
    counts = {network.key: 1e9}
    alone = dataclasses.replace(swarm, swarm={})
    assert ledger.gpu_hours(swarm, counts) == pytest.approx(4 * ledger.gpu_hours(alone, counts))
    folds = dataclasses.replace(alone, config=alone.config.model_copy(update={"folds": "all"}))
    assert ledger.gpu_hours(folds, counts) == pytest.approx(3 * ledger.gpu_hours(alone, counts))
    joint = row_of(rows, "joint_c3d")
    single = dataclasses.replace(joint, config=joint.config.model_copy(update={"joint": ()}))
    counts = {ledger.networks(joint)[0].key: 1e9}
    assert ledger.gpu_hours(joint, counts) > 1.9 * ledger.gpu_hours(single, counts)


def test_a_data_set_that_was_not_published_has_no_estimate(ledger: ModuleType, rows: list[Any]) -> None:
    row = row_of(rows, "baseball_multi_sensor")
    assert ledger.gpu_hours(row, {ledger.networks(row)[0].key: 1e9}) is None
    assert ledger._ours(row, {}).endswith("GPU hours not estimated")


def test_a_measured_row_shows_its_number(ledger: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROOT", tmp_path)
    path = tmp_path / "ms3d" / "row.yaml"
    path.parent.mkdir()
    text = "# Paper\n# Table I: a row.\n# Run: python train.py\n# Claimed: 50.0 %.\n"
    path.write_text(text + "# Measured: 49.1 % (seeds 1 to 3).\nname: row\n")
    assert ledger._ours(ledger.read(path), {}) == "49.1 % (seeds 1 to 3)"
    path.write_text(text + "name: row\n")
    with pytest.raises(ValueError, match="says neither"):
        ledger.read(path)
