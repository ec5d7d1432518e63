"""Manifest -> FiftyOne dataset -> manifest loses nothing; other people's datasets become manifests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_actrec.data.fiftyone_sets import connection, fields, reading, writing
from keras_actrec.data.manifest import SPLITS, Clip, Manifest
from keras_actrec.errors import UserError

FULL = Clip(
    "b/2.mp4",
    "put down box",
    "test",
    group="anna",
    start_sec=1.0 / 3.0,
    end_sec=2.5,
    frames=70,
    fps=29.97002997,
    verb="put",
    noun="box",
    depth="depth/2.mkv",
    boxes="boxes/2.json",
    cameras="left.mp4;right.mp4",
)
CLIPS = (
    FULL,
    replace(FULL, start_sec=2.5, end_sec=None, split="train", group="ben"),
    Clip("b/2.mp4", None, "unlabelled", start_frame=3, end_frame=40),
    Clip("ä/eine Datei.avi", "wave", "validation", frames=0, fps=0.0),
    Clip("a/1", "zoo", "train", start_sec=0.0, end_frame=None),
    Clip("a/1", "zoo", "train", start_sec=0.0, end_frame=None),
    Clip("unknown/x.webm", "held out", "unknown"),
)


def manifests() -> list[Manifest]:
    """Two folds that share most clips; in the second one a clip is left out and others change their split."""
    order = ("zoo", "wave", "put down box")
    lists = {"verbs": ("take", "put"), "nouns": ("box",)}
    moved = [replace(clip, split="test" if clip.split == "train" else clip.split) for clip in CLIPS[1:]]
    return [
        Manifest.from_clips("mine", "/somewhere", 1, CLIPS, order, **lists),
        Manifest.from_clips("mine", "/somewhere", 2, moved, order[::-1], **lists),
    ]


def stored(fiftyone: Any, folds: list[Manifest], name: str) -> Any:
    dataset = fiftyone.Dataset(name)
    dataset.media_type = "video"
    fields.declare(dataset, [manifest.fold for manifest in folds])
    dataset.info[fields.INFO] = writing.describe(folds)
    dataset.save()
    rows = writing.rows(folds)
    dataset.add_samples([writing.sample(row, 1, f"/somewhere/{row.clip.path}.mp4") for row in rows])
    return dataset


def test_all_columns_of_all_folds_come_back(fiftyone: Any) -> None:
    folds = manifests()
    dataset = stored(fiftyone, folds, "round-trip")
    assert len(dataset) == len(CLIPS)
    for manifest in folds:
        back = reading.read(dataset, reading.Wish(fold=manifest.fold))
        assert back == manifest
        assert back.hash == manifest.hash
    assert [type(clip.start_sec) for clip in back.clips] == [type(clip.start_sec) for clip in folds[1].clips]


def test_many_random_clips_come_back_in_three_folds(fiftyone: Any) -> None:
    rng = np.random.default_rng(5)
    splits = rng.choice(SPLITS, (3, 300)).tolist()
    rows = [
        Clip(
            f"{rng.integers(40)}.avi",
            rng.choice(["sit", "run", "Sit"]).item(),
            "train",
            group=f"g{rng.integers(9)}",
            start_sec=rng.choice([None, 0.0, float(rng.random())]),
            fps=float(rng.random() * 60),
            frames=int(rng.integers(1 << 40)),
        )
        for _ in range(300)
    ]
    folds = [
        Manifest.from_clips(
            "random", "/r", fold, [replace(clip, split=name) for clip, name in zip(rows, names, strict=True)]
        )
        for fold, names in enumerate(splits, start=1)
    ]
    dataset = stored(fiftyone, folds, "random")
    assert [reading.read(dataset, reading.Wish(fold=fold)).hash for fold in (1, 2, 3)] == [one.hash for one in folds]


def test_the_hash_tells_what_was_changed_by_hand(fiftyone: Any) -> None:
    dataset = stored(fiftyone, manifests(), "corrected")
    sample = dataset.match(fiftyone.ViewField("ground_truth.label") == "wave").first()
    sample.ground_truth.label = "zoo"
    sample.save()
    back = reading.read(dataset, reading.Wish())
    assert back.hash != manifests()[0].hash
    assert back.clips[-1].label == "zoo"
    sample.ground_truth.label = "wavee"
    sample.save()
    with pytest.raises(UserError, match=r"'wavee', which is none of the data set's classes. Did you mean 'wave'"):
        reading.read(dataset, reading.Wish())


def test_a_view_gives_its_clips_alone(fiftyone: Any) -> None:
    dataset = stored(fiftyone, manifests(), "viewed")
    view = dataset.match_tags(["train", "validation"])
    back = reading.read(view, reading.Wish())
    assert {clip.split for clip in back.clips} == {"train", "validation"}
    assert back.classes == manifests()[0].classes
    dataset.save_view("learnt", view)
    assert len(connection.saved_view(connection.load(fiftyone, "viewed"), "learnt")) == len(view)
    with pytest.raises(UserError, match=r"has no saved view 'lernt'. Did you mean 'learnt'"):
        connection.saved_view(dataset, "lernt")
    with pytest.raises(UserError, match=r"has no dataset 'viewwd'. Did you mean 'viewed'"):
        connection.load(fiftyone, "viewwd")
    with pytest.raises(UserError, match=r"has the folds 1, 2; data.fold is 3"):
        reading.read(dataset, reading.Wish(fold=3))


@pytest.fixture
def foreign(fiftyone: Any, tmp_path: Path) -> Callable[..., Any]:
    """Make a dataset as other people do."""

    def make(tags: list[list[str]] | None = None, **more: list[Any]) -> Any:
        name = f"foreign-{tmp_path.name}"
        if fiftyone.dataset_exists(name):
            fiftyone.delete_dataset(name)
        dataset = fiftyone.Dataset(name)
        count = len(tags) if tags else len(next(iter(more.values())))
        for number in range(count):
            values = {key: column[number] for key, column in more.items()}
            sample = fiftyone.Sample(str(tmp_path / "in" / f"{number % 2}" / f"{number}.mp4"), **values)
            sample.tags = tags[number] if tags else []
            dataset.add_sample(sample)
        return dataset

    return make


def test_tags_and_classifications_become_splits_and_labels(
    fiftyone: Any, foreign: Callable[..., Any], tmp_path: Path
) -> None:
    labels = [fiftyone.Classification(label=name) for name in ("run", "sit", "run", "sit")] + [None]
    tags = [["train", "sunny"], ["val"], ["test"], ["train"], ["train"]]
    back = reading.read(foreign(tags, action=labels), reading.Wish())
    assert back.root == tmp_path / "in"
    assert [(clip.path, clip.label, clip.split) for clip in back.clips] == [
        ("0/0.mp4", "run", "train"),
        ("0/2.mp4", "run", "test"),
        ("0/4.mp4", None, "unlabelled"),
        ("1/1.mp4", "sit", "validation"),
        ("1/3.mp4", "sit", "train"),
    ]
    assert reading.read(foreign(tags, action=labels), reading.Wish(root=str(tmp_path))).root == tmp_path


def test_a_dataset_without_splits_is_dealt_out_by_group(fiftyone: Any, foreign: Callable[..., Any]) -> None:
    labels = ["run", "sit"] * 20
    people = [f"person {number // 4}" for number in range(40)]
    wish = reading.Wish(label_field="action", group_field="person", seed=1)
    back = reading.read(foreign(action=labels, person=people), wish)
    counts = {split: sum(classes.values()) for split, classes in back.counts().items()}
    assert set(counts) == {"train", "validation", "test"}
    assert min(counts.values()) >= 4
    splits = {clip.group: {other.split for other in back.clips if other.group == clip.group} for clip in back.clips}
    assert all(len(found) == 1 for found in splits.values())
    assert len(splits) == 10


def test_a_stretch_with_a_label_becomes_a_clip(fiftyone: Any, foreign: Callable[..., Any]) -> None:
    events = [
        fiftyone.TemporalDetections(
            detections=[
                fiftyone.TemporalDetection(label="run", support=[1, 10]),
                fiftyone.TemporalDetection(label="sit", support=[11, 30]),
            ]
        ),
        fiftyone.TemporalDetections(detections=[]),
    ]
    back = reading.read(foreign([["train"], ["test"]], events=events), reading.Wish(validation_fraction=0.1))
    assert [(clip.label, clip.start_frame, clip.end_frame) for clip in back.clips] == [("run", 0, 10), ("sit", 10, 30)]


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"label_field": "acton"}, "has no field 'acton'. Did you mean 'action'"),
        ({}, "has no field 'ground_truth', and 0 others"),
        ({"label_field": "number"}, "the field 'number' .* holds IntField; expected Classification"),
        ({"label_field": "action", "split_field": "number"}, "holds '0'; expected one of train, validation"),
        ({"label_field": "action", "group_field": "grup"}, "has no field 'grup'"),
        ({"label_field": "action"}, "1 have no tag that names a split and 1 have several"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(
    foreign: Callable[..., Any], wish: dict[str, str], sentence: str
) -> None:
    dataset = foreign([["train"], [], ["train", "test"]], action=["run", "sit", "sit"], number=[0, 1, 2])
    with pytest.raises(UserError, match=sentence):
        reading.read(dataset, reading.Wish(**wish))
