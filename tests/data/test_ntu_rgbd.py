"""NTU RGB+D: names, protocols, depth maps, samples to leave out."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from trees import depth_maps, lines, number_of, video

from keras_actrec.config import DataConfig
from keras_actrec.data.collections import load_manifest
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.official import ntu_rgbd
from keras_actrec.data.official.ntu_rgbd_classes import ACTIONS
from keras_actrec.errors import UserError
from keras_actrec.training import datasets

MISSING = (
    '302 of the captured samples in the "NTU RGB+D" dataset have missing or incomplete skeleton data.',
    "If you are working on skeleton-based analysis, please ignore these files in your training.",
    "",
)


def name(setup: int = 1, camera: int = 1, performer: int = 1, repetition: int = 1, action: int = 1) -> str:
    return f"S{setup:03d}C{camera:03d}P{performer:03d}R{repetition:03d}A{action:03d}"


def touch(root: Path, names: Iterable[str], folder: str = "nturgb+d_rgb", ending: str = "_rgb.avi") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for each in names:
        (root / folder / f"{each}{ending}").touch()
    return root


def read(root: Path, protocol: str = "cross_subject", **keys: object) -> Manifest:
    return load_manifest(DataConfig(source="ntu_rgbd", root=str(root), protocol=protocol, **keys), seed=0)


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 40 performers and three cameras, two actions, as empty files; and beside them what is none of it."""
    root = tmp_path_factory.mktemp("ntu")
    names = [name(1 + p % 17, c, p, 1, a) for p in range(1, 41) for c in (1, 2, 3) for a in (1, 60)]
    touch(root, names)
    touch(root, [name(18, 1, 45, 1, 61), name(20, 2, 41, 2, 120), name(19, 1, 1, 1, 1)])
    touch(root, names[:5], "skeletons", ".skeleton")
    touch(root, names[:5], "ir", "_ir.avi")
    (root / "readme.avi").touch()
    return root


def sample(clip: Clip) -> ntu_rgbd.Sample:
    return ntu_rgbd.parse(re.search(r"S\d+C\d+P\d+R\d+A\d+", clip.path)[0])


def performers(manifest: Manifest, split: str) -> set[int]:
    return {sample(clip).performer for clip in manifest.split(split)}


def test_cross_subject(everybody: Path) -> None:
    """The official twenty, of which some are held out for validation."""
    manifest = read(everybody)
    training = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
    assert performers(manifest, "train") | performers(manifest, "validation") == training
    assert performers(manifest, "test") == set(range(1, 41)) - training
    assert not performers(manifest, "train") & performers(manifest, "validation")
    assert len(performers(manifest, "validation")) == 4
    assert len(manifest.clips) == 240
    assert manifest.classes == ACTIONS[:60]
    assert {clip.label for clip in manifest.clips} == {"drink water", "walk apart"}
    assert manifest.hash != read(everybody, "cross_view").hash


def test_cross_view(everybody: Path) -> None:
    manifest = read(everybody, "cross_view")
    assert {sample(clip).camera for clip in manifest.split("test")} == {1}
    assert {sample(clip).camera for clip in manifest.clips if clip.split != "test"} == {2, 3}
    assert not performers(manifest, "train") & performers(manifest, "validation")
    assert performers(manifest, "test") == set(range(1, 41))


def test_120_actions(everybody: Path) -> None:
    subject, setup = (read(everybody, protocol) for protocol in ("cross_subject_120", "cross_setup_120"))
    assert len(subject.clips) == len(setup.clips) == 243
    assert subject.classes == ACTIONS and len(set(ACTIONS)) == 120
    assert len(ntu_rgbd.TRAINING_SUBJECTS_120) == 53
    splits = {sample(clip).performer: clip.split for clip in subject.clips}
    assert splits[45] != "test" and splits[41] == "test"
    assert {sample(clip).setup % 2 for clip in setup.split("test")} == {1}
    assert {sample(clip).setup % 2 for clip in setup.split("train")} == {0}


