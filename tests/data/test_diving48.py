"""Diving48: lists, attributes, stretches."""

import csv
from pathlib import Path

import pytest
from trees import document, number_of, video

from keras_actrec.config import DataConfig
from keras_actrec.data.collections import load_manifest
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.official import diving48
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UnreadableVideoError, UserError

VOCABULARY = [
    ["Back", "15som", "05Twis", "FREE"],
    ["Back", "15som", "15Twis", "FREE"],
    ["Forward", "Dive", "NoTwis", "PIKE"],
]


def entry(name: str, label: int, start: int = 0, end: int = 8) -> dict[str, object]:
    return {"vid_name": name, "label": label, "start_frame": start, "end_frame": end}


def write_lists(folder: Path) -> Path:
    training = [entry(f"-mmq0PT-u8{r}_{n:05d}", n % 3) for r in "abcde" for n in range(6)]
    document(folder / "Diving48_V2_train.json", training)
    document(folder / "Diving48_V2_test.json", [entry("2x00lRzlTVQ_00000", 2, 2, 7), entry("-mmq0PT-u8a_00099", 1)])
    document(folder / "Diving48_vocab.json", VOCABULARY)
    return folder


def read(root: Path, lists: Path) -> Manifest:
    return load_manifest(DataConfig(source="diving48", root=str(root), lists=str(lists)), seed=0)


def test_rows(tmp_path: Path) -> None:
    manifest = read(tmp_path, write_lists(tmp_path))
    assert manifest.classes == ("Back 15som 05Twis FREE", "Back 15som 15Twis FREE", "Forward Dive NoTwis PIKE")
    assert manifest.split("test")[1] == Clip(
        "2x00lRzlTVQ_00000.mp4", manifest.classes[2], "test", "test/2x00lRzlTVQ", start_frame=2, end_frame=7
    )
    assert len(manifest.split("train")) == 24 and len(manifest.split("validation")) == 6


def test_validation_shares_no_recording_with_training(tmp_path: Path) -> None:
    """Not even where the official lists share one between training and test."""
    manifest = read(tmp_path, write_lists(tmp_path))
    recordings = [{clip.path.rpartition("_")[0] for clip in manifest.split(s)} for s in ("train", "validation", "test")]
    assert len(recordings[0]) == 4 and len(recordings[1]) == 1
    assert not recordings[0] & recordings[1]
    assert recordings[2] & (recordings[0] | recordings[1]) == {"-mmq0PT-u8a"}


def test_videos_are_found_and_cut(tmp_path: Path) -> None:
    video(tmp_path / "rgb" / "2x00lRzlTVQ_00000.mp4", 6)
    manifest, source = read(tmp_path, write_lists(tmp_path / "annotations")), VideoSource(tmp_path)
    clip = next(clip for clip in manifest.clips if clip.path == "rgb/2x00lRzlTVQ_00000.mp4")
    assert source.probe(clip).frames == 4  # of 2 to 7 the video has 2 to 5
    assert [number_of(frame) for frame in source.read(clip, [0, 3])] == [2, 5]
    with pytest.raises(UnreadableVideoError, match="missing file"):
        source.probe(manifest.split("train")[0])


def test_attributes(tmp_path: Path) -> None:
    found = diving48.attributes(write_lists(tmp_path))
    assert list(found) == [" ".join(values) for values in VOCABULARY]
    assert found["Back 15som 05Twis FREE"] == {
        "takeoff": "Back",
        "somersault": "15som",
        "twist": "05Twis",
        "flight position": "FREE",
    }
    diving48.write_attributes(tmp_path, tmp_path / "attributes.csv")
    with (tmp_path / "attributes.csv").open(newline="") as file:
        rows = {row.pop("class"): row for row in csv.DictReader(file)}
    assert rows == found


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("Diving48_vocab.json", [["Back", "15som"]], "entry 1: expected takeoff, somersault, twist, flight position"),
        ("Diving48_vocab.json", [VOCABULARY[0], VOCABULARY[0]], "entry 2: the class 'Back 15som 05Twis FREE' is there"),
        ("Diving48_vocab.json", {}, "expected a list of four attributes"),
        (
            "Diving48_V2_train.json",
            [entry("a_0", 0), entry("a_1", 3)],
            "entry 2: expected a label from 0 to 2, found '3'",
        ),
        (
            "Diving48_V2_train.json",
            [{"vid_name": "a_0", "label": 0}],
            "entry 1: expected an object with vid_name, label",
        ),
        ("Diving48_V2_test.json", [entry("a_0", 0, -1)], "entry 1: expected start_frame from 0"),
        ("Diving48_V2_test.json", [entry("a_0", 0)] * 2, "name a_0.mp4 2 times"),
    ],
)
def test_malformed_list(tmp_path: Path, name: str, content: object, message: str) -> None:
    document(write_lists(tmp_path) / name, content)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, tmp_path)
    assert name in str(error.value) or "official lists name" in str(error.value)


@pytest.mark.parametrize("name", ["Diving48_vocab.json", "Diving48_V2_train.json", "Diving48_V2_test.json"])
def test_missing_or_damaged_list(tmp_path: Path, name: str) -> None:
    (write_lists(tmp_path) / name).write_text("[{")
    with pytest.raises(UserError, match=f"{name} is no JSON"):
        read(tmp_path, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"there is no list .*{name}"):
        read(tmp_path, tmp_path)
