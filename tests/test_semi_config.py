"""The configuration of few labels and of semi-supervised training."""

from __future__ import annotations

from typing import Any

import pytest

from keras_actrec.config import RunConfig, dump_yaml, load_config, parse_config
from keras_actrec.errors import UserError

ALONE = {"contrastive_weight": 0.0}


def parsed(semi: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **training: Any) -> RunConfig:
    section = training | ({} if semi is None else {"semi_supervised": semi})
    return parse_config({"data": data or {}, "training": section})


def test_strong_views_are_weak_ones_changed_further() -> None:
    weak = {"augmentation": {"flip": 0.5, "zoom": 0.1}}
    strong = parsed(ALONE, weak).training.semi_supervised.strong
    assert (strong.flip, strong.zoom, strong.rand_augment, strong.patch_dropout) == (0.5, 0.1, 2, 0.2)
    own = parsed({**ALONE, "strong": {"zoom": 0.3, "auto_augment": True}}, weak).training.semi_supervised.strong
    assert (own.flip, own.zoom, own.auto_augment, own.rand_augment) == (0.5, 0.3, True, 0)


def test_a_written_configuration_reads_back(tmp_path: Any) -> None:
    config = parsed({"auxiliary": {"frames": 16}}, {"augmentation": {"flip": 0.5}, "labels": {"rate": 0.1}})
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(config))
    assert load_config(path) == config
    assert config.training.semi_supervised.auxiliary.data_changes == {"frames": 16}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"semi": {}}, "compares two networks"),
        ({"semi": {**ALONE, "strong": {"mixup": 0.2}}}, "set mixup: 0"),
        ({"semi": ALONE, "data": {"augmentation": {"mixup": 0.2}}}, "with MixUp: set data.augmentation.mixup: 0"),
        (
            {"semi": {"auxiliary": {"frames": 7}}, "data": {"selection": "several_runs", "runs": 2, "frames": 4}},
            r"auxiliary: with its own frames, frames \(7\) must be a multiple of runs \(2\)",
        ),
        ({"semi": ALONE, "data": {"instances": 2}}, "data.instances: 1"),
        ({"semi": ALONE, "data": {"tempos": [3, 5]}}, "remove data.tempos"),
        ({"semi": ALONE, "regime": "transfer"}, "regime: end_to_end"),
        ({"semi": ALONE, "objective": "n_pair"}, "objective"),
        ({"semi": {**ALONE, "threshold": 1.0}}, "threshold"),
        ({"semi": {"auxiliary": {"model": {"name": "r3d_18", "frames": 4}}}}, "given by data.frames"),
        ({"regime": "transfer", "steps_per_epoch": 4}, "steps_per_epoch"),
        ({"select_by": "last", "patience": 3}, "val_accuracy or val_loss"),
        ({"data": {"labels": {}}}, "expected one of per_class, rate and list, got none"),
        ({"data": {"labels": {"per_class": 2, "rate": 0.1}}}, "got per_class, rate"),
        ({"data": {"augmentation": {"rand_augment": 2, "auto_augment": True}}}, "RandAugment or AutoAugment"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parsed(**arguments)