def test_samples_to_leave_out(everybody: Path, tmp_path: Path) -> None:
    gone = [name(1 + 7 % 17, 1, 7, 1, 1), name(1 + 7 % 17, 2, 7, 1, 60)]
    path = lines(tmp_path / "NTU_RGBD_samples_with_missing_skeletons.txt", *MISSING, gone[0], f"{gone[1]}.skeleton")
    for where in (path, tmp_path):
        manifest = read(everybody, lists=str(where))
        assert len(manifest.clips) == 238
        assert not [clip for clip in manifest.clips for each in gone if each in clip.path]
    lines(path, *MISSING, gone[0], "S001C001P001R001")
    with pytest.raises(UserError, match=r"missing_skeletons.txt, line 5: expected a sample like .*, found 'S001C0"):
        read(everybody, lists=str(path))
    lines(path, *MISSING)
    with pytest.raises(UserError, match="names no sample"):
        read(everybody, lists=str(path))
    path.unlink()
    with pytest.raises(UserError, match=r"holds no list \*missing\*.txt"):
        read(everybody, lists=str(tmp_path))
    with pytest.raises(UserError, match="there is no list"):
        read(everybody, lists=str(path))


def test_depth_is_found_and_read(tmp_path: Path) -> None:
    """RGB with depth maps, with a depth video, without depth; frames and millimetres come through."""
    samples = [name(performer=performer, action=action) for performer in (1, 2, 3, 4) for action in (1, 2)]
    for each in samples:
        video(tmp_path / "nturgb+d_rgb" / f"{each}_rgb.avi", 8)
    for each in samples[:4]:
        depth_maps(tmp_path / "nturgb+d_depth_masked" / each, range(1000, 1800, 100))
    video(tmp_path / "depth_videos" / f"{samples[4]}_depth.mp4", 8)
    data = DataConfig(source="ntu_rgbd", root=str(tmp_path), depth_range_mm=(1000, 2000))
    manifest = load_manifest(data, seed=0)
    clips = {each: clip for each in samples for clip in manifest.clips if each in clip.path}
    source = datasets.open_source(data, manifest)
    maps, film, none = (clips[samples[number]] for number in (0, 4, 7))
    assert [number_of(frame) for frame in source.read(maps, [0, 7])] == [0, 7]
    assert source.read(maps, [0, 5], modality="depth")[:, 5, 5, 0].tolist() == [255, 1 + 127]
    assert [number_of(frame) for frame in source.read(film, [0, 7], modality="depth")] == [0, 7]
    assert none.depth is None
    assert {clip.split for clip in clips.values()} == {"train", "validation", "test"}


def test_depth_alone(tmp_path: Path) -> None:
    """A root of depth maps only, named by the root's own folder."""
    root = tmp_path / "nturgb+d_depth_masked"
    for performer in (1, 2, 3):
        depth_maps(root / name(performer=performer), [500, 4500])
    manifest = read(root)
    assert all(clip.path == clip.depth for clip in manifest.clips) and len(manifest.clips) == 3
    frames = datasets.open_source(DataConfig(), manifest).read(manifest.clips[0], [0, 1], modality="depth")
    assert frames[:, 5, 5, 0].tolist() == [255, 1]


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        read(tmp_path / "none")
    with pytest.raises(UserError, match="holds no video or depth map of cross_view"):
        read(tmp_path, "cross_view")
    touch(tmp_path, [name()])
    touch(tmp_path, [name()], "again")
    with pytest.raises(UserError, match="S001C001P001R001A001 twice as rgb: again/"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"one official split; data.fold is 2"):
        read(tmp_path, fold=2)
    with pytest.raises(UserError, match="found 'S1C1'"):
        ntu_rgbd.parse("S1C1")


def test_nobody_looks_into_folders_of_pictures(tmp_path: Path) -> None:
    """56 880 folders of 80 pictures: a video in one is no sample."""
    folder = depth_maps(tmp_path / "depth" / name(performer=1), [500])
    touch(folder, [name(performer=2)], ".", "_rgb.avi")
    assert list(ntu_rgbd._find(tmp_path)) == [name(performer=1)]
