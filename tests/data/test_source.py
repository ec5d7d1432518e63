"""Clips of a manifest as frames: whole files, stretches of files, depth."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from keras_actrec.data.decode import read_frames
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UnreadableVideoError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 50 frames at 25 frames per second; brightness grows by 4 per frame, or falls."""
    folder = tmp_path_factory.mktemp("videos")
    for name, sign in (("rgb.mp4", 1), ("depth.mp4", -1)):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for i in range(50):
                value = 28 + 4 * (i if sign > 0 else 49 - i)
                picture = np.full((48, 64, 3), value, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return folder


def number_of(frame: np.ndarray) -> int:
    return round((float(frame.mean()) - 28) / 4)


def test_whole_file(root: Path) -> None:
    source, clip = VideoSource(root), Clip("rgb.mp4", "a", "train")
    assert source.probe(clip).frames == 50
    np.testing.assert_array_equal(source.read(clip, [3, 40]), read_frames(root / "rgb.mp4", [3, 40]))
    assert source.read(clip, [0], size=24).shape == (1, 24, 32, 3)


@pytest.mark.parametrize(
    "start, end, first, count",
    [(1.0, None, 25, 25), (None, 1.0, 0, 25), (0.4, 0.8, 10, 10), (0.39, 0.81, 10, 11), (0.0, 99.0, 0, 50)],
)
def test_stretch(root: Path, start: float | None, end: float | None, first: int, count: int) -> None:
    source = VideoSource(root)
    clip = Clip("rgb.mp4", "a", "train", start_sec=start, end_sec=end)
    assert source.probe(clip).frames == count
    frames = source.read(clip, [0, count - 1])
    assert [number_of(frame) for frame in frames] == [first, first + count - 1]
    for wrong in (count, -1):
        with pytest.raises(IndexError, match=f"has {count} frames, frame {wrong}"):
            source.read(clip, [wrong])


def test_empty_stretch(root: Path) -> None:
    clip = Clip("rgb.mp4", "a", "train", start_sec=5.0, end_sec=6.0)
    with pytest.raises(UnreadableVideoError, match="no frames between 5 s and 6 s"):
        VideoSource(root).probe(clip)


def test_depth(root: Path) -> None:
    source = VideoSource(root)
    clip = Clip("rgb.mp4", "a", "train", start_sec=0.4, depth="depth.mp4")
    depth = source.read(clip, [0, 5], modality="depth")
    assert depth.shape == (2, 48, 64, 1)
    assert [number_of(frame) for frame in depth] == [39, 34]
    with pytest.raises(UnreadableVideoError, match="no depth video"):
        source.read(Clip("rgb.mp4", "a", "train"), [0], modality="depth")
    with pytest.raises(ValueError, match="difference"):
        source.read(clip, [0], modality="difference")


@pytest.mark.parametrize(
    "stretch, first, count",
    [
        ({}, 0, 50),
        ({"start_sec": 0.4, "end_sec": 0.8}, 10, 10),
        ({"start_frame": 7, "end_frame": 9}, 7, 2),
        ({"start_frame": 48, "end_frame": 90}, 48, 2),
    ],
)
def test_boxes_of_a_stretch(root: Path, tmp_path: Path, stretch: dict[str, float], first: int, count: int) -> None:
    """Frame n's box begins at n of 100 pixels; nobody is seen in frame 12, and the last frame's box is missing."""
    rows = [None if n == 12 else [n, 1, n + 10, 40] for n in range(49)]
    (tmp_path / "boxes.json").write_text(json.dumps({"width": 100, "height": 50, "boxes": rows}))
    (tmp_path / "rgb.mp4").symlink_to(root / "rgb.mp4")
    found = VideoSource(tmp_path).boxes(Clip("rgb.mp4", "a", "train", boxes="boxes.json", **stretch))
    expected = np.array([[n / 100, 0.02, (n + 10) / 100, 0.8] for n in range(first, first + count)])
    expected[[n for n in range(count) if first + n in (12, 49)]] = np.nan
    np.testing.assert_allclose(found, expected)


def test_a_further_camera_is_a_source_of_its_own(root: Path) -> None:
    """The stretch holds for it, by its own clock; depth and boxes are the first camera's."""
    clip = Clip("rgb.mp4", "a", "train", start_sec=0.4, depth="rgb.mp4", boxes="b.json", cameras="x.mp4;depth.mp4")
    seen = clip.seen_by(2)
    assert (seen.path, seen.depth, seen.boxes, seen.start_sec) == ("depth.mp4", None, None, 0.4)
    assert number_of(VideoSource(root).read(seen, [0])[0]) == 39
    places = {VideoSource(root).motion_place(part).key for part in (clip, seen)}
    assert len(places) == 2


@pytest.mark.parametrize("call", ["probe", "read"])
def test_missing_file(root: Path, call: str) -> None:
    source, clip = VideoSource(root), Clip("none.mp4", "a", "train")
    with pytest.raises(UnreadableVideoError) as error:
        source.probe(clip) if call == "probe" else source.read(clip, [0])
    assert error.value.reason == "missing file"
