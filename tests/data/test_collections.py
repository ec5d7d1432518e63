"""From a configuration's data section to a manifest, for every kind of source."""

import dataclasses
from pathlib import Path

import pytest

from keras_actrec.config import DataConfig
from keras_actrec.data import collections
from keras_actrec.data.collections import check_groups, load_manifest
from keras_actrec.data.manifest import Clip, write_csv
from keras_actrec.errors import UserError
from keras_actrec.training import datasets


def rows(test_group: int = 9) -> list[Clip]:
    return [
        Clip(f"{c}/{g}_{i}.mp4", c, "test" if g == test_group else "train", f"person{g}")
        for c in "ab"
        for g in range(10)
        for i in range(2)
    ]


def test_manifest_source_carves_validation(tmp_path: Path) -> None:
    write_csv(tmp_path / "manifest.csv", [rows(9), rows(3)])
    data = DataConfig(source="manifest", root=str(tmp_path), fold=2)
    manifest = load_manifest(data, seed=0)
    assert manifest.classes == ("a", "b")
    assert {clip.group for clip in manifest.split("test")} == {"person3"}
    assert len(manifest.split("validation")) == 8
    assert load_manifest(data, seed=0).hash == manifest.hash
    assert load_manifest(data, seed=1).hash != manifest.hash


def test_manifest_that_names_validation_is_left_alone(tmp_path: Path) -> None:
    clips = [Clip("1.mp4", "a", "train"), Clip("2.mp4", "b", "train"), Clip("3.mp4", "a", "validation")]
    write_csv(tmp_path / "elsewhere.csv", [clips])
    data = DataConfig(source="manifest", root=str(tmp_path), lists=str(tmp_path / "elsewhere.csv"))
    assert load_manifest(data, seed=0).clips == tuple(clips)


def test_ucf101_keeps_missing_files(tmp_path: Path) -> None:
    """Nothing is dropped because a file is not there: reading it will say so."""
    (tmp_path / "classInd.txt").write_text("1 Archery\n2 Biking\n")
    for name, numbers in (("train", range(2, 8)), ("test", range(1, 2))):
        lines = [f"{c}/v_{c}_g{g:02d}_c01.avi\n" for c in ("Archery", "Biking") for g in numbers]
        (tmp_path / f"{name}list01.txt").write_text("".join(lines))
    data = DataConfig(source="ucf101", root=str(tmp_path), lists=str(tmp_path))
    manifest = load_manifest(data, seed=0)
    assert (manifest.name, len(manifest.clips), manifest.root) == ("ucf101", 14, tmp_path)


def test_hmdb51(tmp_path: Path) -> None:
    for label in ("run", "walk"):
        lines = [f"Film{i}_{label}_f_cm_np1_ba_bad_0.avi {2 if i == 0 else 1}\n" for i in range(6)]
        (tmp_path / f"{label}_test_split3.txt").write_text("".join(lines))
    data = DataConfig(source="hmdb51", root=str(tmp_path), lists=str(tmp_path), fold=3)
    manifest = load_manifest(data, seed=0)
    assert (manifest.name, manifest.fold, len(manifest.split("test"))) == ("hmdb51", 3, 2)


def test_folder(tmp_path: Path) -> None:
    for c in "ab":
        (tmp_path / "mine" / c).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "mine" / c / f"{i}.mp4").touch()
    data = DataConfig(source="folder", root=str(tmp_path / "mine"))
    manifest = load_manifest(data, seed=0)
    assert (manifest.name, len(manifest.split("test"))) == ("mine", 4)
    with pytest.raises(UserError, match="has one fold"):
        load_manifest(data.model_copy(update={"fold": 2}), seed=0)


def test_stick_actions_are_made_where_the_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ensure(root: str, settings: object, progress: object = None) -> Path:
        asked.append((root, settings))
        write_csv(Path(root) / "manifest.csv", [rows()])
        return Path(root)

    from keras_actrec.data import synthetic

    monkeypatch.setattr(synthetic, "ensure", ensure)
    data = DataConfig(root=str(tmp_path))
    manifest = load_manifest(data, seed=0)
    assert asked == [(str(tmp_path), data.stick_actions)]
    assert (manifest.name, len(manifest.split("test"))) == ("stick-actions", 4)


def test_straddling_group_is_refused(tmp_path: Path) -> None:
    clips = [*rows(), Clip("a/extra.mp4", "a", "test", "person1")]
    write_csv(tmp_path / "manifest.csv", [clips])
    with pytest.raises(UserError, match="group 'person1' has clips in "):
        load_manifest(DataConfig(source="manifest", root=str(tmp_path)), seed=0)
    check_groups([Clip("1", "a", "train"), Clip("2", "a", "test")])  # unknown groups cannot straddle


