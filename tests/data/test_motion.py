"""The variance rate: Eq. (1) by hand, on real files of several codecs, and kept between runs whatever happens to it."""

import concurrent.futures
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import warnings
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import trees

from keras_actrec.data import motion, motion_store
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.folder import read_folder
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.prepared import PreparedSource, prepare
from keras_actrec.data.sampling import select
from keras_actrec.data.source import VideoSource
from keras_actrec.data.synthetic.recording import FORMATS, write_video
from keras_actrec.data.views import View
from keras_actrec.errors import UnreadableVideoError

CLIP = Clip("a.avi", "a", "train")


class Pictures:
    """A source of the pictures it is given, that counts what is read."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames
        self.read_at_a_time: list[int] = []

    def probe(self, clip: Clip) -> VideoInfo:
        return VideoInfo(len(self.frames), 25.0, self.frames.shape[2], self.frames.shape[1], 0)

    def read(self, clip: Clip, indices: np.ndarray, size: tuple[int, int], modality: str = "rgb") -> np.ndarray:
        self.read_at_a_time.append(len(indices))
        pictures = [cv2.resize(self.frames[i], size[::-1], interpolation=cv2.INTER_AREA) for i in indices]
        return np.stack(pictures).reshape(len(indices), *size, 3)


def grey(*frames: list[list[int]]) -> Pictures:
    return Pictures(np.repeat(np.array(frames, np.uint8)[..., None], 3, axis=-1))


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Nothing is remembered from the test before."""
    motion.forget()
    motion_store._stores.clear()


def test_equation_1_by_hand() -> None:
    """Differences 10 + 0 + 5 + 5 = 20, 0, and 30 + 40 + 5 + 5 = 80, of 100."""
    source = grey([[0, 50], [20, 10]], [[10, 50], [15, 15]], [[10, 50], [15, 15]], [[40, 10], [10, 20]])
    np.testing.assert_allclose(motion.rates(source, CLIP), [0.2, 0.0, 0.8], rtol=1e-15)


def test_grey_is_luma() -> None:
    """Red counts 0.299, green 0.587, blue 0.114; what cancels in grey is no movement."""
    frames = np.zeros((4, 1, 1, 3), np.uint8)
    frames[1, ..., 0], frames[2, ..., 1], frames[3, ..., 2] = 100, 100, 100
    changes = np.array([29.9, 58.7 - 29.9, 58.7 - 11.4])
    np.testing.assert_allclose(motion.rates(Pictures(frames), CLIP), changes / changes.sum(), rtol=1e-15)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_where_nothing_moves_all_shares_are_equal(frames: int) -> None:
    rates = motion.rates(Pictures(np.full((frames, 3, 3, 3), 77, np.uint8)), CLIP)
    np.testing.assert_array_equal(rates, np.full(frames - 1, 1 / max(1, frames - 1)))


@pytest.mark.parametrize("height, width", [(3, 5), (16, 16), (64, 128), (40, 50), (480, 640)])
def test_against_averages_of_the_full_frames(height: int, width: int) -> None:
    """Brute force in floats: mean grey of each cell, then Eq. (1)."""
    rng = np.random.default_rng(height)
    steps = rng.integers(0, 60, (7, min(height, 20), min(width, 20), 3)).cumsum(axis=0).astype(np.uint8)
    frames = np.stack([cv2.resize(step, (width, height), interpolation=cv2.INTER_NEAREST) for step in steps])
    weights = np.array([0.299, 0.587, 0.114])
    cells = (min(height, motion.CELLS), min(width, motion.CELLS))
    small = [cv2.resize(frame @ weights, cells[::-1], interpolation=cv2.INTER_AREA) for frame in frames.astype(float)]
    changes = np.abs(np.diff(small, axis=0)).sum(axis=(1, 2))
    rates = motion.rates(Pictures(frames), CLIP)
    assert rates.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(rates, changes / changes.sum(), atol=1e-3)


def test_long_videos_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Pictures(np.random.default_rng(0).integers(0, 256, (23, 4, 4, 3), np.uint8))
    whole = motion.differences(source, CLIP)
    for chunk in (1, 2, 11, 22, 23, 24):
        monkeypatch.setattr(motion, "_CHUNK", chunk)
        source.read_at_a_time.clear()
        np.testing.assert_array_equal(motion.differences(source, CLIP), whole)
        assert max(source.read_at_a_time) <= chunk and sum(source.read_at_a_time) == 23


