"""Kinetics: CSV lists, files in class folders or not, and videos that exist no more."""

from pathlib import Path

import pytest
from trees import lines, number_of, video

from keras_actrec.config import DataConfig
from keras_actrec.data.collections import load_manifest
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.official import lists
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UnreadableVideoError, UserError

HEADER = "label,youtube_id,time_start,time_end,split,is_cc"


def write_lists(folder: Path, validation: str = "val.csv", word: str = "val") -> Path:
    training = [
        f"{label},{label.strip(chr(34))[:4]}_-{n:06d},{n},{n + 10},train,0"
        for label in ("abseiling", '"air drumming"')
        for n in range(5)
    ]
    lines(folder / "train.csv", HEADER, *training)
    lines(
        folder / validation,
        HEADER,
        f"abseiling,-3B32lodo2M,59,69,{word},0",
        f'"air drumming",_dbcJuKJQNs,40,50,{word},0',
    )
    return folder


def read(root: Path, lists: Path) -> Manifest:
    return load_manifest(DataConfig(source="kinetics", root=str(root), lists=str(lists)), seed=0)


@pytest.mark.parametrize(
    "validation, word", [("val.csv", "val"), ("validate.csv", "validate"), ("kinetics_val.csv", "val")]
)
def test_rows(tmp_path: Path, validation: str, word: str) -> None:
    manifest = read(tmp_path, write_lists(tmp_path, validation, word))
    assert manifest.classes == ("abseiling", "air drumming")
    assert {clip.path for clip in manifest.split("test")} == {
        "abseiling/-3B32lodo2M_000059_000069.mp4",
        "air drumming/_dbcJuKJQNs_000040_000050.mp4",
    }
    assert {
        label: len([c for c in manifest.split("validation") if c.label == label]) for label in manifest.classes
    } == {
        "abseiling": 1,
        "air drumming": 1,
    }
    assert len(manifest.split("train")) == 8


def test_files_wherever_they_are(tmp_path: Path) -> None:
    """In class folders with another suffix, flat, or under the id alone; what is missing costs coverage."""
    lists = write_lists(tmp_path / "lists")
    video(tmp_path / "val_256" / "air_drumming" / "_dbcJuKJQNs_000040_000050.webm", 5)
    video(tmp_path / "-3B32lodo2M.mp4", 7)
    video(tmp_path / "abse_-000003_000003_000013.mp4", 4)
    manifest, source, quarantine = read(tmp_path, lists), VideoSource(tmp_path), Quarantine()
    counts = {}
    for clip in manifest.clips:
        try:
            counts[clip.group] = source.probe(clip).frames
            assert number_of(source.read(clip, [2])[0]) == 2
        except UnreadableVideoError as error:
            quarantine.add(clip, error.reason)
    assert counts == {"test/_dbcJuKJQNs": 5, "test/-3B32lodo2M": 7, "training/abse_-000003": 4}
    assert set(quarantine.reasons().values()) == {"missing file"} and len(quarantine) == 9


@pytest.mark.parametrize(
    "line, message",
    [
        ("abseiling,abc,12,22,val,0", "expected the split 'train' in this file, found 'val'"),
        ("abseiling,abc,12.5,22,train,0", "expected whole seconds for time_start, found '12.5'"),
        ("abseiling,abc,12,,train,0", "the column 'time_end' is empty"),
        (",abc,12,22,train,0", "the column 'label' is empty"),
        ("abseiling,abc", "the column 'time_start' is empty"),
    ],
)
def test_malformed_line(tmp_path: Path, line: str, message: str) -> None:
    path = write_lists(tmp_path) / "train.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, tmp_path)
    assert "train.csv, line 12: " in str(error.value)


def test_mistakes(tmp_path: Path) -> None:
    write_lists(tmp_path)
    lines(tmp_path / "val.csv", "youtube_id,time_start,time_end,split", "-3B32lodo2M,59,69,test")
    with pytest.raises(UserError, match=r"val.csv: expected a column 'label', found youtube_id, time_start"):
        read(tmp_path, tmp_path)
    (tmp_path / "val.csv").unlink()
    with pytest.raises(UserError, match=r"there is no list val.csv or validate.csv or \*val\*.csv"):
        read(tmp_path, tmp_path)
    write_lists(tmp_path, "k400_val.csv")
    write_lists(tmp_path, "k600_val.csv")
    with pytest.raises(UserError, match=r"expected one list .*, found k400_val.csv, k600_val.csv"):
        read(tmp_path, tmp_path)
    write_lists(tmp_path)
    lines(tmp_path / "val.csv", HEADER, "abseiling,abse_-000003,3,13,val,0")
    with pytest.raises(UserError, match=r"2 times \(test, train\)"):
        read(tmp_path, tmp_path)


def test_links_are_followed_once(tmp_path: Path) -> None:
    """Data sets are often links to other disks; one that leads back must not lead round and round."""
    (tmp_path / "disk" / "part").mkdir(parents=True)
    (tmp_path / "disk" / "part" / "a.mp4").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "videos").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "disk")
    assert list(lists.find_videos(tmp_path / "root")) == ["videos/part/a.mp4"]
