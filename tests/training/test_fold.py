"""The network of a fold: what is refused before its first step."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys

from keras_actrec.config import parse_config
from keras_actrec.errors import UserError
from keras_actrec.training import distribution, fold
from keras_actrec.training.run_directory import RunDirectory


@pytest.mark.parametrize("name", ["frame_average", "lrcn"])
def test_a_network_without_a_code_keeps_no_repository(name: str, tmp_path: Path) -> None:
    """It used to be found out when all training was done."""
    document = {
        "output": str(tmp_path / "runs"),
        "data": {"frames": 4, "size": 32},
        "model": {"name": name, "backbone": "tiny", "weights": "none"},
        "logging": {"tensorboard": False},
    }
    manifest = toys.make_manifest(tmp_path)
    for training in ({}, {"repository": {}}):
        config = parse_config({**document, "training": training})
        with RunDirectory.create(config, manifest) as directory:
            architecture, hardware = fold.model_config_for(config, manifest), distribution.set_up(config.training)
            if not training:
                fold.build(directory, architecture, hardware)
                continue
            with pytest.raises(UserError, match=r"has no code.*\(training\.repository\)"):
                fold.build(directory, architecture, hardware)
