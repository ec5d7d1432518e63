"""The clips of an export's comparison are those that training took, and what could not be read is told."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_actrec import config as configuration
from keras_actrec.data import assemble
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.wanted import plain_views
from keras_actrec.errors import UserError
from keras_actrec.serving import export_clips, export_command, export_compare, export_folder, model_card
from keras_actrec.serving.export_run import ExportRun
from keras_actrec.training import datasets, inputs


def opened(root: Path, boxes: str | None = None) -> ExportRun:
    """Return a run without a network."""
    data = {"root": str(root), "stick_actions": {"clips_per_class": 12, "difficulty": "easy", "seed": 1}}
    data |= {"frames": 2, "size": 32} | ({} if boxes is None else {"tailor": {"boxes": boxes}})
    config = configuration.parse_config({"name": "clips", "data": data, "model": {"name": "r3d_18"}})
    return ExportRun(root, config, datasets.load(config), None, plain_views(config.data, "scale"), (), "float32")


def as_trained(run: ExportRun, name: str) -> np.ndarray:
    """Return the frames (T, H, W, C) that the network saw of a clip in training."""
    data = inputs.open_inputs(run.config, run.manifest, Quarantine(), "scale")
    clip = next(clip for clip in data.manifest.clips if clip.path == name)
    return assemble.assemble_evaluation(clip, run.views, data.source, assemble.Key(run.config.seed, 0, 0))[0][0]


def test_clips_are_cut_by_the_boxes_that_training_took(stick_actions: Path) -> None:
    found = {}
    for boxes in ("none", "manifest"):
        run = opened(stick_actions, boxes)
        clips = export_clips.read(run, "test", 2)
        found[boxes] = clips.inputs["rgb"]
        for name, frames in zip(clips.names, found[boxes], strict=True):
            np.testing.assert_array_equal(frames, as_trained(run, name))
    assert (found["none"] != found["manifest"]).any()


def test_clips_that_cannot_be_read_are_counted(tmp_path: Path, stick_actions: Path) -> None:
    run = opened(stick_actions)
    kept = run.manifest.split("test")[0]
    (tmp_path / kept.path).parent.mkdir(parents=True)
    shutil.copy(stick_actions / kept.path, tmp_path / kept.path)
    lost = [dataclasses.replace(kept, path=f"lost-{number}.mp4") for number in range(2)]
    manifest = Manifest("few", tmp_path, 1, run.manifest.classes, (kept, *lost))
    clips = export_clips.read(dataclasses.replace(run, manifest=manifest), "test", 0)
    assert clips.names == (kept.path,) and clips.unreadable == ("lost-0.mp4", "lost-1.mp4")

    def said(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = np.eye(2)[[0] * len(inputs["rgb"])]
        return {"logits": rows, "probabilities": rows}

    comparison = export_compare.compare(said, said, clips, {"label": ("logits", "probabilities")})
    assert (comparison.clips, comparison.expected) == (1, 3)
    facts = {"format": "onnx", "precision": "float32", "bytes": 1, "runtime": "onnxruntime", "tolerance": 1e-4}
    facts |= {"within_tolerance": True, "comparison": comparison.to_json()}
    sentence = "2 test clips could not be read (such as lost-0.mp4)"
    for text in (export_command.summary(facts), model_card._compared(facts)):
        assert "1 of 3 test clips" in " ".join(text) and sentence in " ".join(text)


def test_calibration_clips_that_cannot_be_read_are_told() -> None:
    clips = export_clips.Clips("train", {}, {}, ("a.mp4",), ("b.mp4",))
    notes = " ".join(export_folder._notes(export_folder.Wish("litert", clips), ()))
    assert "chosen by 1 training clips" in notes and "1 train clip could not be read (such as b.mp4)" in notes


def test_files_beside_an_older_export_are_not_removed(tmp_path: Path) -> None:
    target = tmp_path / "onnx"
    target.mkdir()
    for name in ("export.json", "MODEL_CARD.md", "model.onnx"):
        (target / name).write_text("old")
    export_folder.check_target(target)
    (target / "notes.md").write_text("mine")
    with (
        pytest.raises(UserError, match=r"holds something beside the older export: notes\.md"),
        export_folder.published(target),
    ):
        pass
    assert sorted(path.name for path in target.iterdir()) == ["MODEL_CARD.md", "export.json", "model.onnx", "notes.md"]
