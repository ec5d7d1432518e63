import argparse
import dataclasses
import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_actrec import files
from keras_actrec.config import TailorConfig
from keras_actrec.data import boxes, person_boxes, prepared
from keras_actrec.data.manifest import Clip, Manifest, write_csv
from keras_actrec.data.person_boxes import FOLDER, attach, file_of, make
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.training import boxes_command

HEIGHT, WIDTH = 40, 60
YOLO = TailorConfig(boxes="yolov8", weights="w")


class Finder:
    """Finds what is white; knows which box it was told to follow."""

    def __init__(self) -> None:
        self.frames = 0
        self.told: list[object] = []

    def detect(self, frames: np.ndarray, last: np.ndarray | None = None) -> np.ndarray:
        self.frames += len(frames)
        self.told.append(None if last is None else last.tolist())
        found = np.full((len(frames), 4), np.nan)
        for row, frame in zip(found, frames, strict=True):
            rows, columns = np.nonzero(frame[..., 0] > 200)
            if len(rows):
                row[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        return found


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    found = Finder()
    monkeypatch.setattr(person_boxes.PersonDetector, "open", lambda weights: found)
    return found


def video(folder: Path, squares: list[tuple[int, int, int, int] | None]) -> None:
    """Write a video as a folder of pictures, with a white rectangle in each frame."""
    folder.mkdir(parents=True)
    for number, square in enumerate(squares):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        if square:
            left, top, right, bottom = square
            picture[top:bottom, left:right] = 255
        cv2.imwrite(str(folder / f"{number:05d}.png"), picture)


SQUARES = [(4 + t, 5, 24 + t, 35) for t in range(6)]
OTHER = [(1, 2, 11, 22), None, (3, 2, 13, 22)]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A clip with its own boxes, one without, and one whose video is missing."""
    video(tmp_path / "videos" / "own", SQUARES)
    video(tmp_path / "videos" / "bare", OTHER)
    shifted = np.add(SQUARES, [10, 0, 10, 0])
    boxes.write(tmp_path / "true" / "own.json", shifted, HEIGHT, WIDTH)
    clips = [
        Clip("videos/own", "run", "train", boxes="true/own.json"),
        Clip("videos/bare", "sit", "train"),
        Clip("videos/gone", "sit", "test"),
    ]
    return Manifest.from_clips("some", tmp_path, 1, clips)


def files_of(manifest: Manifest) -> dict[str, str | None]:
    return {clip.path.removeprefix("videos/"): clip.boxes for clip in manifest.clips}


def shares(squares: list[tuple[int, int, int, int] | None]) -> np.ndarray:
    rows = [[np.nan] * 4 if square is None else square for square in squares]
    return np.array(rows, float) / [WIDTH, HEIGHT, WIDTH, HEIGHT]


def test_the_detectors_boxes(manifest: Manifest, finder: Finder) -> None:
    steps = []
    given, counts = attach(manifest, YOLO, VideoSource(manifest.root), lambda *step: steps.append(step))
    own, bare = f"{FOLDER}/videos/own.json", f"{FOLDER}/videos/bare.json"
    assert files_of(given) == {"own": own, "bare": bare, "gone": None}
    assert counts == {"manifest": 0, "yolov8": 2, "whole frame": 1}
    np.testing.assert_allclose(boxes.read(manifest.root / own, 6), shares(SQUARES))
    np.testing.assert_allclose(boxes.read(manifest.root / bare, 3), shares(OTHER))
    np.testing.assert_allclose(VideoSource(manifest.root).boxes(given.clips[0]), shares(OTHER))
    assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("boxes_key", "weights", "expected"),
    [
        ("manifest", None, {"own": "true/own.json", "bare": None, "gone": None}),
        ("manifest", "w", {"own": "true/own.json", "bare": None, "gone": None}),
        ("auto", None, {"own": "true/own.json", "bare": None, "gone": None}),
        ("auto", "w", {"own": "true/own.json", "bare": f"{FOLDER}/videos/bare.json", "gone": None}),
        ("none", "w", {"own": None, "bare": None, "gone": None}),
    ],
)
def test_where_boxes_come_from(
    manifest: Manifest, finder: Finder, boxes_key: str, weights: str | None, expected: dict[str, str | None]
) -> None:
    given, counts = attach(manifest, TailorConfig(boxes=boxes_key, weights=weights), VideoSource(manifest.root))
    assert files_of(given) == expected
    files_given = [file for file in expected.values() if file]
    assert counts == {
        "manifest": sum(file.startswith("true") for file in files_given),
        "yolov8": sum(file.startswith(FOLDER) for file in files_given),
        "whole frame": 3 - len(files_given),
    }
    assert finder.frames == (3 if f"{FOLDER}/videos/bare.json" in files_given else 0)
    assert (given.hash == manifest.hash) == (given.clips == manifest.clips)
    again, counted = attach(given, TailorConfig(boxes=boxes_key, weights=weights), VideoSource(manifest.root))
    assert (again, counted) == (given, counts)


def test_auto_falls_back_where_the_manifests_file_is_missing(manifest: Manifest, finder: Finder) -> None:
    (manifest.root / "true" / "own.json").unlink()
    source = VideoSource(manifest.root)
    assert files_of(attach(manifest, TailorConfig(), source)[0])["own"] is None
    assert files_of(attach(manifest, TailorConfig(boxes="manifest"), source)[0])["own"] == "true/own.json"
    assert files_of(attach(manifest, TailorConfig(weights="w"), source)[0])["own"] == f"{FOLDER}/videos/own.json"


def test_yolo_wants_weights(manifest: Manifest) -> None:
    with pytest.raises(UserError, match=r"set data\.tailor\.weights"):
        attach(manifest, TailorConfig(boxes="yolov8"), VideoSource(manifest.root))


def test_what_is_there_is_not_made_again(manifest: Manifest, finder: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    source = VideoSource(manifest.root)
    first = make(manifest.root, manifest.clips, "w", source)
    assert finder.frames == 9
    (manifest.root / FOLDER / "videos" / "bare.json").unlink()  # as if interrupted before it
    assert make(manifest.root, manifest.clips, "w", source) == first == {f"{FOLDER}/videos/gone.json": "missing file"}
    assert finder.frames == 12

    def closed(weights: str) -> None:
        raise UserError("no network here")

    monkeypatch.setattr(person_boxes.PersonDetector, "open", closed)
    assert make(manifest.root, manifest.clips, "w", source) == first  # nothing is missing: no detector is wanted
    video(manifest.root / "videos" / "gone", OTHER)
    with pytest.raises(UserError, match="no network here"):  # the video has come: now it is
        make(manifest.root, manifest.clips, "w", source)


def test_interrupted_in_the_middle(manifest: Manifest, finder: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    find = person_boxes.find

    def interrupted(clip: Clip, *rest: object) -> object:
        if "own" in clip.path:
            raise KeyboardInterrupt
        return find(clip, *rest)

    monkeypatch.setattr(person_boxes, "find", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(manifest.root, manifest.clips, "w", VideoSource(manifest.root))
    monkeypatch.undo()
    monkeypatch.setattr(person_boxes.PersonDetector, "open", lambda weights: finder)
    finder.frames = 0
    make(manifest.root, manifest.clips, "w", VideoSource(manifest.root))
    assert finder.frames == 6  # the lock was released, and "bare" is kept


def test_boxes_by_other_weights_are_refused(manifest: Manifest, finder: Finder) -> None:
    source = VideoSource(manifest.root)
    make(manifest.root, manifest.clips, "w", source)
    with pytest.raises(UserError, match=r"made by w \(w\), asked for are those of other.*remove the folder"):
        attach(manifest, TailorConfig(boxes="yolov8", weights="other"), source)
    (manifest.root / FOLDER / person_boxes.RECEIPT).unlink()
    with pytest.raises(UserError, match="made by nobody knows which weights"):
        make(manifest.root, manifest.clips, "w", source)
    (manifest.root / FOLDER / person_boxes.RECEIPT).write_text("[")
    with pytest.raises(UserError, match="made by nobody knows which weights"):
        make(manifest.root, manifest.clips, "w", source)


def test_changed_weights_in_the_same_folder_are_refused(manifest: Manifest, finder: Finder, tmp_path: Path) -> None:
    preset = tmp_path / "preset"
    preset.mkdir()
    (preset / "config.json").write_text("{}")
    (preset / "model.weights.h5").write_bytes(b"one")
    make(manifest.root, manifest.clips, str(preset), VideoSource(manifest.root))
    moved = preset.rename(tmp_path / "moved")
    make(manifest.root, manifest.clips, str(moved), VideoSource(manifest.root))
    (moved / "model.weights.h5").write_bytes(b"two")
    with pytest.raises(UserError, match="remove the folder"):
        make(manifest.root, manifest.clips, str(moved), VideoSource(manifest.root))


def test_a_root_that_cannot_be_written_to(manifest: Manifest, finder: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    (manifest.root / FOLDER).write_text("a file where the folder should be")
    with pytest.raises(UserError, match=rf"cannot be written to {manifest.root / FOLDER}.*make the boxes elsewhere"):
        attach(manifest, YOLO, VideoSource(manifest.root))
    (manifest.root / FOLDER).unlink()

    def read_only(*arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(boxes, "write", read_only)
    with pytest.raises(UserError, match="Read-only file system"):
        attach(manifest, YOLO, VideoSource(manifest.root))


def test_a_full_disk_is_no_read_only_folder(
    manifest: Manifest, finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(boxes, "write", full)
    with pytest.raises(OSError, match="No space left"):
        make(manifest.root, manifest.clips, "w", VideoSource(manifest.root))


def test_two_processes_share_the_work(manifest: Manifest, finder: Finder) -> None:
    """Whoever comes second waits, and finds all made."""
    source = VideoSource(manifest.root)
    threads = [threading.Thread(target=make, args=(manifest.root, manifest.clips, "w", source)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert finder.frames == 9


def test_stretches_of_one_video_share_its_file(tmp_path: Path, finder: Finder) -> None:
    """The file has the boxes of the whole video, and a clip gets those of its own frames."""
    video(tmp_path / "long", SQUARES)
    clips = [
        Clip("long", "run", "train", start_frame=0, end_frame=2),
        Clip("long", "sit", "train", start_frame=3, end_frame=6),
    ]
    manifest = Manifest.from_clips("some", tmp_path, 1, clips)
    source = VideoSource(tmp_path)
    given, counts = attach(manifest, YOLO, source)
    assert finder.frames == 6
    assert {clip.boxes for clip in given.clips} == {f"{FOLDER}/long.json"}
    assert counts["yolov8"] == 2
    np.testing.assert_allclose(source.boxes(given.clips[1]), shares(SQUARES[3:]))


def test_a_prepared_cache_is_passed_over(tmp_path: Path, finder: Finder) -> None:
    """It may hold every other frame; boxes are of every frame of the video, in the video's own pixels."""
    video(tmp_path / "v" / "long", SQUARES)
    manifest = Manifest.from_clips("some", tmp_path / "v", 1, [Clip("long", "run", "train")])
    cache = prepared.prepare(
        manifest, VideoSource(tmp_path / "v"), tmp_path / "cache", short_side=16, frame_step=2, workers=1
    )
    given, _ = attach(manifest, YOLO, cache)
    document = files.read_json(tmp_path / "v" / given.clips[0].boxes)
    assert (document["width"], document["height"], document["boxes"]) == (WIDTH, HEIGHT, [list(s) for s in SQUARES])
    np.testing.assert_allclose(cache.boxes(given.clips[0]), shares(SQUARES[::2]))


def test_who_is_followed_over_parts_of_a_long_video(
    tmp_path: Path, finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(person_boxes, "FRAMES", 2)
    video(tmp_path / "long", [*SQUARES[:3], None, None, None, SQUARES[0]])
    found, height, width = person_boxes.find(Clip("long", None, "train"), finder, VideoSource(tmp_path))
    assert (len(found), height, width) == (7, HEIGHT, WIDTH)
    assert finder.told == [None, list(SQUARES[1]), list(SQUARES[2]), list(SQUARES[2])]


def test_an_empty_video_is_unreadable(tmp_path: Path, finder: Finder) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    manifest = Manifest.from_clips("some", tmp_path, 1, [Clip("a.mp4", "run", "train")])
    given, counts = attach(manifest, YOLO, VideoSource(tmp_path))
    assert (files_of(given), counts["whole frame"]) == ({"a.mp4": None}, 1)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("a/b.mp4", "boxes-yolov8/a/b.mp4.json"),
        ("../elsewhere/b.mp4", "boxes-yolov8/__/elsewhere/b.mp4.json"),
        ("/data/b.mp4", "boxes-yolov8/data/b.mp4.json"),
    ],
)
def test_files_stay_within_the_folder(path: str, file: str) -> None:
    assert file_of(Clip(path, None, "train")) == file