def test_sources_and_stretches_are_told_apart() -> None:
    one, two = grey([[0]], [[10]], [[40]]), grey([[0]], [[30]], [[40]])
    np.testing.assert_allclose(motion.rates(one, CLIP), [0.25, 0.75])
    np.testing.assert_allclose(motion.rates(two, CLIP), [0.75, 0.25])
    part = Clip("a.avi", "a", "train", start_frame=1)
    one.frames = one.frames[1:]
    np.testing.assert_allclose(motion.rates(one, part), [1.0])
    np.testing.assert_allclose(motion.rates(one, CLIP), [0.25, 0.75])  # known, not read again
    assert len(one.read_at_a_time) == 2


def test_memory_is_bounded() -> None:
    recent = motion._Recent(100)
    for number in range(50):
        recent.put(number, np.zeros(9, np.int64))
    assert [number for number in range(50) if recent.get(number) is not None] == list(range(40, 50))
    recent.put("long", np.zeros(1000, np.int64))
    assert recent.get("long") is not None and recent.get(49) is None


# Real files


def _scene() -> list[np.ndarray]:
    """120 frames; a figure walks through the picture in the middle third, before a still and structured background."""
    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    background = cv2.resize(noise, (160, 120), interpolation=cv2.INTER_CUBIC)
    frames = []
    for number in range(120):
        frame = background.copy()
        left = 10 + 3 * min(max(number - 40, 0), 40)
        cv2.rectangle(frame, (left, 25), (left + 22, 110), (230, 40, 30), -1)
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("middle")
    for name, form in FORMATS.items():
        write_video(root / f"{name}{form.suffix}", _scene(), form, Fraction(25))
    return root


def clip_of(name: str) -> Clip:
    return Clip(f"{name}{FORMATS[name].suffix}", "walk", "train")


@pytest.mark.parametrize("name", FORMATS)
def test_draws_fall_where_the_movement_is(videos: Path, name: str) -> None:
    rates = motion.rates(VideoSource(videos), clip_of(name))
    assert rates.shape == (119,) and rates.sum() == pytest.approx(1)
    for frames in (7, 17, 25):
        view = View(selection="variance_rate", frames=frames)
        draws = [select(120, view, rng=np.random.default_rng(seed), weights=rates) for seed in range(100)]
        chosen = np.concatenate(draws)
        assert ((chosen >= 40) & (chosen < 80)).mean() > 0.8, frames
        chosen = select(120, view, weights=rates)
        assert ((chosen >= 40) & (chosen < 80)).mean() > 0.7, frames


def test_from_a_prepared_cache_rates_are_about_the_same(videos: Path, tmp_path: Path) -> None:
    clips = [clip_of(name) for name in FORMATS]
    source = VideoSource(videos)
    manifest = Manifest.from_clips("m", videos, 1, clips)
    cache = prepare(manifest, source, tmp_path / "cache", short_side=96, workers=1)
    for clip in clips:
        video, cached = motion.rates(source, clip), motion.rates(cache, clip)
        assert cached.shape == video.shape
        assert np.abs(cached - video).sum() / 2 < 0.1, clip.path  # share of the movement that lies elsewhere
    assert (tmp_path / "cache/.keras_actrec/motion.sqlite").is_file()
    halved = prepare(manifest, source, tmp_path / "halved", short_side=96, frame_step=2, workers=1)
    assert motion.rates(halved, clips[0]).shape == (59,)


# Kept on disk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, frames in (("a/1.avi", 12), ("a/2.mp4", 9), ("b/3.avi", 20), ("b/4.avi", 2)):
        trees.video(tmp_path / "set" / name, frames)
    return tmp_path / "set"


CLIPS = [Clip(path, path[0], "train") for path in ("a/1.avi", "a/2.mp4", "b/3.avi", "b/4.avi")]


def store_of(root: Path) -> Path:
    return root / ".keras_actrec" / "motion.sqlite"


def refuse(*_: object) -> None:
    raise AssertionError("decoded again")


def restart() -> None:
    """Forget all that a new process does not know."""
    motion.forget()
    motion_store._stores.clear()


