"""The survey of a data set: worked numbers, a sample that stays, and bad files that never stop it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from keras_actrec.data import survey, survey_facts
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.errors import UnreadableVideoError


class Pulsing:
    """Videos of 30 frames: frame t is a plain grey of `speed` x t, where the speed is the number in the clip's name."""

    def __init__(self, frames: int = 30) -> None:
        self.info = VideoInfo(frames, 15.0, 64, 48, 0)
        self.probed: list[str] = []
        self.reads: list[tuple[str, tuple[int, ...], object]] = []

    def probe(self, clip: Clip) -> VideoInfo:
        self.probed.append(clip.path)
        if "empty" in clip.path:
            raise UnreadableVideoError(clip.path, "empty file")
        if "locked" in clip.path:
            raise PermissionError(13, "Permission denied")
        return self.info

    def read(self, clip: Clip, indices: np.ndarray, size: object = None, modality: str = "rgb") -> np.ndarray:
        self.reads.append((clip.path, tuple(map(int, indices)), size))
        if "cut" in clip.path:
            raise UnreadableVideoError(clip.path, "truncated: 3 of 30 frames can be decoded")
        speed = int("".join(filter(str.isdigit, clip.path)))
        values = (speed * np.asarray(indices)).astype(np.uint8)
        return np.broadcast_to(values[:, None, None, None], (len(indices), *size, 3)).copy()


def manifest(root: Path, *names: str, label: str = "run") -> Manifest:
    clips = [Clip(f"{name}.avi", label, "train") for name in names]
    for clip in clips:
        (root / clip.path).write_bytes(b"x" * 10)
    return Manifest.from_clips("toy", root, 1, clips, ("run",))


def by_path(found: dict[survey_facts.Key, survey_facts.Facts]) -> dict[str, survey_facts.Facts]:
    return {facts.path: facts for facts in found.values()}


def test_facts_of_readable_clips(tmp_path: Path) -> None:
    source = Pulsing()
    found = by_path(survey.survey(manifest(tmp_path, "v0", "v3", "v7"), source, workers=2))
    assert {path: facts.motion for path, facts in found.items()} == {"v0.avi": 0.0, "v3.avi": 3.0, "v7.avi": 7.0}
    facts = found["v3.avi"]
    assert (facts.frames, facts.fps, facts.width, facts.height, facts.seconds) == (30, 15.0, 64, 48, 2.0)
    assert all(size == (64, 64) for *_, size in source.reads)


def test_motion_is_of_adjacent_frames_from_all_over_the_clip() -> None:
    source = Pulsing()
    assert survey.motion(Clip("v2.avi", "run", "train"), source, 30) == 2.0
    ((_, indices, _),) = source.reads
    pairs = np.array(indices).reshape(-1, 2)
    assert (pairs[:, 1] - pairs[:, 0] == 1).all() and len(pairs) == survey.MOTION_PAIRS
    assert pairs[0, 0] <= 2 and pairs[-1, 1] >= 27 and pairs.max() < 30


@pytest.mark.parametrize(("frames", "pairs", "expected"), [(1, 0, 0.0), (2, 1, 5.0), (4, 3, 5.0)])
def test_motion_of_very_short_clips(frames: int, pairs: int, expected: float) -> None:
    source = Pulsing(frames)
    assert survey.motion(Clip("v5.avi", "run", "train"), source, frames) == expected
    assert sum(len(indices) for _, indices, _ in source.reads) == 2 * pairs


def test_bad_files_are_named_and_stop_nothing(tmp_path: Path) -> None:
    rows = manifest(tmp_path, "v1", "empty", "locked", "cut2")
    (tmp_path / "empty.avi").unlink()
    found = by_path(survey.survey(rows, Pulsing(), workers=3))
    assert {path: facts.reason for path, facts in found.items()} == {
        "v1.avi": None,
        "empty.avi": "empty file",
        "locked.avi": "cannot be read: Permission denied",
        "cut2.avi": "truncated: 3 of 30 frames can be decoded",
    }
    assert found["cut2.avi"].frames == 0