def write_run(manifest: Manifest) -> Path:
    clips = [dataclasses.replace(clip, split="train", group=clip.path) for clip in manifest.clips]
    own = next(clip for clip in clips if clip.path == "videos/own")
    clips.append(dataclasses.replace(own, path="videos/own2", group="x", split="validation"))
    video(manifest.root / "videos" / "own2", SQUARES)
    clips = [dataclasses.replace(clip, split="test") if "bare" in clip.path else clip for clip in clips]
    write_csv(manifest.root / "manifest.csv", [clips])
    config = manifest.root / "run.yaml"
    config.write_text(f"data: {{source: manifest, root: {manifest.root}}}\n")
    return config


def test_the_command(manifest: Manifest, finder: Finder, capsys: pytest.CaptureFixture[str]) -> None:
    """Boxes of 20 x 30 pixels that are 10 apart overlap by 1/3; two clips of them, and one of three frames."""
    config = write_run(manifest)
    parser = argparse.ArgumentParser()
    boxes_command.describe_arguments(parser)
    boxes_command.run(parser.parse_args(["--config", str(config), "--weights", "w"]))
    printed = capsys.readouterr().out
    assert "3 of 4 videos have boxes" in printed
    assert "a person is seen in 93.3 % of 15 frames" in printed
    assert "cannot be read: videos/gone: missing file" in printed
    assert "(intersection over union): 0.333 over 12 frames" in printed
    assert printed.splitlines()[-1] == f"boxes: {manifest.root / FOLDER}"
    with pytest.raises(UserError, match="--weights"):
        boxes_command.run(parser.parse_args(["--config", str(config)]))