def test_a_second_run_decodes_nothing_and_gets_the_same_bits(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [motion.rates(VideoSource(root), clip) for clip in CLIPS]
    np.testing.assert_allclose(first[0], np.full(11, 1 / 11), atol=0.05)  # brighter by the same in each frame
    restart()
    monkeypatch.setattr(motion, "differences", refuse)
    for clip, rates in reversed(list(zip(CLIPS, first, strict=True))):
        assert motion.rates(VideoSource(root), clip).tobytes() == rates.tobytes()
    moved = root.rename(root.parent / "moved")
    assert motion.rates(VideoSource(moved), CLIPS[0]).tobytes() == first[0].tobytes()


def test_a_video_that_was_replaced_is_decoded_again(root: Path) -> None:
    source = VideoSource(root)
    assert motion.rates(source, CLIPS[0]).shape == (11,)
    trees.video(root / "a/1.avi", 7)
    assert motion.rates(source, CLIPS[0]).shape == (6,)
    os.utime(root / "a/1.avi", ns=(1, 1))
    assert motion.rates(source, CLIPS[0]).shape == (6,)
    assert len(sqlite3.connect(store_of(root)).execute("SELECT * FROM motion").fetchall()) == 1


def test_stretches_of_one_file_are_kept_apart(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Clip("b/3.avi", "b", "train", start_frame=n, end_frame=n + 5) for n in (0, 10)]
    parts += [Clip("b/3.avi", "b", "train", start_sec=0.5, end_sec=1.2), CLIPS[2]]
    first = [motion.rates(VideoSource(root), clip) for clip in parts]
    assert [len(rates) for rates in first] == [4, 4, 6, 19]
    restart()
    monkeypatch.setattr(motion, "differences", refuse)
    for clip, rates in zip(parts, first, strict=True):
        np.testing.assert_array_equal(motion.rates(VideoSource(root), clip), rates)


def test_readers_of_folders_do_not_see_the_file(root: Path) -> None:
    before = read_folder(root, test_fraction=0.0, validation_fraction=0.0)
    for clip in CLIPS:
        motion.rates(VideoSource(root), clip)
    assert store_of(root).is_file()
    assert read_folder(root, test_fraction=0.0, validation_fraction=0.0) == before
    assert len(before) == 4


def _harm(root: Path, way: str) -> None:
    store = store_of(root)
    if way == "no sqlite":
        store.write_bytes(b"this is no data base" * 500)
    elif way == "cut short":
        store.write_bytes(store.read_bytes()[:5000])
    elif way == "overwritten":
        data = bytearray(store.read_bytes())
        data[4096:] = os.urandom(len(data) - 4096)
        store.write_bytes(bytes(data))
    elif way == "a folder":
        store.unlink()
        store.mkdir()
    elif way == "another table":
        store.unlink()
        with sqlite3.connect(store) as connection:
            connection.execute("CREATE TABLE motion (something INTEGER)")
    elif way == "no folder can be made":
        shutil.rmtree(store.parent)
        store.parent.write_text("a file")


@pytest.mark.parametrize(
    "way", ["no sqlite", "cut short", "overwritten", "a folder", "another table", "no folder can be made"]
)
def test_a_file_that_is_of_no_use_costs_one_warning(root: Path, way: str) -> None:
    first = [motion.rates(VideoSource(root), clip) for clip in CLIPS]
    restart()
    _harm(root, way)
    with pytest.warns(UserWarning) as caught:
        again = [motion.rates(VideoSource(root), clip) for clip in CLIPS]
    for rates, expected in zip(again, first, strict=True):
        np.testing.assert_array_equal(rates, expected)
    (warning,) = caught
    assert "motion.sqlite cannot be" in str(warning.message) and "memory only" in str(warning.message)


def test_a_damaged_row_is_computed_again(root: Path) -> None:
    rates = motion.rates(VideoSource(root), CLIPS[0])
    for harm in ("changes = zeroblob(44)", "changes = substr(changes, 5)", "crc = 1", "changes = 'text'"):
        with sqlite3.connect(store_of(root)) as connection:
            connection.execute(f"UPDATE motion SET {harm}")
        restart()
        np.testing.assert_array_equal(motion.rates(VideoSource(root), CLIPS[0]), rates)
    state, count = sqlite3.connect(store_of(root)).execute("SELECT state, length(changes) FROM motion").fetchone()
    assert count == 44 and state.startswith(f"{motion_store.VERSION} ")
    with sqlite3.connect(store_of(root)) as connection:  # of another version: wrong by its meaning, not by its sum
        connection.execute("UPDATE motion SET state = '0' || state, changes = zeroblob(44), crc = ?", [_crc_of_zeros()])
    restart()
    np.testing.assert_array_equal(motion.rates(VideoSource(root), CLIPS[0]), rates)


def _crc_of_zeros() -> int:
    import zlib

    return zlib.crc32(bytes(44))


def test_a_file_that_cannot_be_written_is_still_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the lock for writing for good: known clips are read, others computed."""
    first = motion.rates(VideoSource(root), CLIPS[0])
    restart()
    monkeypatch.setattr(motion_store, "_TIMEOUT_SEC", 0.05)
    with sqlite3.connect(store_of(root), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(UserWarning, match="cannot be written") as caught:
            others = [motion.rates(VideoSource(root), clip) for clip in CLIPS[1:]]
            monkeypatch.setattr(motion, "differences", refuse)
            np.testing.assert_array_equal(motion.rates(VideoSource(root), CLIPS[0]), first)
        other.execute("ROLLBACK")
    assert len(caught) == 1 and [len(rates) for rates in others] == [8, 19, 1]


def test_many_threads(root: Path) -> None:
    expected = {clip.path: motion.rates(VideoSource(root), clip) for clip in CLIPS}
    shutil.rmtree(root / ".keras_actrec")
    restart()
    with concurrent.futures.ThreadPoolExecutor(8) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(pool.map(lambda clip: (clip.path, motion.rates(VideoSource(root), clip)), CLIPS * 8))
    assert all((rates == expected[path]).all() for path, rates in found)
    assert len(sqlite3.connect(store_of(root)).execute("SELECT * FROM motion").fetchall()) == len(CLIPS)


_WORK = textwrap.dedent(
    """
    import sys
    import numpy as np
    from keras_actrec.data import motion, motion_store
    print("ready", flush=True)
    store = motion_store.open_store(motion_store.file_in(__import__("pathlib").Path(sys.argv[1])))
    for number in range(int(sys.argv[2]), int(sys.argv[3])):
        store.put(motion_store.Place(None, str(number), "s"), np.full(50, number))
    """
)


def _worker(root: Path, first: int, last: int) -> subprocess.Popen:
    command = [sys.executable, "-W", "error", "-c", _WORK, str(root), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_processes_share_the_file_and_may_be_killed(tmp_path: Path) -> None:
    workers = [_worker(tmp_path, 0, 60), _worker(tmp_path, 60, 120), _worker(tmp_path, 1000, 10**6)]
    for worker in workers:
        assert worker.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    os.kill(workers[2].pid, signal.SIGKILL)
    assert [worker.wait(60) for worker in workers] == [0, 0, -signal.SIGKILL]
    store = motion_store.open_store(motion_store.file_in(tmp_path))
    for number in range(120):
        found = store.get(motion_store.Place(None, str(number), "s"))
        np.testing.assert_array_equal(found, np.full(50, number))
    (state,) = sqlite3.connect(store_of(tmp_path)).execute("PRAGMA integrity_check").fetchone()
    assert state == "ok"


def test_draws_are_the_same_in_any_process(root: Path) -> None:
    """Whether rates were computed, read from disk or remembered, in whatever order."""
    work = textwrap.dedent(
        """
        import sys
        from keras_actrec.data import assemble
        from keras_actrec.data.manifest import Clip
        from keras_actrec.data.source import VideoSource
        from keras_actrec.data.views import Augmentation, View
        view = View("tempo1", selection="variance_rate", frames=4, size=16, augmentation=Augmentation())
        for index in map(int, sys.argv[2].split(",")):
            clip = Clip(("a/1.avi", "a/2.mp4", "b/3.avi")[index], "a", "train")
            (frames,) = assemble.assemble(clip, [view], VideoSource(sys.argv[1]), assemble.Key(5, 2, index))
            print(index, [round((float(frame.mean()) - 20) / 8) for frame in frames])
        """
    )
    outputs = []
    for order in ("0,1,2", "2,0,1"):
        run = subprocess.run([sys.executable, "-c", work, str(root), order], capture_output=True, text=True, check=True)
        outputs.append(sorted(run.stdout.splitlines()))
    assert outputs[0] == outputs[1] and len(outputs[0]) == 3


def test_a_clip_that_cannot_be_read_says_why(root: Path) -> None:
    with pytest.raises(UnreadableVideoError, match="missing file"):
        motion.rates(VideoSource(root), Clip("a/none.avi", "a", "train"))
    assert not store_of(root).exists()


def test_a_prepared_cache_without_a_folder_is_remembered_only(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at an s3:// address: the place names no file."""
    prepare(Manifest.from_clips("m", root, 1, CLIPS), VideoSource(root), tmp_path / "cache", short_side=24)
    far = PreparedSource(tmp_path / "cache")
    monkeypatch.setattr(far, "_folder", _Far(far._folder))
    assert motion.rates(far, CLIPS[0]).shape == (11,)
    assert not (tmp_path / "cache/.keras_actrec").exists()
    monkeypatch.setattr(motion, "differences", refuse)
    assert motion.rates(far, CLIPS[0]).shape == (11,)


class _Far:
    """A folder that is not local, over one that is."""

    def __init__(self, folder: object) -> None:
        self.address, self.read_range = "s3://videos/tiny", folder.read_range
