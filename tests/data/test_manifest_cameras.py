"""Several cameras of one recording in the manifest: its column, its hash, and which file is meant."""

import csv
import dataclasses
from pathlib import Path

import pytest

from keras_actrec.data.manifest import Clip, Manifest, read_csv, write_csv
from keras_actrec.data.prepared_layout import fingerprint
from keras_actrec.errors import UnreadableVideoError, UserError

OLD = [
    Clip("a/1.avi", "a", "train", "g1"),
    Clip("b/2.avi", "b", "test", "g2", 0.5, 2.0, 30, 25.0, "open", "door", "b/2.depth.avi", "b/2.json"),
    Clip("c.avi", None, "unlabelled", start_sec=1.0),
    Clip("a/3.avi", "a", "validation", frames=12),
]
MANY = Clip("a/1.avi", "a", "train", "g1", frames=30, depth="d.mkv", boxes="b.json", cameras="a/1b.avi; a/1c.avi")


def test_manifests_without_cameras_keep_their_hash() -> None:
    """Recorded before there were cameras: runs, caches and networks of that time go on."""
    manifest = Manifest.from_clips("recorded", "/nowhere", 2, OLD)
    assert manifest.hash == "637bfc6b52cc382d45f89f0e6175296874ec0b34e672df991587e4ca0fb0bfb5"
    assert fingerprint(OLD, Path("/nowhere")) == "e46410ce823462f61b8919e958b0c949f74a72e89ef44b488db7c04392546862"
    assert not any("cameras" in row for row in manifest.to_json()["clips"])
    by_frames = Manifest.from_clips("recorded", "/nowhere", 1, [dataclasses.replace(OLD[0], start_frame=3)])
    assert by_frames.hash == "9e9696e39585a8430d01bdfe19fd64f82430d3fa29ec93c5f33d3ddf09b141b6"


def test_cameras_count_in_the_hash() -> None:
    stretches = ({}, {"start_frame": 1, "end_frame": 9}, {"start_frame": 1, "end_frame": 8}, {"start_sec": 1.0})
    clips = [
        dataclasses.replace(OLD[0], cameras=cameras, **stretch)
        for cameras in (None, "x.avi", "x.avi;y.avi", "y.avi;x.avi")
        for stretch in stretches
    ]
    manifests = [Manifest.from_clips("m", "/nowhere", 1, [clip]) for clip in clips]
    assert len({manifest.hash for manifest in manifests}) == len(clips)
    for manifest in manifests:
        assert Manifest.from_json(manifest.to_json(), "/nowhere") == manifest


def test_csv(tmp_path: Path) -> None:
    write_csv(tmp_path / "many.csv", [[MANY, OLD[1]]])
    assert read_csv(tmp_path / "many.csv", 1) == [MANY, OLD[1]]
    write_csv(tmp_path / "one.csv", [OLD])
    with (tmp_path / "one.csv").open() as file:
        assert "cameras" not in next(csv.reader(file))
    (tmp_path / "by_hand.csv").write_text("path,label,split,cameras\nx.avi,a,train,y.avi;z.avi\nw.avi,a,train,\n")
    assert [clip.cameras for clip in read_csv(tmp_path / "by_hand.csv", 1)] == ["y.avi;z.avi", None]


def test_which_file_a_camera_is() -> None:
    assert MANY.seen_by(0) is MANY
    for camera, path in ((1, "a/1b.avi"), (2, "a/1c.avi")):
        seen = MANY.seen_by(camera)
        assert (seen.path, seen.label, seen.split, seen.group) == (path, "a", "train", "g1")
        assert (seen.frames, seen.depth, seen.boxes, seen.cameras) == (None, None, None, None)


@pytest.mark.parametrize(
    "clip, camera, reason",
    [
        (OLD[0], 1, "has 1 camera, camera 1 was asked for"),
        (OLD[0], 2, "has 1 camera, camera 2 was asked for"),
        (MANY, 3, "has 3 cameras, camera 3 was asked for"),
        (MANY, -1, "has 3 cameras, camera -1 was asked for"),
    ],
)
def test_a_camera_that_is_not_there(clip: Clip, camera: int, reason: str) -> None:
    with pytest.raises(UnreadableVideoError, match=f"a/1.avi: {reason}"):
        clip.seen_by(camera)


@pytest.mark.parametrize("cameras", ["", ";", "a.avi;", "a.avi;;b.avi", " "])
def test_a_camera_without_a_file_is_refused(cameras: str) -> None:
    with pytest.raises(UserError, match="expected paths of cameras between ';'"):
        Clip("x.avi", "a", "train", cameras=cameras)
