"""EPIC-Kitchens-100: real rows of its lists, videos by time and pictures by frame number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from trees import lines, number_of, pictures, video

from keras_actrec.config import DataConfig
from keras_actrec.data.collections import load_manifest
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.source import VideoSource
from keras_actrec.data.targets import targets_of
from keras_actrec.errors import UserError

HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
OFFICIAL = (
    "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,take plate,take,0,plate,2,['plate'],[2]",
    "P01_11_1,P01,P01_11,00:00:01.700,00:00:01.56,00:00:02.45,93,147,put down plate,put-down,1,plate,2,['plate'],[2]",
)


def row(video: str, start: float, stop: float, verb: int = 0, noun: int = 0, rate: int = 60) -> str:
    frames = f"{int(start * rate)},{int(stop * rate)}"
    times = f"00:00:{start:05.2f},00:00:{stop:05.2f}"
    nouns = "\"['plate', 'cup']\",\"[2, 13]\""
    return f"{video}_7,{video[:3]},{video},00:00:00.560,{times},{frames},some words,take,{verb},plate,{noun},{nouns}"


def write_lists(folder: Path, training: Sequence[str] = (), validation: Sequence[str] = OFFICIAL) -> Path:
    for name, count in (("verb", 97), ("noun", 300)):
        rows = [f"{n},{name}{n},\"['{name}{n}', 'other']\",kind" for n in reversed(range(count))]
        lines(folder / f"EPIC_100_{name}_classes.csv", "id,key,instances,category", *rows)
    training = training or [
        row(f"P{p:02d}_{v:02d}", t, t + 1, t % 2, p) for p in (2, 3) for v in (1, 2, 3) for t in range(4)
    ]
    lines(folder / "EPIC_100_train.csv", HEADER, *training)
    lines(folder / "EPIC_100_validation.csv", HEADER, *validation)
    return folder


def read(root: Path, lists: Path) -> Manifest:
    return load_manifest(DataConfig(source="epic_kitchens_100", root=str(root), lists=str(lists)), seed=0)


def test_rows(tmp_path: Path) -> None:
    """Without the videos, where they should be; the labels are the classes' keys, not the words of the narration."""
    manifest = read(tmp_path, write_lists(tmp_path))
    assert manifest.split("test") == (
        Clip("P01/videos/P01_11.MP4", "verb0 noun2", "test", "P01_11", 0.0, 1.89, verb="verb0", noun="noun2"),
        Clip("P01/videos/P01_11.MP4", "verb1 noun2", "test", "P01_11", 1.56, 2.45, verb="verb1", noun="noun2"),
    )
    assert manifest.verbs == tuple(f"verb{n}" for n in range(97))
    assert manifest.nouns == tuple(f"noun{n}" for n in range(300))
    verb, noun = targets_of(manifest, "verb_noun")
    assert (verb.name, len(verb.classes), noun.name, len(noun.classes)) == ("verb", 97, "noun", 300)
    assert verb.numbers(manifest.split("test")).tolist() == [0, 1]
    assert noun.numbers(manifest.split("test")).tolist() == [2, 2]
    assert manifest.classes == tuple(sorted({clip.label for clip in manifest.clips}))


def test_validation_by_video(tmp_path: Path) -> None:
    manifest = read(tmp_path, write_lists(tmp_path))
    videos = [{clip.group for clip in manifest.split(split)} for split in ("train", "validation")]
    assert (len(videos[0]), len(videos[1])) == (5, 1)
    assert not videos[0] & videos[1]


def test_actions_that_occur_once_do_not_hinder_validation(tmp_path: Path) -> None:
    """Nearly every video holds an action that no other has; the verbs are what is left for training."""
    rows = [row(f"P02_{v:02d}", t, t + 1, t % 3, 10 * v + t) for v in range(20) for t in range(6)]
    manifest = read(tmp_path, write_lists(tmp_path, rows))
    share = len(manifest.split("validation")) / 120
    assert 0.15 <= share <= 0.25
    assert {clip.verb for clip in manifest.split("train")} == {"verb0", "verb1", "verb2"}


