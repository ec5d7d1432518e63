import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_actrec import files
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.evaluation import metrics, results
from keras_actrec.evaluation.folds import lookup
from keras_actrec.evaluation.predict import Predictions
from keras_actrec.evaluation.provenance import Contamination

CLASSES = ("down", "jump", "up")


def predictions(expected: int = 10) -> Predictions:
    """Eight clips of ten, six of them right."""
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 0])
    answers = np.array([0, 0, 1, 1, 2, 2, 0, 2])
    probabilities = np.full((8, 3), 0.1, np.float32)
    probabilities[np.arange(8), answers] = 0.8
    return Predictions(probabilities, labels, np.array([0, 1, 2, 3, 5, 6, 7, 9]), expected)


def build(root: str = "/data", **changes: object) -> dict:
    rows = [Clip(f"{index}.mp4", CLASSES[index % 3], ("train", "validation", "test")[index % 3]) for index in range(9)]
    given = {
        "model": "lrcn",
        "seed": 3,
        "params": 10,
        "trainable_params": 4,
        "flops": 100,
        "validation": results.headline(predictions(8)),
        "test": results.details(predictions(), CLASSES, groups=metrics.name_pairs([("down", "up")])),
        "temporal": {"shuffled": {"top1": 0.5}},
        "single_frame": results.details(predictions(), CLASSES),
        "quarantined": [SimpleNamespace(split="test"), SimpleNamespace(split="train"), SimpleNamespace(split="test")],
        "best_epoch": 2,
    }
    return results.build(Manifest.from_clips("sticks", root, 1, rows, CLASSES), **given | changes)


def test_the_promised_keys_are_there() -> None:
    document = build()
    expected = {
        "test.top1": 0.75,
        "test.top5": 1.0,
        "test.coverage": 0.8,
        "test.top1_of_all": 0.6,
        "test.mean_class": pytest.approx((2 / 3 + 1 + 2 / 3) / 3),
        "validation.top1": 0.75,
        "validation.coverage": 1.0,
        "baseline.single_frame.top1": 0.75,
        "temporal.shuffled.top1": 0.5,
        "params": 10,
        "flops": 100,
        "fold": 1,
        "contaminated": False,
        "quarantine": {"test": 2, "train": 1},
        "split_sizes": {"train": 3, "validation": 3, "test": 3},
    }
    assert {key: lookup(document, key) for key in expected} == expected
    assert document["test"]["pairs"]["each"]["down / up"]["accuracy"] == pytest.approx(4 / 6)
    assert document["test"]["confusion"] == [[2, 0, 1], [0, 2, 0], [1, 0, 2]]


def test_equal_runs_give_equal_bytes_wherever_the_data_lies(tmp_path: Path) -> None:
    for name, root in (("first.json", "/data"), ("second.json", str(tmp_path / "elsewhere"))):
        files.write_json(tmp_path / name, build(root))
    first, second = ((tmp_path / name).read_bytes() for name in ("first.json", "second.json"))
    assert first == second
    assert b"/data" not in first


def test_what_was_not_measured_is_absent_or_null(tmp_path: Path) -> None:
    nothing = Predictions(np.zeros((0, 3), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), 4)
    document = build(test=results.details(nothing, CLASSES), single_frame=None, temporal=None, flops=None)
    files.write_json(tmp_path / "metrics.json", document)
    test = json.loads((tmp_path / "metrics.json").read_text())["test"]
    assert (test["top1"], test["top1_interval"], test["mean_class"], test["ece"]) == (None, None, None, None)
    assert (test["coverage"], test["top1_of_all"]) == (0.0, 0.0)
    assert (document["baseline"], document["temporal"]) == ({}, {})


def test_contamination_marks_the_result() -> None:
    document = build(contamination=Contamination({"train": 2}, 3, ("0.mp4",)))
    assert document["contaminated"] is True
    assert document["contaminated_clips"] == {"train": 2}


def test_unread_clips_are_named() -> None:
    clips = [Clip(f"{index}.mp4", "up", "test") for index in range(10)]
    assert [clip.path for clip in results.unread(predictions(), clips)] == ["4.mp4", "8.mp4"]
