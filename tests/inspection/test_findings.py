"""What runs and checks have left about single clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_actrec import files
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.inspection import findings

CLIPS = [Clip("a/1.mp4", "run", "train"), Clip("b/2.mp4", "sit", "test", start_frame=3)]


def manifest(root: Path) -> Manifest:
    return Manifest.from_clips("mine", root, 1, CLIPS)


def test_a_quarantine_list_is_found_by_clip_and_stretch(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine.json")
    for clip, reason in zip(CLIPS, ("empty file", "truncated: 3 of 9 frames can be decoded"), strict=True):
        quarantine.add(clip, reason)
    known = findings.quarantined(tmp_path / "quarantine.json")
    assert [known[findings.key(clip)] for clip in CLIPS] == ["empty file", "truncated: 3 of 9 frames can be decoded"]
    assert findings.quarantined(tmp_path / "none.json") == {}


def test_explanations_belong_to_the_videos_that_they_name(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "explanations"
    documents = {
        "one": {"video": str(tmp_path / "data" / "a" / "1.mp4"), "overlay": "grad_cam", "explained": "run"},
        "foreign": {"video": "/somewhere/a/1.mp4", "overlay": "grad_cam", "explained": "run"},
        "without a film": {"video": str(tmp_path / "data" / "b" / "2.mp4"), "overlay": None, "explained": "sit"},
        "damaged": ["no", "object"],
    }
    for name, document in documents.items():
        files.write_json(folder / name / "explanation.json", document)
        if name != "without a film":
            (folder / name / "overlay.mp4").touch()
    (folder / "half").mkdir()
    found = findings.explained(tmp_path / "run", manifest(tmp_path / "data"))
    assert found == {"a/1.mp4": findings.Explained(folder / "one" / "overlay.mp4", "grad_cam", "run")}
    assert findings.explained(tmp_path / "no run", manifest(tmp_path)) == {}


def test_pairs_that_share_a_video_are_one_group() -> None:
    pairs = [("c", "a"), ("x", "y"), ("b", "c"), ("n", "m")]
    assert findings.groups_of_pairs(pairs) == {"a": 1, "b": 1, "c": 1, "m": 2, "n": 2, "x": 3, "y": 3}
    numbers = np.random.default_rng(0).integers(0, 1000, (500, 2)).astype(str).tolist()
    groups = findings.groups_of_pairs(map(tuple, numbers))
    assert all(groups[one] == groups[other] for one, other in numbers)
    assert sorted(set(groups.values())) == list(range(1, len(set(groups.values())) + 1))


def test_duplicates_come_from_a_receipt_or_are_none(tmp_path: Path) -> None:
    path = findings.receipt_of(manifest(tmp_path))
    assert path.parts[-3:-1] == (".keras_actrec", f"verify-{manifest(tmp_path).hash[:12]}")
    assert findings.duplicates(path) == {}
    clip = [{"path": name, "split": "train", "label": "run"} for name in ("a", "b", "c", "d", "e")]
    exact = [{"sha256": "0", "clips": clip[:3], "across_splits": True, "labels_differ": False}]
    files.write_json(path, {"exact_duplicates": exact, "near_duplicates": [{"distance": 0.1, "clips": clip[3:]}]})
    assert findings.duplicates(path) == {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2}
    for damaged in ({}, [], {"near_duplicates": 3}, {"exact_duplicates": ["x", {"clips": [{}, 1]}]}):
        files.write_json(path, damaged)
        assert findings.duplicates(path) == {}
