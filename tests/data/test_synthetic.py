"""The rendered data set: what is on disk is what the manifest says, and only time tells a pair apart."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keras_actrec import files
from keras_actrec.config import StickActions
from keras_actrec.data.manifest import Clip, Manifest, read_csv
from keras_actrec.data.synthetic import CLASSES, TEMPORAL_PAIRS, UNKNOWN_CLASSES, ensure
from keras_actrec.data.synthetic.film import cast, film
from keras_actrec.data.synthetic.levels import LEVELS
from keras_actrec.data.synthetic.plan import group_rng, manifest_folds, plan, take_rng
from keras_actrec.errors import UserError

SETTINGS = StickActions(clips_per_class=4, difficulty="medium", seed=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure(tmp_path_factory.mktemp("stick") / "data", SETTINGS, workers=1)


@pytest.fixture(scope="module")
def clips(root: Path) -> list[Clip]:
    return read_csv(root / "manifest.csv", fold=1)


def decode(path: Path) -> list[np.ndarray]:
    """All frames, upright, through PyAV."""
    with av.open(str(path)) as container:
        return [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in container.decode(video=0)]


def decode_opencv(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    frames = []
    while True:
        there, frame = capture.read()
        if not there:
            return frames
        frames.append(frame[..., ::-1])


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_classes_are_twelve_with_four_pairs_and_others_held_out() -> None:
    assert len(CLASSES) == 12
    assert len(TEMPORAL_PAIRS) == 4
    assert len({label for pair in TEMPORAL_PAIRS for label in pair} & set(CLASSES)) == 8
    assert len(UNKNOWN_CLASSES) >= 2
    assert not set(UNKNOWN_CLASSES) & set(CLASSES)


def test_every_clip_can_be_decoded_as_declared_with_depth_and_boxes(root: Path, clips: list[Clip]) -> None:
    for clip in clips:
        frames = decode(root / clip.path)
        with av.open(str(root / clip.depth)) as container:
            depth = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        found = files.read_json(root / clip.boxes)
        assert len(frames) == clip.frames == len(depth) == len(found["boxes"]), clip.path
        assert frames[0].shape[:2] == depth[0].shape == (found["height"], found["width"]), clip.path
        assert 1.4 <= clip.frames / clip.fps <= 4.2
        left, top, right, bottom = np.array(found["boxes"]).T
        assert ((left < right) & (top < bottom) & (right <= found["width"]) & (bottom <= found["height"])).all()


def test_boxes_lie_around_the_person_in_the_depth_video(root: Path, clips: list[Clip]) -> None:
    """The figure is nearer than the wall: inside its box more pixels are near than beside it."""
    gains = []
    for clip in clips:
        with av.open(str(root / clip.depth)) as container:
            depth = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
        left, top, right, bottom = np.rint(files.read_json(root / clip.boxes)["boxes"][0]).astype(int)
        near = depth[0] > 100
        upper = (top + bottom) // 2  # Above the floor, which is near too.
        inside = near[top:upper, left:right].mean()
        gains.append(inside - np.delete(near[top:upper], np.s_[left:right], axis=1).mean())
    assert np.mean(gains) > 0.25
    assert np.mean(np.array(gains) > 0) > 0.85


def test_formats_are_mixed(root: Path, clips: list[Clip]) -> None:
    codecs, rates, sizes, key_distances = Counter(), set(), set(), defaultdict(set)
    for clip in clips:
        with av.open(str(root / clip.path)) as container:
            stream = container.streams.video[0]
            keys = sum(packet.is_keyframe for packet in container.demux(stream) if packet.size)
            codecs[(Path(clip.path).suffix, stream.codec_context.name)] += 1
            rates.add(round(float(stream.average_rate), 2))
            sizes.add((stream.width, stream.height))
            key_distances[stream.codec_context.name].add(min(3, clip.frames // keys // 12))
            assert float(stream.average_rate) == pytest.approx(clip.fps, abs=0.01)
    expected = {(".mp4", "h264"), (".avi", "mpeg4"), (".avi", "mjpeg"), (".webm", "vp9")}
    assert set(codecs) == expected
    assert rates == {15.0, 24.0, 25.0, 29.97, 30.0}
    assert len(sizes) >= 4
    assert len(key_distances["h264"]) >= 2


def test_a_portrait_clip_is_stored_turned_and_both_decoders_turn_it_back(root: Path, clips: list[Clip]) -> None:
    turned = 0
    for clip in clips:
        with av.open(str(root / clip.path)) as container:
            stored = next(container.decode(video=0))
        if stored.rotation:
            turned += 1
            assert stored.width > stored.height
            ours, theirs = decode(root / clip.path), decode_opencv(root / clip.path)
            assert ours[0].shape[0] > ours[0].shape[1]
            np.testing.assert_array_equal(ours[3], theirs[3])
            found = files.read_json(root / clip.boxes)
            top, bottom = np.array(found["boxes"])[:, [1, 3]].mean(axis=0)
            assert bottom - top > 0.4 * found["height"], "the person stands upright in the turned picture"
    assert turned >= 1


def test_opencv_decodes_every_frame_of_every_format(root: Path, clips: list[Clip]) -> None:
    seen = set()
    for clip in clips:
        if Path(clip.path).suffix not in seen:
            seen.add(Path(clip.path).suffix)
            assert len(decode_opencv(root / clip.path)) == clip.frames
    assert seen == {".mp4", ".avi", ".webm"}


def test_pairs_hold_the_same_frames_in_reversed_order(root: Path, clips: list[Clip]) -> None:
    rows = {Path(clip.path).stem: clip for clip in clips if clip.split in ("train", "test")}
    compared = 0
    for first, second in TEMPORAL_PAIRS:
        for stem, clip in rows.items():
            if clip.label != first or clip.group not in ("g01", "g03"):
                continue
            other = rows[stem.replace(first, second)]
            assert other.label == second
            assert (other.group, other.split, other.frames, other.fps) == (
                clip.group,
                clip.split,
                clip.frames,
                clip.fps,
            )
            forwards, backwards = np.stack(decode(root / clip.path)), np.stack(decode(root / other.path))[::-1]
            assert np.abs(forwards.astype(int) - backwards).mean() < 8.0  # What lossy compression leaves.
            assert (
                np.abs(forwards.astype(int) - backwards[::-1]).mean() > np.abs(forwards.astype(int) - backwards).mean()
            )
            depths = [decode(root / path) for path in (clip.depth, other.depth)]
            np.testing.assert_array_equal(depths[0], depths[1][::-1])
            boxes = [files.read_json(root / path)["boxes"] for path in (clip.boxes, other.boxes)]
            assert boxes[0] == boxes[1][::-1]
            compared += 1
    assert compared == 4 * 2


def test_groups_never_straddle_and_every_clip_is_tested_at_most_once(root: Path) -> None:
    for clips_per_class in (4, 7, 30, 100):
        settings = StickActions(clips_per_class=clips_per_class)
        folds = manifest_folds(settings, plan(settings))
        tested = Counter()
        for fold in folds:
            splits = defaultdict(set)
            for clip in fold:
                splits[clip.group].add(clip.split)
                tested[clip.path] += clip.split == "test"
            assert all(len(found) == 1 for found in splits.values())
            labelled = [clip for clip in fold if clip.split in ("train", "test")]
            assert Counter(clip.label for clip in labelled) == dict.fromkeys(CLASSES, clips_per_class)
            share = sum(clip.split == "test" for clip in labelled) / len(labelled)
            assert 0.2 <= share <= 0.36
            for split in ("train", "test"):
                assert {clip.label for clip in labelled if clip.split == split} == set(CLASSES)
        assert max(tested.values()) == 1


def test_unlabelled_and_unknown_parts(root: Path, clips: list[Clip]) -> None:
    unlabelled = {clip.path: clip for clip in clips if clip.split == "unlabelled"}
    assert unlabelled
    assert all(clip.label is None and clip.verb is None and clip.noun is None for clip in unlabelled.values())
    with (root / "unlabelled_labels.csv").open(newline="") as file:
        truth = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert set(truth) == set(unlabelled)
    assert set(truth.values()) == set(CLASSES)
    assert not any(label in path for path, label in truth.items())
    unknown = [clip for clip in clips if clip.split == "unknown"]
    assert {clip.label for clip in unknown} == set(UNKNOWN_CLASSES)
    known = {clip.group for clip in clips if clip.split in ("train", "test")}
    assert not known & {clip.group for clip in [*unknown, *unlabelled.values()]}
    assert Manifest.from_clips("stick-actions", root, 1, clips).classes == CLASSES


def test_unlabelled_numbers_do_not_follow_the_class(root: Path) -> None:
    """Otherwise the order of the files would tell what they show."""
    settings = StickActions(clips_per_class=100)
    hidden = [output for shot in plan(settings) if shot.part == "unlabelled" for output in shot.outputs]
    labels = [output.label for output in sorted(hidden, key=lambda output: output.path)]
    repeats = sum(first == second for first, second in itertools.pairwise(labels))
    assert repeats < 0.25 * len(labels)


def test_verbs_and_nouns_compose_the_labels(clips: list[Clip]) -> None:
    composed = {(clip.verb, clip.noun): clip.label for clip in clips if clip.label}
    assert len(composed) == len({clip.label for clip in clips if clip.label})
    assert composed[("sit down on", "chair")] == "SitDown"
    assert composed[("put down", "box")] == "PutDownBox"
    assert len({noun for _, noun in composed}) < len({verb for verb, _ in composed})


def test_official_style_lists_agree_with_the_manifest(root: Path) -> None:
    names = [line.split(" ", 1) for line in (root / "lists/classInd.txt").read_text().splitlines()]
    indices = {name: int(index) for index, name in names}
    assert sorted(indices) == list(CLASSES)
    for fold in (1, 2, 3):
        rows = {clip.path: clip for clip in read_csv(root / "manifest.csv", fold)}
        for split in ("train", "test"):
            lines = (root / f"lists/{split}list{fold:02d}.txt").read_text().splitlines()
            listed = {f"videos/{line.split(' ')[0]}" for line in lines}
            assert listed == {path for path, clip in rows.items() if clip.split == split}
            assert all(int(line.split(" ")[1]) == indices[line.split("/")[0]] for line in lines if split == "train")


def test_another_seed_gives_other_takes() -> None:
    first, second = (plan(StickActions(clips_per_class=4, seed=seed)) for seed in (3, 4))
    assert [shot.recording for shot in first] != [shot.recording for shot in second]
    pictures = [film_one(StickActions(clips_per_class=4, seed=seed)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0].astype(int) - pictures[2]).mean() > 10


def film_one(settings: StickActions) -> np.ndarray:
    shot, level = plan(settings)[0], LEVELS[settings.difficulty]
    person, scene = cast(group_rng(settings.seed, shot.group), level)
    rng = take_rng(settings.seed, shot)
    return film("sit", person, scene, level, rng, frames=20, seconds=2.0, height=96, width=128).frames[10]


def test_difficulty_adds_clutter_and_noise() -> None:
    """Each level leaves more structure that is not the figure: stronger edges and more change from frame to frame."""
    change = []
    for name, level in LEVELS.items():
        rough = []
        for seed in range(12):
            rng = np.random.default_rng(seed)
            person, scene = cast(rng, level)
            take = film("bow", person, scene, level, rng, frames=12, seconds=2.0, height=96, width=128)
            rough.append(np.abs(np.diff(np.stack(take.frames).astype(int), axis=0)).mean())
        change.append((np.mean(rough), name))
    assert [name for _, name in sorted(change)] == ["easy", "medium", "hard"]


def test_a_complete_folder_is_left_as_it_is(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    calls = []
    assert ensure(root, SETTINGS, progress=lambda *count: calls.append(count)) == root
    assert not calls
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_interrupted_rendering_is_continued_and_bytes_do_not_depend_on_workers(root: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 20:
            raise StopError

    target, counts = tmp_path / "data", []
    with pytest.raises(StopError):
        ensure(target, SETTINGS, progress=stop, workers=2)
    assert not files.read_json(target / "receipt.json")["complete"]
    finished = {path.stem for path in (target / "boxes").rglob("v_*.json")}  # Boxes are published last.
    kept = {path: path.stat().st_mtime_ns for path in target.rglob("v_*") if path.stem in finished}
    assert len(kept) > 3 * 20
    (target / "videos/SitDown/.v_SitDown_g01_c01-abcd1234.mp4").write_bytes(b"half a file")
    ensure(target, SETTINGS, progress=lambda done, total: counts.append((done, total)), workers=1)
    assert counts[0][0] > 20
    assert counts[-1][0] == counts[-1][1]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert tree(target) == tree(root), "equal settings give equal bytes, whoever rendered what"


@pytest.mark.slow
def test_a_killed_rendering_leaves_no_process_and_is_continued(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    code = (
        "import sys; from keras_actrec.config import StickActions; from keras_actrec.data.synthetic import ensure;"
        "ensure(sys.argv[1], StickActions(clips_per_class=4, seed=3), workers=2)"
    )
    package = str(Path(ensure.__globals__["__file__"]).parents[3])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], env=os.environ | {"PYTHONPATH": paths})
    deadline = time.monotonic() + 60
    while not list(target.rglob("boxes/*/*.json")):
        assert time.monotonic() < deadline, "nothing was rendered within a minute"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    # A worker finishes what it was told and ends with its input; the lock is free and the rest can be rendered.
    ensure(target, SETTINGS, workers=1)
    deadline = time.monotonic() + 60
    while tree(target) != tree(root):
        assert time.monotonic() < deadline, "the orphaned workers still write"
        time.sleep(0.2)


def test_other_settings_in_the_folder_are_refused_and_nothing_is_touched(root: Path) -> None:
    before = tree(root)
    with pytest.raises(UserError, match=r"difficulty is 'medium' there and 'hard' is wanted.*data\.root"):
        ensure(root, SETTINGS.model_copy(update={"difficulty": "hard"}))
    assert tree(root) == before


@pytest.mark.parametrize("name", ["holiday.mp4", "receipt.json"])
def test_a_folder_with_other_files_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        ensure(tmp_path, SETTINGS)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        ensure(tmp_path / "file", SETTINGS)


def test_too_few_clips_for_three_folds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 4 clips per class"):
        ensure(tmp_path / "data", StickActions(clips_per_class=3))
    assert not (tmp_path / "data").exists()


def test_a_lost_manifest_and_lost_clips_are_made_again(root: Path, tmp_path: Path) -> None:
    target = Path(shutil.copytree(root, tmp_path / "data"))
    (target / "manifest.csv").unlink()
    (target / read_csv(root / "manifest.csv", 1)[5].path).unlink()
    counts = []
    ensure(target, SETTINGS, progress=lambda done, total: counts.append((done, total)))
    assert len(counts) == 1
    assert tree(target) == tree(root)


def test_a_failing_worker_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended early"):
        ensure(tmp_path / "data", SETTINGS, workers=2)


@pytest.mark.slow
def test_two_processes_that_want_the_same_folder_take_turns(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    code = (
        "import sys; from keras_actrec.config import StickActions; from keras_actrec.data.synthetic import ensure;"
        "calls = [];"
        "ensure(sys.argv[1], StickActions(clips_per_class=4, seed=3), lambda *c: calls.append(c), workers=1);"
        "print(len(calls))"
    )
    package = str(Path(ensure.__globals__["__file__"]).parents[3])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    commands = [sys.executable, "-c", code, str(target)]
    processes = [subprocess.Popen(commands, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    rendered = sorted(int(process.communicate(timeout=300)[0]) for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert rendered[0] == 0
    assert rendered[1] > 0
    assert tree(target) == tree(root)
