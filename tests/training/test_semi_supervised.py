"""Semi-supervised training on rendered videos: its batches, and what it equals without unlabelled clips."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_actrec.config import RunConfig, parse_config
from keras_actrec.data.manifest import Clip
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.training import datasets, distribution, fold, inputs, measure, semi_batches, semi_supervised
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.semi_batches import INDEX, LABEL, TRUTH

NETWORKS = {
    "primary": {"name": "r3d_18", "base_width": 2},
    "auxiliary": {"name": "convnet_transformer", "backbone": "tiny", "weights": "none", "head_units": 8},
}


def make_config(root: Path, semi: dict[str, Any] | None, **training: Any) -> RunConfig:
    return parse_config(
        {
            "name": "semi",
            "seed": 4,
            "data": {
                "root": str(root),
                "stick_actions": {"clips_per_class": 12, "difficulty": "easy", "seed": 1},
                "labels": {"per_class": 1},
                "frames": 4,
                "size": 16,
                "augmentation": {"zoom": 0.1, "flip": 0.5},
            },
            "model": NETWORKS["primary"],
            "training": {
                "semi_supervised": semi,
                "epochs": 2,
                "batch_size": 4,
                "steps_per_epoch": 3,
                "optimizer": {"name": "sgd", "learning_rate": 0.05, "weight_decay": 0.001},
                "select_by": "last",
                **training,
            },
            "logging": {"tensorboard": False},
        }
    )


def semi(**changes: Any) -> dict[str, Any]:
    auxiliary = {"model": NETWORKS["auxiliary"], "frames": 6}
    return {"auxiliary": auxiliary, "unlabelled_ratio": 2, "strong": {"patch_dropout": 0.1}, **changes}


def open_data(config: RunConfig) -> Inputs:
    manifest = datasets.load(config)
    normalization = fold.model_config_for(config, manifest).normalization
    return inputs.open_inputs(config, manifest, Quarantine(), normalization)


def team_of(config: RunConfig, directory: RunDirectory) -> semi_supervised.Team:
    hardware = distribution.set_up(config.training)
    data = open_data(config)
    network = fold.build(directory, fold.model_config_for(config, data.manifest), hardware)
    return semi_supervised.gather(network, data, hardware)


def prefixed(team: semi_supervised.Team) -> dict[str, Inputs]:
    return {"" if role == "primary" else "auxiliary_": member.data for role, member in team.items()}


@dataclasses.dataclass
class Counting:
    """A source of frames that counts how often each clip is read."""

    source: Any
    reads: Counter = dataclasses.field(default_factory=Counter)

    def probe(self, clip: Clip) -> Any:
        return self.source.probe(clip)

    def read(self, clip: Clip, *arguments: Any) -> Any:
        self.reads[clip.path] += 1
        return self.source.read(clip, *arguments)


@dataclasses.dataclass
class Failing:
    """A source of frames in which one clip cannot be read."""

    source: Any
    bad: str

    def probe(self, clip: Clip) -> Any:
        return self.source.probe(clip)

    def read(self, clip: Clip, *arguments: Any) -> Any:
        if clip.path == self.bad:
            raise UnreadableVideoError(clip.path, "damaged")
        return self.source.read(clip, *arguments)


@pytest.fixture
def directory(tmp_path: Path, stick_actions: Path) -> RunDirectory:
    config = make_config(stick_actions, semi()).model_copy(update={"output": str(tmp_path)})
    return RunDirectory.create(config, datasets.load(config))


def test_a_batch_holds_every_view_of_labelled_and_unlabelled_clips(
    directory: RunDirectory, stick_actions: Path
) -> None:
    team = team_of(make_config(stick_actions, semi()), directory)
    source = Counting(team["primary"].data.source)
    networks = {prefix: dataclasses.replace(data, source=source) for prefix, data in prefixed(team).items()}
    batches = semi_batches.training_batches(networks)
    manifest = team["primary"].data.manifest
    unlabelled, seen = manifest.split("unlabelled"), 0
    for views, told in batches.dataset():
        seen += 1
        shapes = {name: tuple(array.shape[1:]) for name, array in views.items() if name != INDEX}
        few, many = (4, 16, 16, 3), (6, 16, 16, 3)
        assert shapes == {
            "rgb": few,
            "auxiliary_rgb": many,
            "unlabelled_rgb": (2, *few),
            "unlabelled_auxiliary_rgb": (2, *many),
            "unlabelled_strong_rgb": (2, *few),
            "unlabelled_strong_auxiliary_rgb": (2, *many),
        }
        assert told[LABEL].shape == (4, 12)
        truth = np.asarray(told[TRUTH]).reshape(-1, 12).argmax(axis=1)
        for index, label in zip(np.asarray(views[INDEX]).reshape(-1), truth, strict=True):
            assert unlabelled[index].label == manifest.classes[label]
        weak, strong = np.asarray(views["unlabelled_rgb"]), np.asarray(views["unlabelled_strong_rgb"])
        same = (weak == strong).all(axis=-1).mean()  # the strong view is the weak one, less a tenth of its patches
        assert 0.8 < same < 0.95
    assert seen == batches.steps == 3
    # Each video is decoded once for all its views and both networks; batches made ahead may be in it.
    assert sum(source.reads.values()) == 3 * (4 + 8)


def test_an_epoch_shows_each_unlabelled_clip_once(directory: RunDirectory, stick_actions: Path) -> None:
    team = team_of(make_config(stick_actions, semi(), steps_per_epoch=0), directory)
    clips = team["primary"].data.manifest.split("unlabelled")
    batches = semi_batches.training_batches(prefixed(team))
    assert batches.steps == -(-len(clips) // 8)
    shown = np.concatenate([np.asarray(views[INDEX]).reshape(-1) for views, _ in batches.dataset()])
    assert set(shown) == set(range(len(clips)))
    batches.set_epoch(1)
    again = np.concatenate([np.asarray(views[INDEX]).reshape(-1) for views, _ in batches.dataset()])
    assert set(again) == set(shown)
    assert list(again) != list(shown)


def test_without_unlabelled_clips_it_is_two_supervised_runs(
    directory: RunDirectory, stick_actions: Path, tmp_path: Path
) -> None:
    config = make_config(stick_actions, semi(pseudo_weight=0.0, contrastive_weight=0.0))
    team = team_of(config, directory)
    hardware = distribution.set_up(config.training)
    semi_supervised.fit(team, directory, hardware)
    for role, frames in (("primary", 4), ("auxiliary", 6)):
        alone = make_config(stick_actions, None)
        alone = alone.model_copy(
            update={
                "name": role,
                "output": str(tmp_path),
                "model": type(alone.model)(**NETWORKS[role]),
                "data": alone.data.model_copy(update={"frames": frames}),
            }
        )
        run = RunDirectory.create(alone, datasets.load(alone))
        data = open_data(alone)
        network = fold.build(run, fold.model_config_for(alone, data.manifest), hardware)
        start = network.get_weights()
        fold.fit(network, data, run, hardware)
        together = team[role].network.get_weights()
        assert any(not np.array_equal(old, new) for old, new in zip(start, together, strict=True))
        for first, second in zip(network.get_weights(), together, strict=True):
            np.testing.assert_array_equal(first, second, err_msg=role)


def test_two_networks_of_one_architecture_are_not_the_same(directory: RunDirectory, stick_actions: Path) -> None:
    twins = semi(auxiliary={"model": NETWORKS["primary"]}, contrastive_weight=0.0)
    team = team_of(make_config(stick_actions, twins), directory)
    first, second = (team[role].network.get_weights() for role in ("primary", "auxiliary"))
    assert [array.shape for array in first] == [array.shape for array in second]
    assert not np.array_equal(first[0], second[0])


@pytest.mark.parametrize("split", ["train", "unlabelled"])
def test_a_clip_that_cannot_be_read_shortens_no_epoch(directory: RunDirectory, stick_actions: Path, split: str) -> None:
    config = make_config(stick_actions, semi(), steps_per_epoch=0)
    team = prefixed(team_of(config, directory))
    bad = team[""].manifest.split(split)[0].path
    batches = semi_batches.training_batches(
        {name: dataclasses.replace(data, source=Failing(data.source, bad)) for name, data in team.items()}
    )
    shown = [views[INDEX] for views, _ in batches.dataset().as_numpy_iterator()]
    assert len(shown) == batches.steps
    assert {indices.shape for indices in shown} == {(4, 2)}
    assert team[""].quarantine.reasons() == {bad: "damaged"}


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_what_a_run_has_not_learnt_from_is_not_told(
    directory: RunDirectory, stick_actions: Path, weight: float
) -> None:
    config = make_config(stick_actions, semi(pseudo_weight=weight, contrastive_weight=0.0))
    run = RunDirectory.create(
        config.model_copy(update={"output": str(directory.path.parent / "own")}), datasets.load(config)
    )
    team = team_of(config, run)
    fold.record_provenance(run, team["primary"].data.manifest, ())
    learnt = json.loads((run.path / "provenance.json").read_text())["learnt"]
    assert ("unlabelled" in learnt) == bool(weight)
    assert ("unlabelled" in measure._coverage(team["primary"].data)["coverage"]["splits"]) == bool(weight)


def test_it_trains_in_mixed_precision(tmp_path: Path, stick_actions: Path) -> None:
    options = {"precision": "mixed_bfloat16", "optimizer": {"name": "adam", "learning_rate": 0.002}}
    config = make_config(stick_actions, semi(threshold=0.1, ramp_epochs=1.0), **options)
    # Both frame by frame: on CPUs the gradients of small three-dimensional kernels are not always finite in bfloat16.
    model = type(config.model)(**NETWORKS["auxiliary"])
    config = config.model_copy(update={"model": model, "output": str(tmp_path)})
    run = RunDirectory.create(config, datasets.load(config))
    hardware = distribution.set_up(config.training)
    team = team_of(config, run)
    fitted = semi_supervised.fit(team, run, hardware)
    assert {member.network.compute_dtype for member in team.values()} == {"bfloat16"}
    assert np.isfinite([value for row in fitted.rows for value in row.values()]).all()
    assert fitted.rows[1]["pseudo_share"] > 0
    for name in ("supervised_loss", "auxiliary_supervised_loss"):
        assert fitted.rows[1][name] < fitted.rows[0][name]


def test_a_data_set_without_unlabelled_clips_is_refused(directory: RunDirectory, stick_actions: Path) -> None:
    config = make_config(stick_actions, semi())
    team = team_of(config, directory)
    data = team["primary"].data
    labelled = [clip for clip in data.manifest.clips if clip.split != "unlabelled"]
    manifest = dataclasses.replace(data.manifest, clips=tuple(labelled))
    with pytest.raises(UserError, match=r"no unlabelled clips.*data\.labels"):
        semi_batches.training_batches({"": dataclasses.replace(data, manifest=manifest)})


def test_wrong_options_of_the_auxiliary_network_are_named_before_anything_is_read(stick_actions: Path) -> None:
    wrong = semi(auxiliary={"model": {"name": "r3d_18", "base_wdith": 4}})
    with pytest.raises(UserError, match="base_width"):
        fold.check_model(make_config(stick_actions, wrong))