def test_the_sample_is_bounded_fixed_and_hardly_moved_by_a_new_video() -> None:
    clips = [Clip(f"v{n}.avi", "run" if n % 2 else "sit", "train") for n in range(60)]
    first = survey.sample(clips, 5)
    assert {name: len(members) for name, members in first.items()} == {"run": 5, "sit": 5}
    assert survey.sample(clips[::-1], 5) == first
    more = survey.sample([*clips, Clip("new.avi", "run", "train")], 5)
    assert len(set(more["run"]) - set(first["run"])) <= 1 and more["sit"] == first["sit"]
    unlabelled = survey.sample([dataclasses.replace(clips[0], label=None)], 5)
    assert list(unlabelled) == [""]


def test_motion_is_measured_for_the_sample_alone(tmp_path: Path) -> None:
    rows = manifest(tmp_path, *(f"v{n}" for n in range(survey.MOTION_CLIPS + 8)))
    found = survey.survey(rows, Pulsing(), workers=2)
    assert sum(facts.motion is not None for facts in found.values()) == survey.MOTION_CLIPS
    assert sum(facts.frames == 30 for facts in found.values()) == survey.MOTION_CLIPS + 8


def test_a_second_survey_reads_only_what_has_changed(tmp_path: Path) -> None:
    rows = manifest(tmp_path, "v1", "v2", "empty")
    first = survey.survey(rows, Pulsing())
    path = tmp_path / "clips.json"
    survey_facts.save(path, first, survey.SETTINGS)
    again = Pulsing()
    assert survey.survey(rows, again, survey_facts.load(path, survey.SETTINGS)) == first
    assert again.probed == ["empty.avi"], "what could not be read is tried again, as a disk may be there now"
    (tmp_path / "v2.avi").write_bytes(b"x" * 11)
    os.utime(tmp_path / "v1.avi", ns=(1, 1))
    again.probed.clear()
    survey.survey(rows, again, survey_facts.load(path, survey.SETTINGS))
    assert sorted(again.probed) == ["empty.avi", "v1.avi", "v2.avi"]


def test_a_clip_that_joins_the_sample_is_read_again(tmp_path: Path) -> None:
    clip = Clip("v4.avi", "run", "train")
    (tmp_path / "v4.avi").write_bytes(b"x")
    still = survey.look(clip, tmp_path, Pulsing(), moving=False)
    assert still.motion is None and still.frames == 30
    assert survey.look(clip, tmp_path, Pulsing(), moving=True, known=still).motion == 4.0


def test_a_clip_that_leaves_the_sample_does_not_count_any_more(tmp_path: Path) -> None:
    clip = Clip("v4.avi", "run", "train")
    (tmp_path / "v4.avi").write_bytes(b"x")
    moved, source = survey.look(clip, tmp_path, Pulsing(), moving=True), Pulsing()
    assert survey.look(clip, tmp_path, source, moving=False, known=moved).motion is None and not source.probed


def test_damaged_or_other_facts_are_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "clips.json"
    assert survey_facts.load(path, survey.SETTINGS) == {}
    for damaged in ("", "[]", "{}", '{"format": [1, 8, 64], "clips": [[1]]}'):
        path.write_text(damaged)
        assert survey_facts.load(path, survey.SETTINGS) == {}
    found = survey.survey(manifest(tmp_path, "v1"), Pulsing())
    survey_facts.save(path, found, survey.SETTINGS)
    assert survey_facts.load(path, survey.SETTINGS) == found
    assert survey_facts.load(path, (9, 64)) == {}


def test_stretches_of_one_file_are_clips_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "v1.avi").write_bytes(b"x")
    clips = [Clip("v1.avi", "run", "train", start_sec=start, end_sec=start + 1.0) for start in (0.0, 1.0)]
    found = survey.survey(Manifest.from_clips("toy", tmp_path, 1, clips), Pulsing())
    assert set(found) == {("v1.avi", 0.0, 1.0), ("v1.avi", 1.0, 2.0)}
    path = tmp_path / "clips.json"
    survey_facts.save(path, found, survey.SETTINGS)
    assert survey_facts.load(path, survey.SETTINGS) == found


def test_an_interrupted_survey_leaves_what_it_has_found(tmp_path: Path) -> None:
    rows, found = manifest(tmp_path, *(f"v{n}" for n in range(20))), {}

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey.survey(rows, Pulsing(), progress=stop, found=found)
    assert 5 <= len(found) < 20
