"""A data set and a run's answers in FiftyOne: fields, views, media, export, and training from the export."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_actrec import cli, files
from keras_actrec.data.fiftyone_sets import reading, writing
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UserError
from keras_actrec.inspection import building, export, look, names, opening, samples, shown
from keras_actrec.inspection.answers import Answers

COUNT = 6
CLASSES = ("run", "sit")
OPTIONS = argparse.Namespace(keep=None, overwrite=False, receipt=None)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, film: Callable[..., Path]) -> opening.Opened:
    """A folder with a table: six test clips of two classes, one of them with a box file, one of them empty."""
    root = tmp_path_factory.mktemp("data")
    rows = ["path,label,group,split,boxes"]
    for number in range(COUNT):
        film(root / f"{number}.mp4")
        rows.append(f"{number}.mp4,{CLASSES[number % 2]},g{number},test,{'b.json' if number == 0 else ''}")
    rows += [f"{name},{label},{name},{name}," for name, label in (("train", "run"), ("validation", "sit"))]
    boxes = [None if number == 2 else [16, 12, 32, 48] for number in range(12)]
    (root / "b.json").write_text(json.dumps({"height": 48, "width": 64, "boxes": boxes}))
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return opening.open_data(str(root), [])


@pytest.fixture(scope="module")
def answers() -> dict[str, Answers]:
    """Two views of each clip; clip 5 could not be read, clips 1 and 4 are taken for the other class, 4 with 90 %."""
    right = np.array([0.9, 0.25, 0.8, 0.7, 0.1])
    truth = np.arange(COUNT - 1) % 2
    shares = np.where(truth[:, None] == np.arange(2), right[:, None], 1 - right[:, None]).astype(np.float32)
    views = np.stack([shares, shares], axis=1)
    features = np.random.default_rng(0).normal(size=(COUNT - 1, 7)).astype(np.float32)
    return {"test": Answers(np.arange(COUNT - 1), shares, views, {}, features, False, {5: "truncated: 1 of 12 frames"})}


@pytest.fixture(scope="module")
def dataset(
    fiftyone: Any, opened: opening.Opened, answers: dict[str, Answers], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    run = tmp_path_factory.mktemp("run")
    Quarantine(run / "quarantine.json").add(opened.manifest.split("test")[3], "corrupt: frame 7")
    overlay = {"video": str(opened.manifest.root / "2.mp4"), "overlay": "grad_cam", "explained": "run"}
    files.write_json(run / "explanations" / "2" / "explanation.json", overlay)
    (run / "explanations" / "2" / "overlay.mp4").touch()
    rows = writing.rows(opened.manifests)
    seen = shown.show(rows, opened.source, run / "media", shown.Wish(), lambda *_: None)
    with_run = dataclasses.replace(opened, run=run)
    return building.build(fiftyone, "seen", with_run, answers, seen, OPTIONS)


def test_answers_stand_beside_the_clips(dataset: Any) -> None:
    tested = dataset.match_tags("test")
    columns = tested.values(["clip_path", "prediction.label", "correct", "rank_of_truth"])
    assert list(zip(*columns, strict=True)) == [
        ("0.mp4", "run", True, 1),
        ("1.mp4", "run", False, 2),
        ("2.mp4", "run", True, 1),
        ("3.mp4", "sit", True, 1),
        ("4.mp4", "sit", False, 2),
        ("5.mp4", None, None, None),
    ]
    first = tested.first()
    assert first.prediction.confidence == first.confidence == pytest.approx(0.9)
    assert first.prediction.probabilities == pytest.approx([0.9, 0.1])
    assert [answer.label for answer in first.top_answers.classifications] == ["run", "sit"]
    assert [view.confidence for view in first.view_predictions.classifications] == pytest.approx([0.9, 0.9])
    assert tested.skip(1).first().confidence_in_truth == pytest.approx(0.25)


def test_saved_views_hold_what_they_say(dataset: Any) -> None:
    def paths(name: str) -> list[str]:
        return dataset.load_saved_view(name).values("clip_path")

    assert paths("wrong, surest first") == ["4.mp4", "1.mp4"]
    assert paths("wrong and confident") == ["4.mp4", "1.mp4"]
    assert paths("right, least sure first") == ["3.mp4", "2.mp4", "0.mp4"]
    assert paths("run taken for sit") == ["4.mp4"]
    assert paths("sit taken for run") == ["1.mp4"]
    assert paths("split: test") == [f"{number}.mp4" for number in range(COUNT)]
    assert sorted(paths("quarantined")) == ["3.mp4", "5.mp4", "train", "validation"]
    assert paths("explained") == ["2.mp4"]


def test_what_cannot_be_read_has_its_reason(dataset: Any) -> None:
    reasons = dict(zip(*dataset.match_tags("quarantined").values(["clip_path", "reason"]), strict=True))
    assert reasons == {
        "3.mp4": "corrupt: frame 7",
        "5.mp4": "truncated: 1 of 12 frames",
        "train": "missing file",
        "validation": "missing file",
    }
    assert all(Path(path).is_file() for path in dataset.values("shown"))


def test_boxes_stand_on_their_frames(dataset: Any) -> None:
    first = dataset.match_tags("test").first()
    numbers = [number for number, frame in first.frames.items() if frame.person is not None]
    assert numbers == [number for number in range(1, 13) if number != 3]
    assert first.frames[1].person.bounding_box == pytest.approx([0.25, 0.25, 0.25, 0.75])
    assert (first.metadata.frame_rate, first.metadata.total_frame_count) == (12.0, 12)


def test_the_look_names_fields_that_are_there(dataset: Any) -> None:
    config = dataset.app_config
    schema = set(dataset.get_field_schema())
    paths = [path for group in config.sidebar_groups for path in group.paths if path not in ("tags", "_label_tags")]
    assert len(paths) == len(set(paths))
    assert {path for path in paths if not path.startswith("frames.")} == schema - {"tags"}
    assert config.media_fields == ["shown", "explanation", "filepath"]
    assert dataset.match_tags("explained").first().explanation.endswith("overlay.mp4")
    points = dataset.load_brain_results(samples.MAP).points
    assert points.shape == (COUNT - 1, 2)
    assert np.isfinite(points).all()


def test_the_export_trains_again(dataset: Any, opened: opening.Opened, fiftyone: Any, tmp_path: Path) -> None:
    written = export.export(dataset, opened.manifests, tmp_path / "out")
    assert [path.name for path in written] == ["fiftyone", "manifest.csv", "predictions.csv"]
    back = fiftyone.Dataset.from_dir(str(written[0]), dataset_type=fiftyone.types.FiftyOneDataset, name="back")
    assert reading.read(back, reading.Wish()) == dataclasses.replace(
        opened.manifest, root=opened.manifest.root.resolve()
    )
    assert back.match_tags("test").values("prediction.label")[:2] == ["run", "run"]
    with written[2].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["correct"] for row in rows] == ["True", "False", "True", "True", "False"]
    again = opening.open_data(str(written[1]), [f"data.root={opened.manifest.root}"])
    assert again.manifest.clips == opened.manifest.clips
    with pytest.raises(UserError, match=r"is not empty; choose a new folder"):
        export.export(dataset, opened.manifests, tmp_path / "out")


def test_a_kept_name_is_not_taken_twice(dataset: Any, opened: opening.Opened, fiftyone: Any) -> None:
    with pytest.raises(UserError, match=r"has a dataset 'seen' already; choose another name, or --overwrite"):
        building.build(fiftyone, "seen", opened, {}, [], OPTIONS)
    assert fiftyone.dataset_exists("seen")


def test_a_kept_dataset_is_replaced_by_a_complete_one_alone(
    opened: opening.Opened, fiftyone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels that somebody has corrected in it must outlive whatever goes wrong on the way."""
    fiftyone.Dataset("relabelled", persistent=True).add_sample(fiftyone.Sample(filepath="/mine.mp4"))
    seen = shown.show(writing.rows(opened.manifests), opened.source, tmp_path, shown.Wish(), lambda *_: None)
    replace = argparse.Namespace(keep="relabelled", overwrite=True, receipt="typo.json")
    before = fiftyone.list_datasets()
    with pytest.raises(UserError, match=r"there is no receipt at typo\.json"):
        building.build(fiftyone, "relabelled", opened, {}, seen, replace)
    replace.receipt = None
    with monkeypatch.context() as patch:
        patch.setattr(building.look, "arrange", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            building.build(fiftyone, "relabelled", opened, {}, seen, replace)
    assert fiftyone.list_datasets() == before
    assert fiftyone.load_dataset("relabelled").values("filepath") == ["/mine.mp4"]
    made = building.build(fiftyone, "relabelled", opened, {}, seen, replace)
    assert fiftyone.list_datasets() == before
    assert (made.name, made.slug, made.persistent, len(made)) == ("relabelled", "relabelled", True, len(seen))


@pytest.fixture
def seen(opened: opening.Opened, tmp_path: Path) -> list[shown.Shown]:
    return shown.show(writing.rows(opened.manifests), opened.source, tmp_path / "media", shown.Wish(), lambda *_: None)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("\u89c6\u9891", "a name needs a letter from a to z or a digit"),
        ("SEEN!", r"has a dataset 'seen', whose address \(seen\) 'SEEN!' would have, too"),
    ],
)
def test_names_that_fiftyone_cannot_take_are_refused_before_any_work(
    name: str,
    sentence: str,
    dataset: Any,
    opened: opening.Opened,
    fiftyone: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = fiftyone.list_datasets()
    with pytest.raises(UserError, match=sentence):
        building.build(fiftyone, name, opened, {}, [], argparse.Namespace(keep=name, overwrite=True, receipt=None))
    for taken in (name, "seen"):
        assert cli.main(["inspect", "--data", "nowhere", "--keep", taken]) == 1
        said = capsys.readouterr().err
        assert "choose another name" in said and "Traceback" not in said and "nowhere" not in said
    assert fiftyone.list_datasets() == before


def test_without_keep_a_name_like_it_is_found(dataset: Any, fiftyone: Any) -> None:
    assert names.usable(fiftyone, "unknown") == "unknown"
    for name in ("\u89c6\u9891", "seen", "SEEN"):
        found = names.usable(fiftyone, name)
        assert found.startswith(f"{name}-")
        names.check(fiftyone, found, overwrite=False)


def test_a_renaming_that_fails_leaves_both_worlds_as_they_were(
    opened: opening.Opened, fiftyone: Any, seen: list[shown.Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody takes the address while the dataset is being filled."""
    fiftyone.Dataset("mine", persistent=True).add_sample(fiftyone.Sample(filepath="/mine.mp4"))
    before = fiftyone.list_datasets()
    rename = building._rename

    def too_late(fiftyone: Any, dataset: Any, name: str) -> str | None:
        monkeypatch.setattr(type(dataset), "name", property(type(dataset).name.fget, refuse))
        return rename(fiftyone, dataset, name)

    set_name = fiftyone.Dataset.name.fset

    def refuse(dataset: Any, name: str) -> None:
        if name == "mine" and dataset.name.startswith("unfinished-"):
            raise ValueError("not available")
        set_name(dataset, name)

    monkeypatch.setattr(building, "_rename", too_late)
    with pytest.raises(ValueError, match="not available"):
        building.build(
            fiftyone, "mine", opened, {}, seen, argparse.Namespace(keep="mine", overwrite=True, receipt=None)
        )
    assert fiftyone.list_datasets() == before
    assert fiftyone.load_dataset("mine").values("filepath") == ["/mine.mp4"]


def test_views_whose_names_have_one_address_are_all_there(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        look.View(f"{truth} taken for \u5750", "", dataset.limit(number))
        for number, truth in enumerate("\u8dd1\u8df3", 1)
    ]
    monkeypatch.setattr(look, "views", lambda *_: iter(found))
    look.arrange(dataset, CLASSES, None)
    names_found = [name for name in dataset.list_saved_views() if "taken for \u5750" in name]
    assert names_found == ["\u8dd1 taken for \u5750", "\u8df3 taken for \u5750 (2)"]
    assert [len(dataset.load_saved_view(name)) for name in names_found] == [1, 2]