def test_videos_are_cut_by_time(tmp_path: Path) -> None:
    """At 10 frames a second, frame numbers of 60 a second would point elsewhere."""
    video(tmp_path / "P02" / "videos" / "P02_01.mp4", 24, rate=10)
    rows = [row("P02_01", 0.5, 1.2), row("P02_01", 2.0, 2.3), row("P02_02", 0, 1)]
    manifest, source = read(tmp_path, write_lists(tmp_path, rows)), VideoSource(tmp_path)
    clips = [clip for clip in manifest.clips if clip.path == "P02/videos/P02_01.mp4"]
    assert [(clip.start_sec, clip.end_sec) for clip in clips] == [(0.5, 1.2), (2.0, 2.3)]
    assert [source.probe(clip).frames for clip in clips] == [7, 3]
    assert [[number_of(frame) for frame in source.read(clip, [0, 2])] for clip in clips] == [[5, 7], [20, 22]]


def test_pictures_are_cut_by_number(tmp_path: Path) -> None:
    """Picture 8 to picture 12, both included, is 7 to 11 counted from 0; folders of flow are passed over."""
    pictures(tmp_path / "P02" / "rgb_frames" / "P02_01", 20)
    pictures(tmp_path / "P02" / "flow_frames" / "P02_01" / "u", 9)
    video(tmp_path / "P02" / "videos" / "P02_01.MP4", 5)
    pictures(tmp_path / "P02" / "rgb_frames" / "P02_101", 20)
    rows = [row("P02_01", 8 / 60 + 1e-3, 12 / 60 + 1e-3), row("P02_101", 0.1, 0.2, rate=50)]
    rows = [line.replace("00:00:00.13,00:00:00.20,8,12", "00:00:00.14,00:00:00.21,8,12") for line in rows]
    manifest, source = read(tmp_path, write_lists(tmp_path, rows)), VideoSource(tmp_path)
    first, second = (c for c in manifest.clips if c.split != "test")
    assert (first.path, first.start_frame, first.end_frame, first.fps) == ("P02/rgb_frames/P02_01", 7, 12, 60.0)
    assert (second.path, second.start_frame, second.end_frame, second.fps) == ("P02/rgb_frames/P02_101", 4, 10, 50.0)
    info = source.probe(first)
    assert (info.frames, info.fps) == (5, 60.0)
    assert [number_of(frame) for frame in source.read(first, np.arange(5))] == [7, 8, 9, 10, 11]


@pytest.mark.parametrize(
    "line, message",
    [
        (row("P02_01", 0, 1, verb=97), "expected a verb_class from 0 to 96, found '97'"),
        (row("P02_01", 0, 1, noun=300), "expected a noun_class from 0 to 299, found '300'"),
        (row("P02_01", 0, 1).replace("P02,", "P03,"), "expected a participant and a video like P01 and P01_01"),
        (row("P02-1", 0, 1), "expected a participant and a video like P01 and P01_01"),
        (
            row("P02_01", 0, 1).replace("00:00:01.00", "1.0"),
            "expected stop_timestamp as hours:minutes:seconds, found '1.0'",
        ),
        ("P02_01_7,P02,P02_01,00:00:00.560,00:00:00.00", "the column 'stop_timestamp' is empty"),
    ],
)
def test_malformed_line(tmp_path: Path, line: str, message: str) -> None:
    write_lists(tmp_path, [row("P02_01", 0, 1), line])
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, tmp_path)
    assert "EPIC_100_train.csv, line 3: " in str(error.value)


def test_mistakes(tmp_path: Path) -> None:
    write_lists(tmp_path, [row("P02_01", 0, 1), *OFFICIAL])
    with pytest.raises(UserError, match=r"2 times \(test, train\)"):
        read(tmp_path, tmp_path)
    lines(write_lists(tmp_path) / "EPIC_100_verb_classes.csv", "id,key", "0,take")
    with pytest.raises(UserError, match="expected 97 classes, each once, found 1"):
        read(tmp_path, tmp_path)
    for name in ("train", "validation", "verb_classes", "noun_classes"):
        (write_lists(tmp_path) / f"EPIC_100_{name}.csv").unlink()
        with pytest.raises(UserError, match=f"there is no list .*EPIC_100_{name}.csv"):
            read(tmp_path, tmp_path)
