"""Files that cannot be read give a short stable reason, no noise, no crash and no made-up frames."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keras_actrec.data import decode, video_container, video_reader
from keras_actrec.data.decode import probe, read_frames
from keras_actrec.errors import UnreadableVideoError

FRAMES = 90


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    decode.forget_indices()


def write_video(
    path: Path,
    codec: str,
    gop: int = 12,
    movflags: str | None = None,
    audio_only: bool = False,
    seed: int = 0,
) -> Path:
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        if audio_only:
            sound = container.add_stream("aac", rate=16000)
            tone = av.AudioFrame.from_ndarray(rng.normal(size=(1, 16000)).astype(np.float32) / 9, "fltp", "mono")
            tone.sample_rate = 16000
            for _ in range(4):
                container.mux(sound.encode(tone))
            container.mux(sound.encode(None))
            return path
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.gop_size = gop
        if codec == "mpeg4":
            stream.bit_rate = 1_500_000
        if codec == "libvpx-vp9":
            stream.options = {"deadline": "realtime", "cpu-used": "8"}
        texture = cv2.GaussianBlur(rng.integers(0, 256, (128, 192, 3), np.uint8), (0, 0), 2)
        for i in range(FRAMES):
            picture = np.ascontiguousarray(texture[i % 60 : i % 60 + 64, i : i + 96])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("good")
    return {
        "mp4": write_video(folder / "good.mp4", "libx264"),
        "faststart.mp4": write_video(folder / "faststart.mp4", "libx264", movflags="faststart"),
        "fragmented.mp4": write_video(folder / "fragmented.mp4", "libx264", movflags="frag_keyframe+empty_moov"),
        "avi": write_video(folder / "good.avi", "mpeg4"),
        "webm": write_video(folder / "good.webm", "libvpx-vp9"),
        "mkv": write_video(folder / "good.mkv", "libx264"),
        "sound.m4a": write_video(folder / "sound.m4a", "aac", audio_only=True),
    }


def reason(path: Path, indices: Iterable[int] = (0,)) -> str:
    """The reason, the same from both functions, whichever is called first."""
    for call in (lambda: probe(path), lambda: read_frames(path, indices)):
        decode.forget_indices()
        with pytest.raises(UnreadableVideoError) as first:
            call()
        assert first.value.path == str(path)
    return first.value.reason


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_missing_file(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.mp4") == "missing file"


def test_folder(tmp_path: Path) -> None:
    assert reason(tmp_path) == "not a file"


def test_empty_file(tmp_path: Path) -> None:
    assert reason(write(tmp_path / "empty.mp4", b"")) == "empty file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file(tmp_path: Path, good: dict[str, Path]) -> None:
    path = write(tmp_path / "secret.mp4", good["mp4"].read_bytes())
    path.chmod(0)
    assert reason(path) == "cannot be opened: Permission denied"


@pytest.mark.parametrize(
    "content",
    [
        b"This is a text and no video.\n" * 200,
        b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n",
        b"ffconcat version 1.0\nfile other.mp4\n",
        b"1\n00:00:00,000 --> 00:00:09,000\nsubtitle\n",
        b"\n".join(b"a,b,%d" % i for i in range(500)),
        b"<html><body>404 not found</body></html>",
        bytes(5000),
        b"\x00",
        np.random.default_rng(0).bytes(40_000),
        np.random.default_rng(1).bytes(400_000),
        cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes(),
        cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes(),
    ],
    ids=[
        "text",
        "playlist",
        "concat",
        "subtitle",
        "csv",
        "html",
        "zeros",
        "byte",
        "noise",
        "more-noise",
        "jpeg",
        "png",
    ],
)
@pytest.mark.parametrize("name", ["bad.mp4", "bad.avi", "bad.txt"])
def test_no_video(tmp_path: Path, name: str, content: bytes) -> None:
    assert reason(write(tmp_path / name, content)) == "not a video"


def test_archive(tmp_path: Path, good: dict[str, Path]) -> None:
    with zipfile.ZipFile(tmp_path / "zip.avi", "w") as archive:
        archive.write(good["avi"], "good.avi")
    assert reason(tmp_path / "zip.avi") == "not a video"


def test_sound_only(good: dict[str, Path]) -> None:
    assert reason(good["sound.m4a"]) == "no video stream"


@pytest.mark.parametrize("name", ["none.mp4", "none.avi", "none.mkv"])
def test_no_frames(tmp_path: Path, name: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.open()
        container.start_encoding()
    assert reason(tmp_path / name) == "no frames"


@pytest.mark.parametrize("wrong", ["as.avi", "as.webm", "as.txt", "as", "colon: 50%.mp4", "http:x.mp4"])
def test_the_content_decides_not_the_name(tmp_path: Path, good: dict[str, Path], wrong: str) -> None:
    path = write(tmp_path / wrong, good["mp4"].read_bytes())
    np.testing.assert_array_equal(read_frames(path, [0, 89]), read_frames(good["mp4"], [0, 89]))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_mp4_without_its_end(tmp_path: Path, good: dict[str, Path], share: float) -> None:
    data = good["mp4"].read_bytes()
    assert reason(write(tmp_path / "cut.mp4", data[: int(len(data) * share)])) == "truncated: the index (moov) is lost"


@pytest.mark.parametrize("kind", ["faststart.mp4", "avi"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_in_the_data(tmp_path: Path, good: dict[str, Path], kind: str, share: float) -> None:
    data = good[kind].read_bytes()
    found = reason(write(tmp_path / f"cut.{kind}", data[: int(len(data) * share)]))
    words = found.split()
    assert found == f"truncated: {words[1]} of 90 frames can be decoded"
    assert 0 < int(words[1]) < 90
    assert abs(int(words[1]) / 90 - share) < 0.25


@pytest.mark.parametrize("kind", ["webm", "mkv", "fragmented.mp4"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_where_no_count_is_declared(tmp_path: Path, good: dict[str, Path], kind: str, share: float) -> None:
    data = good[kind].read_bytes()
    assert reason(write(tmp_path / f"cut.{kind}", data[: int(len(data) * share)])).startswith("truncated: ")


@pytest.mark.parametrize("kind", ["mp4", "faststart.mp4", "fragmented.mp4", "avi", "webm", "mkv"])
def test_every_cut_is_noticed_or_harmless(tmp_path: Path, good: dict[str, Path], kind: str) -> None:
    """Wherever a file ends, either it is refused or all of its frames are there and right."""
    data = good[kind].read_bytes()
    expected = read_frames(good[kind], range(FRAMES))
    with good[kind].open("rb") as file:
        fragment_ends = {end for _, end in video_container._boxes(file)}
    accepted = 0
    for length in [*np.linspace(1, len(data) - 1, 40).astype(int), *range(len(data) - 8, len(data))]:
        if kind == "fragmented.mp4" and length in fragment_ends:
            continue  # it looks just like a recording that was stopped here
        path = write(tmp_path / f"cut.{kind}", data[:length])
        try:
            frames = read_frames(path, range(probe(path).frames))
        except UnreadableVideoError as error:
            assert error.reason.startswith(("truncated", "not a video"))
            continue
        accepted += 1
        np.testing.assert_array_equal(frames, expected)
    assert accepted <= 15  # only the ends of indices and trailers can be missed


@pytest.mark.parametrize("kind", ["faststart.mp4", "avi", "mkv"])
@pytest.mark.parametrize("fill", ["zeros", "noise"])
def test_damage_in_the_middle(tmp_path: Path, good: dict[str, Path], kind: str, fill: str) -> None:
    data = bytearray(good[kind].read_bytes())
    middle = len(data) // 2
    length = len(data) // 10
    data[middle : middle + length] = bytes(length) if fill == "zeros" else np.random.default_rng(0).bytes(length)
    path = write(tmp_path / f"damaged.{kind}", bytes(data))
    with pytest.raises(UnreadableVideoError) as error:
        read_frames(path, range(FRAMES))
    assert error.value.reason.startswith(("corrupt: ", "truncated: "))
    with pytest.raises(UnreadableVideoError) as again:
        read_frames(path, range(FRAMES))
    assert again.value.reason == error.value.reason
    np.testing.assert_array_equal(read_frames(good[kind], [0]), read_frames(good[kind], [0]))


def test_frames_away_from_the_damage_can_be_read(tmp_path: Path, good: dict[str, Path]) -> None:
    data = bytearray(good["faststart.mp4"].read_bytes())
    with video_reader.VideoReader(good["faststart.mp4"]) as reader:
        packet = reader._packets[50]
        data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path = write(tmp_path / "damaged.mp4", bytes(data))
    np.testing.assert_array_equal(read_frames(path, [0, 20, 88]), read_frames(good["faststart.mp4"], [0, 20, 88]))
    with pytest.raises(UnreadableVideoError, match="corrupt: "):
        read_frames(path, range(FRAMES))


def test_avi_that_declares_a_frame_too_many(tmp_path: Path, good: dict[str, Path]) -> None:
    """Tolerance: two frames, or 2 % of the declared number."""
    data = bytearray(good["avi"].read_bytes())
    place = data.index(b"strh") + 8 + 32  # dwLength
    for declared in (FRAMES - 5, FRAMES + 1, FRAMES + 2):
        data[place : place + 4] = declared.to_bytes(4, "little")
        assert probe(write(tmp_path / f"{declared}.avi", bytes(data))).frames == FRAMES
    data[place : place + 4] = (FRAMES + 30).to_bytes(4, "little")
    assert (
        reason(write(tmp_path / "lies.avi", bytes(data)))
        == f"truncated: {FRAMES} of {FRAMES + 30} frames can be decoded"
    )


@pytest.mark.parametrize("kind", ["mp4", "faststart.mp4", "avi", "webm", "mkv"])
def test_random_damage_never_crashes_or_lies(tmp_path: Path, good: dict[str, Path], kind: str) -> None:
    """Any bytes may be wrong: the outcome is frames of the right shape or an error with a reason."""
    original = good[kind].read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(40):
        data = bytearray(original)
        for place in rng.integers(0, len(data), rng.integers(1, 30)):
            data[place] = rng.integers(256)
        path = write(tmp_path / f"fuzz.{kind}", bytes(data))
        decode.forget_indices()
        try:
            frames = read_frames(path, range(min(probe(path).frames, 200)), size=(16, 24))
        except UnreadableVideoError as error:
            assert error.reason
            continue
        assert frames.shape[1:] == (16, 24, 3)


def test_nothing_is_printed(tmp_path: Path, good: dict[str, Path]) -> None:
    """FFmpeg and OpenCV write to the process's own stderr, below Python's."""
    cut = write(tmp_path / "cut.avi", good["avi"].read_bytes()[:9000])
    text = write(tmp_path / "text.mp4", b"text " * 999)
    damaged = bytearray(good["mp4"].read_bytes())
    damaged[3000:4000] = bytes(1000)
    bad = write(tmp_path / "damaged.mp4", bytes(damaged))
    code = f"""
from keras_actrec.data import decode, opencv_reader
for path in {[str(cut), str(text), str(bad), str(good["webm"])]!r}:
    for call in (lambda: decode.read_frames(path, range(90)), lambda: list(opencv_reader.frames(path, range(90)))):
        try:
            call()
        except decode.UnreadableVideoError:
            pass
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout + run.stderr == ""
