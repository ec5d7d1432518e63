"""What a run's network says: asked once, kept under what it depends on; views, features and unreadable clips apart."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_actrec.config import RunConfig
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.errors import UserError
from keras_actrec.inspection import answers
from keras_actrec.inspection.answers import Answers

FOUND = Answers(
    np.array([0, 2]),
    np.array([[0.25, 0.75], [1.0, 0.0]], np.float32),
    np.array([[[0.0, 1.0], [0.5, 0.5]], [[1.0, 0.0], [1.0, 0.0]]], np.float32),
    {"verb": np.array([[0.5, 0.5], [0.1, 0.9]], np.float32)},
    np.ones((2, 3), np.float32),
    True,
    {1: "empty file"},
)


def manifest(*names: str) -> Manifest:
    return Manifest.from_clips("mine", "/r", 1, [Clip(name, "run", "test") for name in names])


def test_answers_are_kept_and_asked_again_when_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(path: str, split: str, overrides: list[str]) -> Answers:
        asked.append(split)
        return FOUND

    monkeypatch.setattr(answers, "_ask", ask)
    with pytest.raises(UserError, match=r"holds no trained model \(model.keras\)"):
        answers.of_split(tmp_path, RunConfig(), manifest("a"), "test", [])
    (tmp_path / "model.keras").write_bytes(b"weights")
    config = RunConfig()
    for _ in range(2):
        found = answers.of_split(tmp_path, config, manifest("a"), "test", [])
        for field in dataclasses.fields(Answers):
            one, other = getattr(found, field.name), getattr(FOUND, field.name)
            assert repr(one) == repr(other), field.name
    assert asked == ["test"]
    answers.of_split(tmp_path, config, manifest("a"), "validation", [])
    answers.of_split(tmp_path, config, manifest("b"), "test", [])
    clips = config.evaluation.model_copy(update={"clips": 3})
    answers.of_split(tmp_path, config.model_copy(update={"evaluation": clips}), manifest("b"), "test", [])
    (tmp_path / "model.keras").write_bytes(b"other weights")
    answers.of_split(tmp_path, config, manifest("b"), "test", [])
    assert asked == ["test", "validation", "test", "test", "test"]
    kept = tmp_path / "inspection" / "answers-test.safetensors"
    kept.write_bytes(kept.read_bytes()[:-5])
    answers.of_split(tmp_path, config, manifest("b"), "test", [])
    assert asked[-2:] == ["test", "test"]
    assert len(asked) == 6


def test_a_run_that_cannot_be_written_to_is_looked_at_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (tmp_path / "model.keras").write_bytes(b"weights")
    monkeypatch.setattr(answers, "_ask", lambda *_: FOUND)
    monkeypatch.setattr(answers.tensor_file, "save", read_only)
    assert answers.of_split(tmp_path, RunConfig(), manifest("a"), "test", []) is FOUND
    told = f"note: the answers cannot be kept in {tmp_path}/inspection (Read-only file system); the next look"
    assert capsys.readouterr().out.startswith(told)


class Loader:
    """Three clips of two views each, the second of which cannot be read; they come in another order."""

    clips = (Clip("a", "run", "test"), Clip("b", "sit", "test"), Clip("c", "sit", "test"))
    classes = ("run", "sit")
    targets = ()
    inputs = np.random.default_rng(0).normal(size=(2, 2, 4, 8, 8, 3)).astype(np.float32)

    def evaluation_dataset(self) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
        return [({"rgb": self.inputs[:1]}, np.array([2])), ({"rgb": self.inputs[1:]}, np.array([0]))]


def test_one_pass_gives_probabilities_of_each_view_and_features() -> None:
    keras = pytest.importorskip("keras")
    clip = keras.Input((4, 8, 8, 3), name="rgb")
    features = keras.layers.Dense(5, activation="relu")(keras.layers.GlobalAveragePooling3D()(clip))
    network = keras.Model(clip, keras.layers.Dense(2, name="logits")(features))
    told: list[tuple[int, int]] = []
    found, indices = answers._outputs(network, Loader(), lambda *counts: told.append(counts))
    assert indices.tolist() == [2, 0]
    assert told == [(1, 3), (2, 3)]
    rows = Loader.inputs.reshape(4, 4, 8, 8, 3)
    expected = np.asarray(keras.ops.softmax(network(rows))).reshape(2, 2, 2)
    body = np.asarray(keras.Model(clip, features)(rows)).reshape(2, 2, 5).mean(axis=1)
    np.testing.assert_allclose(found["label"], expected, atol=1e-6)
    np.testing.assert_allclose(found["features"], body, atol=1e-6)


def test_a_network_without_a_layer_logits_has_no_map() -> None:
    keras = pytest.importorskip("keras")
    clip = keras.Input((4, 8, 8, 3), name="rgb")
    network = keras.Model(clip, keras.layers.Dense(2, name="other")(keras.layers.GlobalAveragePooling3D()(clip)))
    found, _ = answers._outputs(network, Loader(), lambda *_: None)
    assert set(found) == {"label"}


def test_clips_that_were_not_read_have_their_reason() -> None:
    from keras_actrec.data.quarantine import Quarantine

    quarantine: Any = Quarantine()
    quarantine.add(Loader.clips[1], "empty file")
    quarantine.add(Clip("elsewhere", "run", "train"), "not a video")
    assert answers._unreadable(quarantine, Loader.clips, {0, 2}) == {1: "empty file"}
