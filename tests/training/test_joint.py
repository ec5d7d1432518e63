"""One network learns several data sets: the parts of a joint run, and runs through the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

from keras_actrec import models
from keras_actrec.config import parse_config
from keras_actrec.errors import UserError
from keras_actrec.models import joint as heads
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.training import distribution, joint, objectives, seeding, supervised
from keras_actrec.training.joint_batches import JointBatches
from keras_actrec.training.run_directory import RunDirectory

DATA = {"frames": 4, "size": 32, "augmentation": {"flip": 0.5}, "prepared": "a", "root": "one"}


def entries(*joint_data: dict[str, Any], **document: Any) -> Any:
    return parse_config({"data": DATA, "joint": list(joint_data), **document})


def test_an_entry_takes_the_cut_but_not_the_place_from_data() -> None:
    (entry,) = entries({"source": "folder", "root": "two", "augmentation": {"zoom": 0.1}}).joint
    assert (entry.frames, entry.size, entry.root, entry.prepared) == (4, 32, "two", None)
    assert (entry.augmentation.zoom, entry.augmentation.flip) == (0.1, 0.0)


def test_a_resolved_configuration_reads_back_equal() -> None:
    config = entries({"source": "folder", "root": "two"})
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"joint": [{"size": 64}]}, "data.size is 32, in `joint` it is 64"),
        ({"joint": [{"root": "b"}], "folds": "all"}, "folds: all is for one data set"),
        ({"joint": [{"rooot": "b"}]}, "unknown key 'joint.0.rooot'. Did you mean 'root'"),
    ],
)
def test_mistakes(document: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_config({"data": DATA, **document})
    assert message in str(error.value)


def test_a_swarm_refuses_it() -> None:
    with pytest.raises(UserError, match="a swarm trains on one data set"):
        parse_config({"joint": [{"root": "b"}]}, kind=SwarmConfig)


def test_rows_of_logs() -> None:
    logs = {"loss": 2.0, "val_loss": 9.0, "val_weighted_loss": 1.5, "accuracy": 0.5}
    assert objectives.row_of(logs) == {"accuracy": 0.5, "loss": 2.0, "val_loss": 1.5}
    logs = {"a_accuracy": 0.4, "b_accuracy": 0.8, "val_a_weighted_loss": 1.0, "val_b_weighted_loss": 2.0, "loss": 3.0}
    row = objectives.row_of(logs | {"val_loss": 7.0}, ("a", "b")) | {"learning_rate": 0.1}
    assert row["accuracy"] == pytest.approx(0.6)
    assert (row["val_loss"], row["val_a_loss"], row["loss"]) == (1.5, 1.0, 3.0)
    assert objectives.of_head(row, "b") == {"learning_rate": 0.1, "accuracy": 0.8, "val_loss": 2.0}


def two_networks() -> list[Any]:
    return heads.with_shared_body([toys.make_network(classes, dropout=0.1) for classes in (3, 2)])


def train(run: RunDirectory, epochs: int) -> tuple[Any, list[Any]]:
    """Train two toy data sets of 15 and 6 clips at once for some of the run's epochs."""
    seeding.seed_everything(0)
    networks = two_networks()
    names = ("a", "b")
    sets = [
        (toys.make_arrays(15), toys.make_arrays(9, seed=1)),
        (toys.make_arrays(6, 2), toys.make_arrays(5, 2, seed=2)),
    ]
    training = {name: toys.ArrayLoader(*own[0]) for name, own in zip(names, sets, strict=True)}
    validation = {name: toys.ArrayLoader(*own[1], shuffle=False) for name, own in zip(names, sets, strict=True)}
    trainer = supervised.Trainer(
        heads.join(dict(zip(names, networks, strict=True))),
        JointBatches(training, training=True),
        JointBatches(validation, training=False),
        run.config.training,
        run,
        hardware=distribution.set_up(run.config.training),
    )
    trainer.train(epochs)
    return trainer, networks


def new_run(folder: Path, epochs: int) -> RunDirectory:
    config = toys.make_config(folder, epochs=epochs, optimizer={"name": "adam", "learning_rate": 0.03})
    return RunDirectory.create(config, toys.make_manifest(folder))


def test_both_data_sets_are_learnt_and_the_logged_numbers_are_theirs(tmp_path: Path) -> None:
    with new_run(tmp_path, 12) as run:
        trainer, networks = train(run, 12)
        fitted = trainer.finish()
    best = fitted.rows[fitted.best_epoch - 1]
    for network, name, (clips, labels) in zip(
        networks, "ab", (toys.make_arrays(9, seed=1), toys.make_arrays(5, 2, seed=2)), strict=True
    ):
        right = np.argmax(network.predict(clips, verbose=0), -1) == labels.argmax(-1)
        assert best[f"val_{name}_accuracy"] == pytest.approx(right.mean(), abs=1e-6)
        assert right.mean() > 0.75
    assert best["val_accuracy"] == pytest.approx((best["val_a_accuracy"] + best["val_b_accuracy"]) / 2)
    assert fitted.best_value == max(row["val_accuracy"] for row in fitted.rows)


def test_a_resumed_joint_run_equals_an_undisturbed_one(tmp_path: Path) -> None:
    with new_run(tmp_path / "whole", 4) as run:
        whole, networks = train(run, 4)
    with new_run(tmp_path / "parts", 4) as run:
        train(run, 2)
        parts, others = train(run, 4)
    assert parts.progress.rows == whole.progress.rows
    for one, other in zip(networks, others, strict=True):
        for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_clips_of_all_data_sets_are_in_the_manifest(tmp_path: Path) -> None:
    config = toys.make_config(tmp_path)
    tasks = tuple(joint.Task(name, config, toys.make_manifest(tmp_path)) for name in ("a", "b"))
    manifest = joint.combined_manifest(tasks)
    assert manifest.name == "a+b"
    assert len(manifest.clips) == 12
    assert {clip.label.split("/")[0] for clip in manifest.clips} == {"a", "b"}
    assert len(manifest.classes) == 2 * len(tasks[0].manifest.classes)


def test_only_the_classifier_of_a_further_network_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded for a body that is thrown away."""
    asked = []
    monkeypatch.setattr(models, "build_from_config", lambda name, config: asked.append(config.weights))
    joint._build_for_its_head("frame_average", models.make_config("frame_average", 3))
    assert asked == ["none"]
