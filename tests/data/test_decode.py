"""Frame-exact reading: whatever way is taken, index i is the i-th frame that a full sequential decode displays."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_actrec.data import decode, video_index, video_open, video_reader
from keras_actrec.data.decode import frame_times, probe, read_frames, resize

WIDTH, HEIGHT = 96, 64


def pictures(count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """A moving texture; the number of the frame is written as eight black or white bars at the top."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT * 2, WIDTH * 2, 3), np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    for i in range(count):
        x, y = int(WIDTH / 2 * (1 + np.sin(i / 9))), int(HEIGHT / 2 * (1 + np.cos(i / 7)))
        picture = texture[y : y + HEIGHT, x : x + WIDTH].copy()
        for bit in range(8):
            picture[:16, 12 * bit : 12 * bit + 12] = 255 * (i >> bit & 1)
        yield picture


def number_in(picture: np.ndarray) -> int:
    """Read the number back."""
    return sum(int(picture[4:12, 12 * bit + 4 : 12 * bit + 8].mean() > 127) << bit for bit in range(8))


def write_video(
    path: Path,
    codec: str,
    count: int = 60,
    rotate: int | None = None,
    times: list[int] | None = None,
    pix_fmt: str = "yuv420p",
    **options: str | int,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.gop_size = int(options.pop("g", 12))
        if codec in ("mpeg4", "mjpeg"):
            stream.bit_rate = 2_000_000
        if rotate:
            stream.set_display_rotation(rotate)
        stream.options = {name: str(value) for name, value in options.items()}
        for i, picture in enumerate(pictures(count)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


KINDS = {
    "b-frames.mp4": {"codec": "libx264", "g": 30, "bf": 3, "b-pyramid": "normal"},
    "long-gop.mp4": {"codec": "libx264", "g": 250, "count": 90},
    "open-gop.mp4": {"codec": "libx264", "g": 12, "bf": 2, "x264-params": "open-gop=1:scenecut=0"},
    "hevc.mp4": {"codec": "libx265", "g": 12, "x265-params": "log-level=none"},
    "plain.avi": {"codec": "mpeg4"},
    "b-frames.avi": {"codec": "mpeg4", "bf": 2},
    "no-times.avi": {"codec": "libx264", "g": 12, "bf": 2},
    "mpeg4-b.mp4": {"codec": "mpeg4", "bf": 2},
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "g": 20,
        "deadline": "realtime",
        "cpu-used": 8,
        "auto-alt-ref": 1,
        "lag-in-frames": 10,
    },
    "vp8.webm": {"codec": "libvpx", "g": 20, "deadline": "good", "cpu-used": 5, "auto-alt-ref": 1, "lag-in-frames": 10},
    "motion-jpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "stream.ts": {"codec": "libx264", "g": 12, "bf": 2},
    "h264.mkv": {"codec": "libx264", "g": 15, "bf": 2},
    "rotated-90.mp4": {"codec": "libx264", "rotate": 90},
    "rotated-180.mp4": {"codec": "libx264", "rotate": 180},
    "rotated-270.mp4": {"codec": "libx264", "rotate": 270},
    "variable-rate.mp4": {"codec": "libx264", "bf": 2, "times": np.cumsum(np.arange(60) % 5 + 1).tolist()},
}


SEEKABLE = sorted(name for name in KINDS if KINDS[name].get("count", 60) == 60)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {name: write_video(folder / name, **settings) for name, settings in KINDS.items()}


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    decode.forget_indices()


def opencv_sequential(path: Path) -> np.ndarray:
    capture, frames = cv2.VideoCapture(str(path)), []
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    while True:
        ok, frame = capture.read()
        if not ok:
            capture.release()
            return np.stack(frames)
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def pyav_sequential(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("name", KINDS)
def test_all_frames_equal_a_sequential_decode(videos: dict[str, Path], name: str) -> None:
    path = videos[name]
    expected = opencv_sequential(path)
    assert probe(path).frames == len(expected) == KINDS[name].get("count", 60)
    ours = read_frames(path, range(len(expected)))
    assert ours.dtype == np.uint8
    assert ours.shape == expected.shape
    assert np.abs(ours.astype(int) - expected).max() <= 2
    if "rotate" not in KINDS[name]:
        assert [number_in(picture) for picture in ours] == list(range(len(ours)))
        np.testing.assert_array_equal(ours, pyav_sequential(path))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_indices_equal_a_sequential_decode(videos: dict[str, Path], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(KINDS)))
    everything = read_frames(videos[name], range(KINDS[name].get("count", 60)))
    wanted = data.draw(st.lists(st.integers(0, len(everything) - 1), min_size=1, max_size=20))
    threads = data.draw(st.sampled_from([None, 1, 2, 3]))
    if data.draw(st.booleans()):
        decode.forget_indices()
    np.testing.assert_array_equal(read_frames(videos[name], wanted, threads=threads), everything[wanted])
    small = np.stack([resize(picture, 40) for picture in everything[wanted]])
    np.testing.assert_array_equal(read_frames(videos[name], wanted, 40, threads=threads), small)


@pytest.mark.parametrize("name", SEEKABLE)
def test_seeking_in_a_large_file_gives_the_same_frames(
    videos: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = read_frames(videos[name], range(60))
    monkeypatch.setattr(video_index, "_KEPT_BYTES", 0)
    monkeypatch.setattr(video_reader, "_SEEK_FROM_BYTES", -1)
    for wanted in ([59], [0], [31, 5], [7, 29, 30, 58], [12, 24, 36, 48]):
        decode.forget_indices()
        for _ in range(2):
            np.testing.assert_array_equal(read_frames(videos[name], wanted), everything[wanted])


def test_seeking_reads_only_what_is_needed(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of a file with short groups has a stretch per frame; one of a long group is one stretch."""
    with video_reader.VideoReader(videos["plain.avi"]) as reader:
        stretches = video_reader.plan(reader.index, [5, 30, 31, 59])
    assert [(stretch.start, stretch.stop) for stretch in stretches] == [(0, 6), (24, 32), (48, 60)]
    with video_reader.VideoReader(videos["long-gop.mp4"]) as reader:
        stretches = video_reader.plan(reader.index, [5, 80])
    assert [stretch.start for stretch in stretches] == [0]


def test_unwanted_frames_are_not_converted(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    original = decode._picture
    monkeypatch.setattr(decode, "_picture", lambda frame, *more: converted.append(frame.pts) or original(frame, *more))
    read_frames(videos["long-gop.mp4"], [3, 40, 40, 77])
    assert len(converted) == 3


def test_frames_without_times_are_counted(videos: dict[str, Path]) -> None:
    with video_reader.VideoReader(videos["no-times.avi"]) as reader:
        assert reader.index.packet_pts is None
        assert reader.index.frames == 60


def test_rotation_is_reported_and_applied(videos: dict[str, Path]) -> None:
    info = probe(videos["rotated-90.mp4"])
    assert (info.width, info.height) == (HEIGHT, WIDTH)
    assert info.rotation in (90, 270)
    upright = read_frames(videos["rotated-90.mp4"], [9])[0]
    assert number_in(np.rot90(upright, -info.rotation // 90)) == 9
    assert read_frames(videos["rotated-90.mp4"], [9], size=(48, 32)).shape == (1, 48, 32, 3)
    assert read_frames(videos["rotated-90.mp4"], [9], size=32).shape == (1, 48, 32, 3)


def test_edit_list_hides_frames(tmp_path: Path) -> None:
    """Copying from the middle of a group leaves frames in the file that must not be displayed."""
    source = write_video(tmp_path / "source.mp4", "libx264", g=30, bf=2)
    target = tmp_path / "cut.mp4"
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        stream = read.streams.video[0]
        copy = write.add_stream_from_template(stream)
        skip = int(10 / 25 / stream.time_base)
        for packet in read.demux(stream):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - skip, packet.dts - skip, copy
                write.mux(packet)
    expected = opencv_sequential(target)
    assert probe(target).frames == len(expected)
    ours = read_frames(target, range(len(expected)))
    assert [number_in(picture) for picture in ours] == [number_in(picture) for picture in expected]
    assert number_in(ours[0]) == 10
    assert number_in(read_frames(target, [len(expected) - 1])[0]) == 59


def test_times_follow_a_variable_rate(videos: dict[str, Path]) -> None:
    times = frame_times(videos["variable-rate.mp4"])
    expected = np.cumsum(np.arange(60) % 5 + 1) / 25
    np.testing.assert_allclose(times, expected - expected[0], atol=1e-3)
    np.testing.assert_allclose(frame_times(videos["plain.avi"]), np.arange(60) / 25, atol=1e-6)


def test_probe(videos: dict[str, Path]) -> None:
    info = probe(videos["plain.avi"])
    assert (info.frames, info.fps, info.width, info.height, info.rotation) == (60, 25.0, WIDTH, HEIGHT, 0)


@pytest.mark.parametrize("size, shape", [(32, (32, 48)), (128, (128, 192)), ((50, 20), (50, 20)), ((64, 96), (64, 96))])
def test_sizes(videos: dict[str, Path], size: decode.Size, shape: tuple[int, int]) -> None:
    ours = read_frames(videos["plain.avi"], [3, 3], size)
    assert ours.shape == (2, *shape, 3)
    np.testing.assert_array_equal(ours[0], resize(read_frames(videos["plain.avi"], [3])[0], size))


def test_shrinking_averages_over_areas() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    small = resize(np.repeat(board[..., None], 3, 2).astype(np.uint8), 16)
    assert np.abs(small.astype(int) - 127).max() <= 1


def test_no_frames_wanted(videos: dict[str, Path]) -> None:
    assert read_frames(videos["plain.avi"], []).shape == (0, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("wrong", [60, -1, 10**9])
def test_number_out_of_range(videos: dict[str, Path], wrong: str) -> None:
    with pytest.raises(IndexError, match=f"has 60 frames, frame {wrong}"):
        read_frames(videos["plain.avi"], [0, wrong])


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.avi", "mpeg4", 30)
    assert probe(path).frames == 30
    write_video(path, "mpeg4", 45)
    assert probe(path).frames == 45


def test_opencv_takes_over_without_a_decoder(videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_frames(videos["b-frames.mp4"], [3, 50, 20], size=32)
    info = probe(videos["b-frames.mp4"])
    decode.forget_indices()

    def no_decoder(path: Path, container: object) -> None:
        raise decode.UnreadableVideoError(str(path), decode.NO_DECODER)

    monkeypatch.setattr(video_open, "video_stream", no_decoder)
    ours = read_frames(videos["b-frames.mp4"], [3, 50, 20], size=32)
    assert np.abs(ours.astype(int) - expected).max() <= 2
    assert probe(videos["b-frames.mp4"]) == info
    assert len(frame_times(videos["b-frames.mp4"])) == 60
    with pytest.raises(IndexError):
        read_frames(videos["b-frames.mp4"], [60])


def test_many_threads_may_read_at_once(videos: dict[str, Path]) -> None:
    expected = {name: read_frames(path, [0, 20, 59]) for name, path in videos.items()}
    decode.forget_indices()
    jobs = [name for name in videos for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for name, got in zip(jobs, pool.map(lambda name: read_frames(videos[name], [0, 20, 59]), jobs), strict=True):
            np.testing.assert_array_equal(got, expected[name])


def test_leaving_a_decoder_while_its_threads_work_does_not_hang(videos: dict[str, Path]) -> None:
    code = f"""
from keras_actrec.data import decode, video_reader
for i in range(150):
    with video_reader.VideoReader({str(videos["long-gop.mp4"])!r}, threads=4) as reader:
        next(reader.frames([i % 90, 89]))
    decode.read_frames({str(videos["long-gop.mp4"])!r}, [i % 90], threads=3)
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_a_stream_that_changes_its_size_gives_frames_of_one_size(tmp_path: Path) -> None:
    data = b""
    for n, (height, width) in enumerate([(HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2)]):
        with av.open(str(tmp_path / f"{n}.ts"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for i, picture in enumerate(pictures(10)):
                frame = av.VideoFrame.from_ndarray(cv2.resize(picture, (width, height)), format="rgb24")
                frame.pts, frame.time_base = i + 10 * n, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        data += (tmp_path / f"{n}.ts").read_bytes()
    (tmp_path / "both.ts").write_bytes(data)
    frames = read_frames(tmp_path / "both.ts", range(20))
    assert frames.shape == (20, HEIGHT, WIDTH, 3)
    assert [number_in(frame) for frame in frames] == [*range(10), *range(10)]
