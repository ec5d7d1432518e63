"""Folders of pictures as videos: order, sizes, depth in millimetres, and what is wrong with them."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import depth_maps, number_of, pictures, video

from keras_actrec.data import assemble, decode, image_sequence
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.data.views import Augmentation, View
from keras_actrec.errors import UnreadableVideoError


@pytest.mark.parametrize("name", ["frame_{:010d}.jpg", "{}.png", "img_{:02d}_of_12.JPG"])
def test_natural_order(tmp_path: Path, name: str) -> None:
    pictures(tmp_path, 12, name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.jpg").write_bytes(b"")
    info = decode.probe(tmp_path)
    assert (info.frames, info.fps, info.width, info.height, info.rotation) == (12, 30.0, 32, 24, 0)
    frames = decode.read_frames(tmp_path, [11, 0, 9, 9])
    assert frames.shape == (4, 24, 32, 3) and frames.dtype == np.uint8
    assert [number_of(frame) for frame in frames] == [11, 0, 9, 9]
    assert decode.read_frames(tmp_path, [], 12).shape == (0, 12, 16, 3)
    assert decode.read_frames(tmp_path, [1], (10, 14)).shape == (1, 10, 14, 3)
    np.testing.assert_allclose(decode.frame_times(tmp_path), np.arange(12) / 30)


def test_names_of_one_pattern_take_no_memory(tmp_path: Path) -> None:
    plain = pictures(tmp_path / "plain", 3)
    assert isinstance(image_sequence.names(plain), image_sequence._Numbered)
    gap = pictures(tmp_path / "gap", 4)
    (gap / "frame_0000000002.jpg").unlink()
    assert image_sequence.names(gap) == tuple(f"frame_{i:010d}.jpg" for i in (1, 3, 4))
    assert list(image_sequence.names(plain)) == [f"frame_{i:010d}.jpg" for i in (1, 2, 3)]
    with pytest.raises(IndexError):
        image_sequence.names(plain)[3]


def test_changed_folder_is_listed_anew(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    assert decode.probe(tmp_path).frames == 3
    pictures(tmp_path, 2, first=4)
    assert decode.probe(tmp_path).frames == 5


def test_colours_are_red_green_blue(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 8, 4), (10, 20, 30, 99), np.uint8))  # OpenCV writes BGRA
    cv2.imwrite(str(tmp_path / "2.png"), np.full((8, 8), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "3.png"), np.full((8, 8, 3), (256, 512, 65535), np.uint16))
    frames = decode.read_frames(tmp_path, [0, 1, 2])
    assert frames[:, 0, 0].tolist() == [[30, 20, 10], [77, 77, 77], [255, 2, 1]]


def test_depth_becomes_grey(tmp_path: Path) -> None:
    """Near 500 mm is 255, far 4500 mm is 1, half way between them 128; clipped; 0 stays 0."""
    depth_maps(tmp_path, [500, 2500, 4500, 100, 60000, 0])
    frames = decode.read_frames(tmp_path, range(6))
    assert frames[:, 5, 5].tolist() == [[grey] * 3 for grey in (255, 128, 1, 255, 1, 0)]
    assert not frames[:, :, 0].any()
    other = decode.read_frames(tmp_path, [0, 1], depth_range_mm=(0.0, 2500.0))
    assert other[:, 5, 5, 0].tolist() == [1 + round(254 * 0.8), 1]


@given(st.integers(1, 65535), st.floats(0, 3000), st.floats(1, 9000))
def test_depth_formula(depth: int, near: float, span: float) -> None:
    far = near + span
    part = (far - min(max(depth, near), far)) / (far - near)
    grey = image_sequence.grey_of_depth(np.array([[depth, 0]], np.uint16), (near, far))
    assert abs(int(grey[0, 0]) - (1 + 254 * part)) <= 0.5 + 1e-6
    assert grey[0, 1] == 0


def test_source_has_the_range_of_its_configuration(tmp_path: Path) -> None:
    pictures(tmp_path / "rgb", 4)
    depth_maps(tmp_path / "depth", [1000, 2000, 3000, 4000])
    clip = Clip("rgb", "a", "train", depth="depth")
    for distances, grey in (((500.0, 4500.0), 223), ((1000.0, 4000.0), 255)):
        frames = VideoSource(tmp_path, depth_range_mm=distances).read(clip, [0, 3], modality="depth")
        assert frames.shape == (2, 20, 30, 1)
        assert frames[0, 5, 5, 0] == grey


def test_rate_of_the_manifest(tmp_path: Path) -> None:
    pictures(tmp_path / "rgb", 12)
    source = VideoSource(tmp_path)
    assert source.probe(Clip("rgb", "a", "train")).fps == 30
    assert source.probe(Clip("rgb", "a", "train", fps=50.0)).fps == 50
    clip = Clip("rgb", "a", "train", start_sec=0.2, end_sec=0.5, fps=20.0)
    assert source.probe(clip).frames == 6
    assert [number_of(frame) for frame in source.read(clip, [0, 5])] == [4, 9]
    clip = Clip("rgb", "a", "train", start_sec=0.2)
    assert [number_of(frame) for frame in source.read(clip, [0])] == [6]


@pytest.mark.parametrize("lacking, fine", [(0, True), (2, True), (3, False)])
def test_depth_that_ends_early(tmp_path: Path, lacking: int, fine: bool) -> None:
    """Up to two frames its last one stands for those that it lacks; a clip that lacks more cannot be read."""
    video(tmp_path / "rgb.mp4", 12)
    pictures(tmp_path / "depth", 12 - lacking)
    source, clip = VideoSource(tmp_path), Clip("rgb.mp4", "a", "train", depth="depth")
    if fine:
        frames = source.read(clip, range(12), modality="depth")
        assert [number_of(frame) for frame in frames] == [min(i, 11 - lacking) for i in range(12)]
        with pytest.raises(IndexError, match="frame 12 was asked for"):
            source.read(clip, [12], modality="depth")
    else:
        with pytest.raises(UnreadableVideoError, match="9 frames for 12 of the video"):
            source.read(clip, [0], modality="depth")


def test_bad_folders(tmp_path: Path) -> None:
    pictures(tmp_path / "cut", 3)
    (tmp_path / "cut" / "frame_0000000002.jpg").write_bytes(b"no picture")
    assert number_of(decode.read_frames(tmp_path / "cut", [2])[0]) == 2
    reason = "corrupt: frame 1 (frame_0000000002.jpg) cannot be decoded"
    with pytest.raises(UnreadableVideoError, match=re.escape(reason)) as error:
        decode.read_frames(tmp_path / "cut", [1])
    assert error.value.path == str(tmp_path / "cut")
    with pytest.raises(IndexError, match="has 3 frames, frame 3"):
        decode.read_frames(tmp_path / "cut", [3])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableVideoError, match="not a file"):
        decode.probe(tmp_path / "empty")


def test_depth_of_another_shape_in_a_training_example(tmp_path: Path) -> None:
    """RGB of 24 x 32 and depth of 20 x 30: both are cut to the same square, from the same frames."""
    pictures(tmp_path / "rgb", 12)
    depth_maps(tmp_path / "depth", [500 + 300 * i for i in range(12)])
    clip, source = Clip("rgb", "a", "train", depth="depth"), VideoSource(tmp_path)
    for change in (None, Augmentation(zoom=0.1, rotation_deg=8, shift=0.1, flip=0.5, resized_crop=0.5)):
        views = [
            View(name, name, frames=4, size=16, selection="random_run", augmentation=change)
            for name in ("rgb", "depth")
        ]
        for epoch in range(3):
            rgb, depth = assemble.assemble(clip, views, source, assemble.Key(0, epoch, 0))
            assert rgb.shape == (4, 16, 16, 3) and depth.shape == (4, 16, 16, 1)
            numbers = [round((int(frame.max()) - 20) / 8) for frame in rgb]
            depths = 4500 - (depth.max(axis=(1, 2, 3)).astype(float) - 1) * 4000 / 254
            np.testing.assert_allclose(depths, [500 + 300 * number for number in numbers], atol=20)