def test_the_command_counts_frames_without_a_found_person_as_missed(manifest: Manifest, finder: Finder) -> None:
    boxes.write(manifest.root / "true" / "bare.json", np.array([[1, 2, 11, 22]] * 3), HEIGHT, WIDTH)
    clips = [dataclasses.replace(clip, boxes="true/bare.json") for clip in manifest.clips if "bare" in clip.path]
    only = Manifest.from_clips("some", manifest.root, 1, clips)
    make(only.root, only.clips, "w", VideoSource(only.root))
    lines = boxes_command.summary(only, {})
    # 1, nobody, and 8 of 12 columns in common: (1 + 0 + 2/3) / 3.
    assert any("0.556 over 3 frames" in line for line in lines)


@pytest.mark.integration
def test_from_the_command_line(manifest: Manifest, tmp_path: Path) -> None:
    """With a detector as KerasCV saves them, untrained: exit code 0; unknown weights: 1 and one sentence."""
    from keras_cv.models import YOLOV8Backbone, YOLOV8Detector
    from keras_cv.src.utils.preset_utils import save_to_preset

    backbone = YOLOV8Backbone([8, 8, 8, 8], [1, 1, 1, 1], include_rescaling=True, input_shape=(64, 64, 3))
    save_to_preset(YOLOV8Detector(backbone, 1, "xyxy", fpn_depth=1), str(tmp_path / "preset"))
    config = write_run(manifest)

    def command(weights: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "keras_actrec", "boxes", "--config", str(config), "--weights", weights]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(line, capture_output=True, text=True, env=environment, check=False)

    done = command(str(tmp_path / "preset"))
    said = [line for line in done.stderr.splitlines() if not line.startswith("finding people")]
    assert (done.returncode, said) == (0, [])
    assert "3 of 4 videos have boxes" in done.stdout
    receipt = json.loads((manifest.root / FOLDER / person_boxes.RECEIPT).read_text())
    assert len(receipt["weights"]) == 64
    (tmp_path / "empty").mkdir()
    wrong = command(str(tmp_path / "empty"))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "remove the folder" in wrong.stderr


def test_a_damaged_box_file_is_named_by_training(manifest: Manifest, finder: Finder) -> None:
    given, _ = attach(manifest, YOLO, VideoSource(manifest.root))
    (manifest.root / FOLDER / "videos" / "own.json").write_text("{")
    own = next(clip for clip in given.clips if "own" in clip.path)
    with pytest.raises(UnreadableVideoError, match="no JSON"):
        VideoSource(manifest.root).boxes(own)
