"""Stretches by frame numbers: in the manifest and its hash, in quarantine, from videos and from the prepared cache."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from trees import depth_maps, number_of, pictures, video

from keras_actrec.data import prepared, survey_facts
from keras_actrec.data.manifest import Clip, Manifest, read_csv, write_csv
from keras_actrec.data.prepared_layout import fingerprint
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.evaluation import provenance
from keras_actrec.training.feature_files import identify

OLD = [
    Clip("a/1.avi", "a", "train", "g1"),
    Clip("b/2.avi", "b", "test", "g2", 0.5, 2.0, 30, 25.0, "open", "door", "b/2.depth.avi", "b/2.json"),
    Clip("c.avi", None, "unlabelled", start_sec=1.0),
    Clip("a/3.avi", "a", "validation", frames=12),
]


def test_manifests_without_frame_numbers_keep_their_hash() -> None:
    """Recorded before there were frame numbers: runs, caches and networks of that time go on."""
    manifest = Manifest.from_clips("recorded", "/nowhere", 2, OLD)
    assert manifest.hash == "637bfc6b52cc382d45f89f0e6175296874ec0b34e672df991587e4ca0fb0bfb5"
    assert fingerprint(OLD, Path("/nowhere")) == "e46410ce823462f61b8919e958b0c949f74a72e89ef44b488db7c04392546862"
    document = manifest.to_json()
    assert not any(name.endswith("_frame") for row in document["clips"] for name in row)
    assert Manifest.from_json(document, "/nowhere") == manifest
    assert identify(OLD[2]) == "cc43a3bd0aef1d84e6196eb5"


def test_frame_numbers_count_in_the_hash() -> None:
    clips = [dataclasses.replace(OLD[0], start_frame=start, end_frame=end) for start, end in ((0, 9), (0, 8), (1, 9))]
    manifests = [Manifest.from_clips("m", "/nowhere", 1, [clip]) for clip in [*clips, OLD[0]]]
    assert len({manifest.hash for manifest in manifests}) == 4
    for manifest in manifests:
        assert Manifest.from_json(manifest.to_json(), "/nowhere") == manifest
    assert len({identify(clip) for clip in [*clips, OLD[0]]}) == 4
    assert len({survey_facts.key_of(clip) for clip in [*clips, OLD[0]]}) == 4


def test_rows_are_sorted_by_frame() -> None:
    clips = [Clip("a.mp4", "a", "train", start_frame=n, end_frame=n + 5) for n in (100, 20, 3)]
    assert [clip.start_frame for clip in Manifest.from_clips("m", ".", 1, clips).clips] == [3, 20, 100]


def test_csv(tmp_path: Path) -> None:
    clips = [dataclasses.replace(OLD[0], start_frame=4, end_frame=9), OLD[1]]
    write_csv(tmp_path / "frames.csv", [clips])
    assert read_csv(tmp_path / "frames.csv", 1) == clips
    write_csv(tmp_path / "seconds.csv", [OLD])
    with (tmp_path / "seconds.csv").open() as file:
        assert not any(name.endswith("_frame") for name in next(csv.reader(file)))
    (tmp_path / "bad.csv").write_text("path,label,split,start_frame\na.mp4,a,train,1.5\n")
    with pytest.raises(UserError, match=r"bad.csv, line 2: '1.5' is no number for 'start_frame'"):
        read_csv(tmp_path / "bad.csv", 1)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"start_sec": 1.0, "end_frame": 3}, "in seconds and in frames"),
        ({"start_frame": -1}, "counted from 0, got -1"),
    ],
)
def test_impossible_stretches(values: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Clip("a.mp4", "a", "train", **values)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stretches")
    video(folder / "v.mp4", 20)
    pictures(folder / "frames", 20)
    depth_maps(folder / "depth", range(500, 4500, 200))
    return folder


@pytest.mark.parametrize("path", ["v.mp4", "frames"])
@pytest.mark.parametrize("start, end, first, count", [(3, 9, 3, 6), (None, 5, 0, 5), (15, None, 15, 5), (4, 99, 4, 16)])
def test_source(root: Path, path: str, start: int | None, end: int | None, first: int, count: int) -> None:
    source = VideoSource(root)
    clip = Clip(path, "a", "train", start_frame=start, end_frame=end)
    assert source.probe(clip).frames == count
    assert [number_of(frame) for frame in source.read(clip, [count - 1, 0])] == [first + count - 1, first]
    for wrong in (count, -1):
        with pytest.raises(IndexError, match=f"has {count} frames, frame {wrong}"):
            source.read(clip, [wrong])


@pytest.mark.parametrize("start, end, where", [(7, 7, "7 and 7"), (20, None, "20 and its end"), (30, 40, "30 and 40")])
def test_nothing_there(root: Path, start: int, end: int | None, where: str) -> None:
    clip = Clip("v.mp4", "a", "train", start_frame=start, end_frame=end)
    with pytest.raises(UnreadableVideoError, match=f"no frames between frame {where}"):
        VideoSource(root).probe(clip)


def test_quarantine(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine.json")
    clips = [Clip("v.mp4", "a", "train", start_frame=a, end_frame=b) for a, b in ((0, 9), (9, 20), (30, None))]
    for clip in [*clips, OLD[0]]:
        quarantine.add(clip, "empty file")
    assert list(quarantine.reasons()) == [
        "a/1.avi",
        "v.mp4 [frames 0 to 9]",
        "v.mp4 [frames 9 to 20]",
        "v.mp4 [frames 30 to end]",
    ]
    assert Quarantine(tmp_path / "quarantine.json").entries == quarantine.entries
    first, *_ = json.loads((tmp_path / "quarantine.json").read_text())
    assert first == {"path": "a/1.avi", "split": "train", "reason": "empty file", "start_sec": None, "end_sec": None}


def test_provenance_sees_overlap_in_frames() -> None:
    """The same file may be in training and test, if the stretches do not overlap."""

    def clip(start: int, end: int, split: str) -> Clip:
        return Clip("long.mp4", "cut", split, start_frame=start, end_frame=end)

    training = Manifest.from_clips("m", "/nowhere", 1, [clip(0, 100, "train")])
    record = provenance.record(training)
    apart = Manifest.from_clips("m", "/nowhere", 1, [clip(100, 150, "test")])
    overlapping = Manifest.from_clips("m", "/nowhere", 1, [clip(99, 150, "test")])
    found = [provenance.find(record, manifest, manifest.clips) for manifest in (apart, overlapping)]
    assert [dict(known.learnt) for known in found] == [{}, {"train": 1}]


def test_prepared_cache(root: Path, tmp_path: Path) -> None:
    clips = [
        *(Clip("v.mp4", "a", "train", start_frame=a, end_frame=b) for a, b in ((2, 7), (7, 12))),
        Clip("frames", "b", "test", start_frame=5, fps=60.0, depth="depth"),
        Clip("v.mp4", "a", "train", start_frame=90),
        Clip("v.mp4", "a", "train"),
    ]
    manifest, source = Manifest.from_clips("m", root, 1, clips), VideoSource(root)
    target = tmp_path / "cache"
    cache = prepared.prepare(manifest, source, target, short_side=24, workers=1, clips_per_shard=2)
    for clip, first, count in zip([*clips[:3], clips[4]], (2, 7, 5, 0), (5, 5, 15, 20), strict=True):
        assert cache.probe(clip).frames == count
        assert [number_of(frame) for frame in cache.read(clip, [0, count - 1])] == [first, first + count - 1]
    assert cache.probe(clips[2]).fps == 60
    with pytest.raises(UnreadableVideoError, match="no frames between frame 90"):
        cache.probe(clips[3])
    want = source.read(clips[2], [0, 14], 20, "depth")
    got = cache.read(clips[2], [0, 14], 20, "depth")
    assert got.shape == want.shape == (2, 20, 30, 1)  # its own shape, not that of RGB
    np.testing.assert_allclose(got[:, :, 3:].astype(int), want[:, :, 3:], atol=3)
    again = prepared.PreparedSource(target)
    again.check(manifest)
    assert [number_of(frame) for frame in again.read(clips[1], [0])] == [7]


def test_prepared_cache_knows_its_distances(root: Path, tmp_path: Path) -> None:
    manifest = Manifest.from_clips("m", root, 1, [Clip("frames", "b", "test", depth="depth")])
    near = VideoSource(root, depth_range_mm=(500.0, 2000.0))
    for _ in range(2):
        prepared.prepare(manifest, near, tmp_path / "cache", short_side=24, workers=1)
    with pytest.raises(UserError, match=r"depth_range_mm = \(500.0, 2000.0\), \(500.0, 4500.0\) is asked for"):
        prepared.prepare(manifest, VideoSource(root), tmp_path / "cache", short_side=24, workers=1)
    plain = Manifest.from_clips("m", root, 1, [Clip("v.mp4", "b", "test")])
    prepared.prepare(plain, near, tmp_path / "plain", short_side=24, workers=1)
    prepared.prepare(plain, VideoSource(root), tmp_path / "plain", short_side=24, workers=1)
    assert "depth_range_mm" not in json.loads((tmp_path / "plain" / "receipt.json").read_text())