@pytest.mark.parametrize(
    "data, message",
    [
        (DataConfig(source="ucf101", root="nowhere", lists="nowhere"), "there is no folder nowhere"),
        (DataConfig(source="ucf101", root="."), "needs `data.lists`"),
        (DataConfig(source="hmdb51", root=".", lists="nowhere"), "there is no folder nowhere"),
        (DataConfig(source="manifest", root="nowhere"), "there is no folder nowhere"),
        (DataConfig(source="manifest", root="."), "there is no manifest at"),
        (DataConfig(source="folder", root="nowhere"), "there is no folder nowhere"),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: DataConfig, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        load_manifest(data, seed=0)


def test_nothing_to_validate_with(tmp_path: Path) -> None:
    write_csv(tmp_path / "manifest.csv", [[Clip("1.mp4", "a", "train"), Clip("2.mp4", "b", "train")]])
    with pytest.raises(UserError, match="gives no validation clips"):
        load_manifest(DataConfig(source="manifest", root=str(tmp_path)), seed=0)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_clips_without_a_label_cannot_be_judged_by(tmp_path: Path, split: str) -> None:
    """Training would go well, and its end fail."""
    clips = [Clip(f"{n}.mp4", "ab"[n % 2], ("train", "validation", "test")[n // 2]) for n in range(6)]
    clips += [Clip("7.mp4", None, split), Clip("8.mp4", None, split)]
    write_csv(tmp_path / "manifest.csv", [clips])
    data = DataConfig(source="manifest", root=str(tmp_path))
    with pytest.raises(UserError, match=rf"2 of the 4 {split} clips of .* without a label, such as 7.mp4; give"):
        load_manifest(data, seed=0)
    assert len(collections.read_manifest(data, seed=0).clips) == 8


def test_training_clips_without_a_label_are_unlabelled_ones(tmp_path: Path) -> None:
    """None of them becomes a validation clip, either."""
    clips = [*rows(), *(Clip(f"{g}.mp4", None, "train", f"other{g}") for g in range(10))]
    write_csv(tmp_path / "manifest.csv", [clips])
    manifest = load_manifest(DataConfig(source="manifest", root=str(tmp_path)), seed=0)
    assert [clip.path for clip in manifest.split("unlabelled")] == [f"{g}.mp4" for g in range(10)]
    assert all(clip.label for name in ("train", "validation", "test") for clip in manifest.split(name))


def people(*, listed: bool) -> list[Clip]:
    """Two videos with their class and one without of each of ten people."""
    with_label = [dataclasses.replace(clip, split=clip.split if listed else "train") for clip in rows()]
    return [
        *with_label,
        *(Clip(f"{g}.mp4", None, "unlabelled" if listed else "train", f"person{g}") for g in range(10)),
    ]


@pytest.mark.parametrize("listed", [True, False])
def test_unlabelled_clips_of_held_out_people_are_not_learnt_from(tmp_path: Path, listed: bool) -> None:
    write_csv(tmp_path / "manifest.csv", [people(listed=listed)])
    if not listed:
        text = (tmp_path / "manifest.csv").read_text()
        (tmp_path / "manifest.csv").write_text(text.replace(",split_1\n", ",ignored\n"))
    data = DataConfig(source="manifest", root=str(tmp_path))
    manifest = load_manifest(data, seed=0)
    groups = {split: {clip.group for clip in manifest.split(split)} for split in ("validation", "test", "unlabelled")}
    assert groups["validation"] and groups["test"]
    assert groups["unlabelled"] == {f"person{g}" for g in range(10)} - groups["validation"] - groups["test"]
    lost = 10 - len(groups["unlabelled"])
    assert manifest.notes[0].startswith(f"{lost} unlabelled clips left out: others of their groups")
    assert manifest.notes[0] in datasets.summary(manifest)
    assert collections.read_manifest(data, seed=0).hash == manifest.hash


def test_a_test_clip_that_is_listed_as_unlabelled_too_is_no_training_clip(tmp_path: Path) -> None:
    clips = [Clip(f"{n}.mp4", "ab"[n % 2], ("train", "validation", "test")[n // 2]) for n in range(6)]
    write_csv(
        tmp_path / "manifest.csv", [[*clips, Clip("5.mp4", None, "unlabelled"), Clip("6.mp4", None, "unlabelled")]]
    )
    manifest = load_manifest(DataConfig(source="manifest", root=str(tmp_path)), seed=0)
    assert [clip.path for clip in manifest.split("unlabelled")] == ["6.mp4"]


def test_every_source_of_the_configuration_has_a_reader() -> None:
    sources = DataConfig.model_json_schema()["properties"]["source"]["enum"]
    assert set(sources) == set(collections._READERS)
