"""One's own videos: every file counted, splits by group, clear words for what is missing."""

from collections import Counter
from pathlib import Path

import pytest

from keras_actrec.data.folder import read_folder
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def filled(root: Path, classes: int = 3, people: int = 10, takes: int = 2) -> Path:
    return touch(
        root,
        *[f"class{c}/person{p:02d}_take{t}.mp4" for c in range(classes) for p in range(people) for t in range(takes)],
    )


def splits_of(clips: list[Clip]) -> dict[str, str]:
    return {clip.path: clip.split for clip in clips}


def test_what_the_package_keeps_beside_the_videos_is_no_class(tmp_path: Path) -> None:
    before = read_folder(filled(tmp_path))
    touch(tmp_path, "boxes-yolov8/class0/person00_take0.mp4.json", ".keras_actrec/motion.sqlite")
    assert read_folder(tmp_path) == before


def test_each_class_is_in_each_split(tmp_path: Path) -> None:
    clips = read_folder(filled(tmp_path))
    assert len(clips) == 60
    counts = Counter((clip.label, clip.split) for clip in clips)
    for label in ("class0", "class1", "class2"):
        assert counts[label, "test"] == 4
        assert counts[label, "validation"] == 3
        assert counts[label, "train"] == 13


def test_groups_stay_together_across_classes(tmp_path: Path) -> None:
    clips = read_folder(filled(tmp_path), groups=r"(person\d+)")
    assert {clip.group for clip in clips} == {f"person{p:02d}" for p in range(10)}
    for person in range(10):
        assert len({clip.split for clip in clips if clip.group == f"person{person:02d}"}) == 1
    assert Counter(clip.split for clip in clips) == {"train": 36, "validation": 12, "test": 12}


def test_deterministic_by_seed(tmp_path: Path) -> None:
    filled(tmp_path)
    assert read_folder(tmp_path, seed=1) == read_folder(tmp_path, seed=1)
    assert splits_of(read_folder(tmp_path, seed=1)) != splits_of(read_folder(tmp_path, seed=2))


def test_added_files_move_few_others(tmp_path: Path) -> None:
    before = splits_of(read_folder(filled(tmp_path, people=40)))
    after = splits_of(read_folder(touch(tmp_path, "class0/new.mp4", "class1/new.mp4")))
    assert sum(after[path] != split for path, split in before.items()) <= 4


def test_nested_folders_and_strange_files_are_clips_hidden_ones_are_not(tmp_path: Path) -> None:
    filled(tmp_path)
    strange = ["class0/deep/er/film.MP4", "class0/notes.txt", "class1/poster.jpg", "class1/no-suffix"]
    hidden = ["class0/.DS_Store", "class0/.cache/x.mp4", ".git/a/x.mp4", "class1/Thumbs.db", "readme.txt"]
    clips = read_folder(touch(tmp_path, *strange, *hidden))
    assert len(clips) == 64
    assert set(strange) <= set(splits_of(clips))
    assert {clip.label for clip in clips} == {"class0", "class1", "class2"}


def test_stray_files_need_no_group(tmp_path: Path) -> None:
    clips = read_folder(touch(filled(tmp_path), "class0/notes.txt"), groups=r"(person\d+)")
    assert [clip.group for clip in clips if clip.path == "class0/notes.txt"] == [""]


@pytest.mark.parametrize("validation", ["val", "validation", "valid", "Val"])
def test_premade_splits(tmp_path: Path, validation: str) -> None:
    for split, count in (("train", 3), (validation, 2), ("test", 1)):
        touch(tmp_path, *[f"{split}/{c}/{i}.mp4" for c in "ab" for i in range(count)])
    clips = read_folder(tmp_path)
    assert {clip.label for clip in clips} == {"a", "b"}
    assert Counter(clip.split for clip in clips) == {"train": 6, "validation": 4, "test": 2}
    assert all(
        clip.split == {"train": "train", "test": "test"}.get(clip.path.split("/")[0], "validation") for clip in clips
    )


def test_missing_validation_is_carved_from_the_premade_training_folder(tmp_path: Path) -> None:
    touch(tmp_path, *[f"train/{c}/{i}.mp4" for c in "ab" for i in range(10)], "test/a/x.mp4", "test/b/x.mp4")
    clips = read_folder(tmp_path)
    assert Counter(clip.split for clip in clips) == {"train": 16, "validation": 4, "test": 2}
    assert all(clip.path.startswith("train/") for clip in clips if clip.split == "validation")


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    touch(tmp_path, *[f"{c}/{i}.mp4" for c in ("train", "test", "bus") for i in range(5)])
    assert {clip.label for clip in read_folder(tmp_path)} == {"train", "test", "bus"}


def test_no_test_split(tmp_path: Path) -> None:
    clips = read_folder(filled(tmp_path), test_fraction=0)
    assert {clip.split for clip in clips} == {"train", "validation"}


@pytest.mark.parametrize(
    "paths, options, message",
    [
        ((), {}, "holds 0 class folders"),
        (("a/1.mp4", "a/2.mp4"), {}, "holds 1 class folders"),
        (("a/1.mp4", "b/1.mp4", "loose.mp4"), {}, r"loose.mp4 lies outside of a class folder"),
        (
            ("a/1.mp4", "a/2.mp4", "a/3.mp4", "b/1.mp4", "b/2.mp4"),
            {},
            "class 'b' .* has 2 videos for training; at least 3",
        ),
        (
            ("a/p1.mp4", "a/p2.mp4", "b/p1.mp4"),
            {"test_fraction": 0},
            "class 'b' .* has 1 videos for training; at least 2",
        ),
        (
            ("a/p1_1.mp4", "a/p1_2.mp4", "a/p2_3.mp4", "b/p1.mp4", "b/p2.mp4"),
            {"groups": r"(p\d)"},
            "class 'a' .* has 2 groups of videos for training; at least 3",
        ),
        (("a/x.mp4", "b/p1.mp4"), {"groups": r"/(p\d)"}, r"finds no group in 'a/x.mp4'"),
        (("a/x.mp4", "b/p1.mp4"), {"groups": r"p\d"}, "has no group"),
        (("a/x.mp4", "b/p1.mp4"), {"groups": r"(p\d"}, "is no regular expression"),
    ],
)
def test_mistakes(tmp_path: Path, paths: tuple[str, ...], options: dict[str, object], message: str) -> None:
    touch(tmp_path, *paths)
    with pytest.raises(UserError, match=message):
        read_folder(tmp_path, **options)


def test_empty_class_folder(tmp_path: Path) -> None:
    (filled(tmp_path) / "empty").mkdir()
    with pytest.raises(UserError, match=r"class 'empty' .* has 0 videos"):
        read_folder(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        read_folder(tmp_path / "none")
