"""The measuring of a trained network: what may fail at the end of a run without taking its numbers along."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest

from keras_actrec import files, models
from keras_actrec.config import load_config
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UserError
from keras_actrec.training import datasets, inputs, measure
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.supervised import Fitted

OPTIONS = "{name: ctn, patch: 16, width: 8, depth: 1, heads: 2, stem_channels: 4, stem_kernel: 3, patch_frames: 1}"
EVALUATION = "{velocity_videos: 3, throughput: false, probes: false, open_set: false, baseline: false}"


@pytest.fixture
def untrained(tiny_config: Path) -> Iterator[Any]:
    """A run, its data and a network that has not learnt anything."""
    config = load_config(tiny_config, [f"model={OPTIONS}", f"evaluation={EVALUATION}"])
    manifest = datasets.load(config)
    keras.utils.set_random_seed(0)
    architecture = models.make_config_for("ctn", len(manifest.classes), config.data, config.model.options)
    network = models.build_from_config("ctn", architecture)
    with RunDirectory.create(config, manifest) as directory:
        data = inputs.open_inputs(config, manifest, Quarantine(), architecture.normalization)
        yield SimpleNamespace(network=network, data=data, directory=directory)


def test_numbers_are_kept_where_velocity_cannot_be_measured(
    untrained: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = untrained.directory

    def fails(*_: Any) -> Any:
        assert directory.metrics.exists(), "what took hours is written before what may fail"
        raise UserError("expected at least 1 videos that can be read")

    monkeypatch.setattr(measure.velocity, "measure", fails)
    document = measure.measure(untrained.network, untrained.data, directory, Fitted((), 1, 0.0, False), None)
    assert files.read_json(directory.metrics)["test"]["top1"] == document["test"]["top1"]
    assert directory.report.exists()
    said = "velocity not measured: expected at least 1 videos that can be read"
    assert said in capsys.readouterr().out
    assert said in directory.log.read_text()


@pytest.mark.parametrize(("cameras", "others"), [((), None), ((0, 0), None), ((0, 2, 1, 1), [1, 2])])
def test_boxes_are_those_of_the_first_camera(cameras: tuple[int, ...], others: list[int] | None) -> None:
    config = SimpleNamespace(data=SimpleNamespace(tailor=object(), cameras=cameras))
    told = measure._tailoring(SimpleNamespace(config=config, boxes={"manifest": 3}))["tailor"]
    assert told["boxes"] == {"manifest": 3}
    assert told.get("whole_frame_cameras") == others


def test_velocity_takes_the_first_videos_that_can_be_read(untrained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data, timed = untrained.data, []
    test = data.manifest.split("test")
    data.quarantine.add(test[0], "truncated")
    data.quarantine.add(test[2], "truncated")

    def notes(network: Any, views: Any, source: Any, clips: Any) -> Any:
        timed.extend(clips)
        return SimpleNamespace(to_json=dict)

    monkeypatch.setattr(measure.velocity, "measure", notes)
    measure._velocity(untrained.network, data)
    assert timed == [test[1], test[3], test[4]]
