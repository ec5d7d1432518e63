"""IsoGD: both forms of its lists, the folders as released, and the splits."""

from pathlib import Path

import pytest
from trees import lines, number_of, pictures, video

from keras_actrec.config import DataConfig
from keras_actrec.data.collections import load_manifest
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UserError


def row(split: str, number: int, label: int, folder: int = 1) -> str:
    return f"{split}/{folder:03d}/M_{number:05d}.avi {split}/{folder:03d}/K_{number:05d}.avi {label}"


def write_lists(folder: Path, test: bool = True) -> Path:
    training = [row("train", number, 1 + number % 3, 1 + number // 10) for number in range(1, 41)]
    lines(folder / "train_list.txt", *training)
    lines(folder / "valid_list.txt", *(row("valid", number, 1 + number % 3) for number in range(1, 7)))
    if test:
        lines(folder / "test_list.txt", *(row("test", number, 249) for number in range(1, 4)))
    return folder


def read(root: Path, lists: Path) -> Manifest:
    return load_manifest(DataConfig(source="isogd", root=str(root), lists=str(lists)), seed=0)


def test_official_form(tmp_path: Path) -> None:
    """Labels count from 1; the lists' own validation is ours, and nothing is carved."""
    manifest = read(tmp_path, write_lists(tmp_path / "lists"))
    first = manifest.split("train")[0]
    assert first == Clip("train/001/M_00001.avi", "002", "train", "train/001", depth="train/001/K_00001.avi")
    counts = {split: len(manifest.split(split)) for split in ("train", "validation", "test")}
    assert counts == {"train": 40, "validation": 6, "test": 3}
    assert len(manifest.classes) == 249 and manifest.classes[248] == "249"
    assert {clip.label for clip in manifest.split("test")} == {"249"}


def test_without_a_test_list(tmp_path: Path) -> None:
    """The official validation list is tested on; whole folders of training become validation."""
    manifest = read(tmp_path, write_lists(tmp_path / "lists", test=False))
    assert all(clip.path.startswith("valid/") for clip in manifest.split("test"))
    folders = [{clip.group for clip in manifest.split(split)} for split in ("train", "validation")]
    assert folders[1] and not folders[0] & folders[1]
    assert all(clip.path.startswith("train/") for clip in manifest.split("validation"))


def test_form_of_the_predecessor(tmp_path: Path) -> None:
    """Video, frames, label from 0: class 25 there is the official class 26."""
    pictures(tmp_path / "train/001/M_00002", 3)
    pictures(tmp_path / "train/001/K_00002", 3)
    lines(tmp_path / "train.txt", "train/001/M_00001 55 25", "train/001/M_00002 3 0", row("train", 3, 26))
    lines(tmp_path / "valid.txt", "valid/001/M_00001 41 248")
    lines(tmp_path / "test.txt", "test/001/M_00001 41 248")
    manifest = read(tmp_path, tmp_path)
    rows = [(clip.path, clip.depth, clip.label, clip.frames) for clip in manifest.split("train")]
    assert rows == [
        ("train/001/M_00001.avi", "train/001/K_00001.avi", "026", 55),
        ("train/001/M_00002", "train/001/K_00002", "001", 3),
        ("train/001/M_00003.avi", "train/001/K_00003.avi", "026", None),
    ]
    assert {clip.label for clip in manifest.split("test")} == {"249"}


def test_as_it_was_released(tmp_path: Path) -> None:
    """Phase 1 holds training and validation, phase 2 the test; frames of RGB and depth are read."""
    for phase, split in ((1, "train"), (1, "valid"), (2, "test")):
        for kind in "MK":
            video(tmp_path / f"IsoGD_phase_{phase}" / split / "001" / f"{kind}_00001.avi", 6 if kind == "M" else 5)
    lists = tmp_path / "IsoGD_labels"
    for split in ("train", "valid", "test"):
        lines(lists / f"{split}.txt", row(split, 1, 7))
    manifest, source = read(tmp_path, lists), VideoSource(tmp_path)
    paths = [clip.path for clip in manifest.clips]
    assert paths[0] == "IsoGD_phase_1/train/001/M_00001.avi" and "IsoGD_phase_2/test/001/M_00001.avi" in paths
    for clip in manifest.clips:
        assert source.probe(clip).frames == 6
        assert [number_of(frame) for frame in source.read(clip, [0, 5])] == [0, 5]
        assert [number_of(frame) for frame in source.read(clip, [1, 5], modality="depth")] == [1, 4]


@pytest.mark.parametrize(
    "line, message",
    [
        (row("train", 1, 250), "expected a label from 1 to 249, found '250'"),
        (row("train", 1, 0), "expected a label from 1 to 249, found '0'"),
        ("train/001/M_00001 55 249", "from 0 to 248, found '249'"),
        ("train/001/M_00001.avi train/001/K_00002.avi 5", "expected 'train/001/M_00001.avi"),
        ("train/001/K_00001.avi train/001/M_00001.avi 5", "expected 'train/001/M_00001.avi"),
        ("train/001/M_00001.avi train/001/K_00001.avi", "expected 'train/001/M_00001.avi"),
        ("M_00001 55 3", "expected 'train/001/M_00001.avi"),
    ],
)
def test_malformed_line(tmp_path: Path, line: str, message: str) -> None:
    write_lists(tmp_path)
    lines(tmp_path / "train_list.txt", row("train", 9, 1), "", line)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, tmp_path)
    assert "train_list.txt, line 3: " in str(error.value)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs `data.lists`"):
        load_manifest(DataConfig(source="isogd", root=str(tmp_path)), 0)
    write_lists(tmp_path)
    lines(tmp_path / "train_list.txt", row("train", 1, 2), row("train", 1, 2))
    with pytest.raises(UserError, match=r"name train/001/M_00001.avi 2 times \(train\)"):
        read(tmp_path, tmp_path)
    for name in ("train_list.txt", "valid_list.txt"):
        (write_lists(tmp_path) / name).unlink()
        with pytest.raises(UserError, match=f"there is no list {name} or {name.replace('_list', '')}"):
            read(tmp_path, tmp_path)
