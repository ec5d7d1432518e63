"""The prepared cache: what goes in comes out, whoever kills it, and nothing is mixed up."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.prepared import PreparedSource, prepare
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UnreadableVideoError, UserError


class FakeSource:
    """Smooth pictures that differ from clip to clip and from frame to frame; `bad` ones cannot be read."""

    def __init__(self, frames: int = 20, height: int = 48, width: int = 64, delay_sec: float = 0.0) -> None:
        self.info = VideoInfo(frames, 25.0, width, height, 0)
        self.delay_sec = delay_sec
        self.reads: list[str] = []
        self.threads: set[int] = set()

    def probe(self, clip: Clip) -> VideoInfo:
        if "empty" in clip.path:
            raise UnreadableVideoError(clip.path, "empty file")
        return self.info

    def read(self, clip: Clip, indices: object, size: object = None, modality: str = "rgb") -> np.ndarray:
        self.reads.append(clip.path)
        self.threads.add(threading.get_ident())
        time.sleep(self.delay_sec)
        if "cut" in clip.path:
            raise UnreadableVideoError(clip.path, "truncated: 3 of 20 frames can be decoded")
        rows, columns = np.mgrid[0 : self.info.height, 0 : self.info.width]
        phase = sum(clip.path.encode()) + (clip.start_sec or 0) * 3
        frames = []
        for index in indices:
            parts = [
                np.sin(columns / 15 + phase),
                np.cos(rows / 12 + index / 4),
                np.sin((rows + columns) / 20 + index / 9),
            ]
            frames.append(np.stack(parts, axis=-1) * 90 + 128)
        result = np.stack(frames).astype(np.uint8)
        result = result[..., :1] if modality == "depth" else result
        if size is None or size == self.info.height:
            return result
        wide = round(self.info.width * size / self.info.height)
        return np.stack(
            [cv2.resize(f, (wide, size), interpolation=cv2.INTER_AREA).reshape(size, wide, -1) for f in result]
        )


def manifest(names: list[str], root: Path | str = "nowhere", **fields: object) -> Manifest:
    splits = ("train", "validation", "test")
    clips = [Clip(f"{name}.avi", "jump", splits[n % 3], **fields) for n, name in enumerate(names)]
    return Manifest.from_clips("tiny", root, 1, clips)


def names(count: int) -> list[str]:
    return [f"clip{n:02d}" for n in range(count)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture
def cache(tmp_path: Path) -> PreparedSource:
    return prepare(manifest(names(5)), FakeSource(), tmp_path / "cache", short_side=48, quality=95, clips_per_shard=2)


def test_frames_come_back(cache: PreparedSource) -> None:
    source = FakeSource()
    for clip in manifest(names(5)).clips:
        assert cache.probe(clip) == source.info
        wanted = [7, 0, 19, 7, 3]
        frames = cache.read(clip, wanted)
        assert frames.shape == (5, 48, 64, 3) and frames.dtype == np.uint8
        error = np.abs(frames.astype(int) - source.read(clip, wanted))
        assert error.mean() < 2 and error.max() < 20
        assert (frames[0] == frames[3]).all()


def test_sizes(cache: PreparedSource) -> None:
    clip = manifest(names(5)).clips[2]
    whole = cache.read(clip, [4])[0]
    assert cache.read(clip, [4, 5], 24).shape == (2, 24, 32, 3)
    assert cache.read(clip, [4, 5], (10, 30)).shape == (2, 10, 30, 3)
    assert cache.read(clip, [4], 96).shape == (1, 96, 128, 3)
    for height in (30, 24, 20, 12, 9, 6, 5):
        width = round(64 * height / 48)
        shrunk = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        assert np.abs(cache.read(clip, [4], height)[0].astype(int) - shrunk).mean() < 4, height


def test_videos_are_not_enlarged_but_shrunk(tmp_path: Path) -> None:
    large = prepare(manifest(names(1)), FakeSource(), tmp_path / "large", short_side=500)
    small = prepare(manifest(names(1)), FakeSource(), tmp_path / "small", short_side=24)
    clip = manifest(names(1)).clips[0]
    assert (large.probe(clip).height, large.probe(clip).width) == (48, 64)
    assert (small.probe(clip).height, small.probe(clip).width) == (24, 32)
    assert small.read(clip, [0]).shape == (1, 24, 32, 3) and small.short_side == 24


def test_frame_step_thins_out(tmp_path: Path) -> None:
    thin = prepare(manifest(names(1)), FakeSource(), tmp_path / "c", short_side=48, frame_step=3, quality=95)
    clip = manifest(names(1)).clips[0]
    assert thin.probe(clip).frames == 7 and thin.probe(clip).fps == pytest.approx(25 / 3)
    assert np.abs(thin.read(clip, [2]).astype(int) - FakeSource().read(clip, [6])).mean() < 2


def test_long_clips_are_read_in_stretches(tmp_path: Path) -> None:
    source = FakeSource(frames=300, height=16, width=16)
    cached = prepare(manifest(names(1)), source, tmp_path / "c", short_side=16, quality=95)
    assert len(source.reads) == 3
    clip = manifest(names(1)).clips[0]
    assert np.abs(cached.read(clip, [299, 128]).astype(int) - source.read(clip, [299, 128])).mean() < 3


def test_depth_comes_with_it(tmp_path: Path) -> None:
    data = manifest(names(2), depth="depth/x.avi")
    cached = prepare(data, FakeSource(), tmp_path / "c", short_side=48, quality=95)
    depth = cached.read(data.clips[0], [3, 1], 24, "depth")
    assert depth.shape == (2, 24, 32, 1)
    assert (
        np.abs(
            cached.read(data.clips[0], [3, 1], None, "depth").astype(int)
            - FakeSource().read(data.clips[0], [3, 1], None, "depth")
        ).mean()
        < 2
    )


def test_depth_that_is_not_there_is_said(cache: PreparedSource) -> None:
    with pytest.raises(UnreadableVideoError, match="no depth video"):
        cache.read(manifest(names(5)).clips[0], [0], None, "depth")


def test_stretches_of_one_file_are_clips_of_their_own(tmp_path: Path) -> None:
    clips = [Clip("a.avi", "jump", "train", start_sec=start, end_sec=start + 1) for start in (0.0, 1.0)]
    cached = prepare(Manifest.from_clips("t", "no", 1, clips), FakeSource(), tmp_path / "c", short_side=48)
    assert len(cached) == 2
    assert np.abs(cached.read(clips[0], [0]).astype(int) - cached.read(clips[1], [0])).mean() > 10


def test_tensorflow_reads_the_shards(cache: PreparedSource) -> None:
    tf = pytest.importorskip("tensorflow")
    shards = sorted(str(path) for path in Path(cache.address).glob("*.tfrecord"))
    assert len(shards) == 3
    layout = {
        "path": tf.io.FixedLenFeature([], tf.string),
        "fps": tf.io.FixedLenFeature([], tf.float32),
        "span_sec": tf.io.FixedLenFeature([2], tf.float32),
        "frames/table": tf.io.FixedLenFeature([], tf.string),
        "frames": tf.io.RaggedFeature(tf.string),
    }
    clips = manifest(names(5)).clips
    examples = [tf.io.parse_single_example(record, layout) for record in tf.data.TFRecordDataset(shards)]
    assert [example["path"].numpy().decode() for example in examples] == [clip.path for clip in clips]
    for clip, example in zip(clips, examples, strict=True):
        assert example["fps"] == 25 and example["span_sec"].numpy().tolist() == [-1, -1]
        jpeg = example["frames"][11].numpy()
        table = np.frombuffer(example["frames/table"].numpy(), "<u4").reshape(20, 2)
        assert table[11].tolist() == [len(jpeg), zlib.crc32(jpeg)]
        assert np.abs(tf.io.decode_jpeg(jpeg).numpy().astype(int) - cache.read(clip, [11])[0]).mean() < 2


def test_bad_videos_are_remembered_with_their_reasons(tmp_path: Path) -> None:
    data = manifest(["a", "cut", "b", "empty", "c"])
    first, second = Quarantine(), Quarantine()
    cached = prepare(data, FakeSource(), tmp_path / "c", short_side=48, quarantine=first, clips_per_shard=2)
    assert len(cached) == 3
    assert first.reasons() == {"cut.avi": "truncated: 3 of 20 frames can be decoded", "empty.avi": "empty file"}
    untouched = FakeSource()
    prepare(data, untouched, tmp_path / "c", short_side=48, quarantine=second)
    assert second.entries == first.entries and not untouched.reads
    bad = next(clip for clip in data.clips if clip.path == "cut.avi")
    for use in (cached.probe, lambda clip: cached.read(clip, [0])):
        with pytest.raises(UnreadableVideoError) as caught:
            use(bad)
        assert caught.value.reason == "truncated: 3 of 20 frames can be decoded"


def test_all_bad_is_still_a_cache(tmp_path: Path) -> None:
    cached = prepare(manifest(["empty1", "empty2"]), FakeSource(), tmp_path / "c", short_side=48)
    assert len(cached) == 0
    cached.verify()


def test_other_errors_are_not_swallowed(tmp_path: Path) -> None:
    class Broken(FakeSource):
        def read(self, clip: Clip, *rest: object) -> np.ndarray:
            raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        prepare(manifest(names(3)), Broken(), tmp_path / "c", short_side=48)
    assert not (tmp_path / "c" / "index.json").exists()
    assert len(prepare(manifest(names(3)), FakeSource(), tmp_path / "c", short_side=48)) == 3


def test_workers_change_nothing(tmp_path: Path) -> None:
    data = manifest(names(7))
    one, four = FakeSource(delay_sec=0.01), FakeSource(delay_sec=0.01)
    prepare(data, one, tmp_path / "one", short_side=32, workers=1, clips_per_shard=3)
    prepare(data, four, tmp_path / "four", short_side=32, workers=4, clips_per_shard=3)
    assert len(one.threads) == 1 and len(four.threads) > 1
    assert contents(tmp_path / "one") == contents(tmp_path / "four")


def test_progress_counts_every_clip_once(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    prepare(
        manifest(names(5)),
        FakeSource(),
        tmp_path / "c",
        short_side=32,
        clips_per_shard=2,
        progress=lambda *n: seen.append(n),
    )
    assert seen == [(n, 5) for n in range(1, 6)]


@pytest.mark.parametrize("kind", ["short_side", "quality", "frame_step"])
def test_other_settings_are_refused_by_name(cache: PreparedSource, kind: str) -> None:
    settings = {"short_side": 48, "quality": 95, "frame_step": 1}
    settings[kind] += 1
    with pytest.raises(UserError, match=f"was made with {kind} = {settings[kind] - 1}, {settings[kind]} is asked for"):
        prepare(manifest(names(5)), FakeSource(), cache.address, clips_per_shard=2, **settings)


def test_more_clips_are_refused_and_fewer_or_other_splits_are_welcome(cache: PreparedSource) -> None:
    with pytest.raises(UserError, match=r"lacks 1 of 6 clips, such as clip05\.avi"):
        prepare(manifest(names(6)), FakeSource(), cache.address, short_side=48, quality=95)
    relabelled = [dataclasses.replace(clip, split="test", label="other") for clip in manifest(names(4)).clips]
    source = FakeSource()
    other = Manifest.from_clips("tiny", "nowhere", 2, relabelled)
    assert len(prepare(other, source, cache.address, short_side=48, quality=95)) == 5
    assert not source.reads
    cache.check(other, 48)
    with pytest.raises(UserError, match="short_side = 48, 50"):
        cache.check(other, 50)


def test_an_unfinished_cache_of_other_clips_is_refused(tmp_path: Path) -> None:
    prepare(manifest(names(5)), FakeSource(), tmp_path / "c", short_side=48)
    (tmp_path / "c" / "index.json").unlink()
    with pytest.raises(UserError, match="made from other clips"):
        prepare(manifest(names(4)), FakeSource(), tmp_path / "c", short_side=48)


def test_a_replaced_video_is_noticed(tmp_path: Path) -> None:
    for name in names(3):
        (tmp_path / f"{name}.avi").write_bytes(b"12345")
    data = manifest(names(3), tmp_path)
    cached = prepare(data, FakeSource(), tmp_path / "c", short_side=48)
    (tmp_path / "clip01.avi").write_bytes(b"123456")
    with pytest.raises(UserError, match=r"before clip01\.avi was replaced"):
        prepare(data, FakeSource(), tmp_path / "c", short_side=48)
    (tmp_path / "clip01.avi").unlink()
    cached.check(data)


def test_what_is_not_in_the_cache_is_said(cache: PreparedSource) -> None:
    with pytest.raises(UserError, match=r"new\.avi is not in the prepared cache"):
        cache.probe(Clip("new.avi", "jump", "train"))
    with pytest.raises(IndexError, match=r"\[20\] were asked for, there are 20"):
        cache.read(manifest(names(5)).clips[0], [20])
    with pytest.raises(IndexError):
        cache.read(manifest(names(5)).clips[0], [-1])


def test_no_cache_and_half_a_cache_are_said(cache: PreparedSource, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no prepared cache .*keras_actrec prepare"):
        PreparedSource(tmp_path / "nothing")
    (Path(cache.address) / "index.json").unlink()
    with pytest.raises(UserError, match="unfinished"):
        PreparedSource(cache.address)


@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_a_lost_shard_is_named_and_made_again(cache: PreparedSource, harm: str) -> None:
    folder = Path(cache.address)
    before = contents(folder)
    shard = folder / "clips-00001.tfrecord"
    shard.unlink() if harm == "missing" else shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"clips-00001\.tfrecord is missing or cut short"):
        PreparedSource(folder)
    source = FakeSource()
    prepare(manifest(names(5)), source, folder, short_side=48, quality=95, clips_per_shard=2)
    assert set(source.reads) == {"clip02.avi", "clip03.avi"}
    assert contents(folder) == before


def test_flipped_bits_are_noticed(cache: PreparedSource) -> None:
    cache.verify()
    shard = Path(cache.address) / "clips-00000.tfrecord"
    data = bytearray(shard.read_bytes())
    clip = manifest(names(5)).clips[0]
    noticed = 0
    for place in range(20, len(data) // 3, 997):
        data[place] ^= 16
        shard.write_bytes(bytes(data))
        harmed = PreparedSource(cache.address)
        with pytest.raises(UserError, match=r"damaged: clips-00000\.tfrecord"):
            harmed.verify()
        try:
            frames = harmed.read(clip, np.arange(20))
            assert (frames == cache.read(clip, np.arange(20))).all()
        except UnreadableVideoError as error:
            assert "damaged record" in error.reason
            noticed += 1
        data[place] ^= 16
    assert noticed > 5


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "c"
    source = FakeSource(delay_sec=0.3)
    first = threading.Thread(target=prepare, args=(manifest(names(4)), source, target), kwargs={"short_side": 32})
    first.start()
    while not source.reads:
        time.sleep(0.01)
    with pytest.raises(UserError, match="being prepared by another process"):
        prepare(manifest(names(4)), FakeSource(), target, short_side=32)
    first.join()
    assert len(PreparedSource(target)) == 4


def test_many_threads_read_the_same(cache: PreparedSource) -> None:
    import concurrent.futures

    clips = manifest(names(5)).clips
    alone = [cache.read(clip, [2, 9], 30).tobytes() for clip in clips]
    fresh = PreparedSource(cache.address)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: fresh.read(clips[n % 5], [2, 9], 30).tobytes(), range(60)))
    assert together == alone * 12


@pytest.mark.parametrize("bad", ["gs://bucket/x", "http://host/x", "s3://"])
def test_other_addresses_are_refused(bad: str) -> None:
    with pytest.raises(UserError, match="s3://"):
        PreparedSource(bad)


@pytest.mark.parametrize("settings", [{"quality": 0}, {"quality": 101}, {"short_side": 0}, {"frame_step": 0}])
def test_settings_out_of_range(tmp_path: Path, settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match="expected a JPEG quality"):
        prepare(manifest(names(1)), FakeSource(), tmp_path / "c", **{"short_side": 48, **settings})


def _start(script: Path, target: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, str(script), str(target)], env=environment)


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """kill -9 in the middle of the first shard, of the third one, then to the end."""
    script = tmp_path / "work.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import importlib.util, sys
            spec = importlib.util.spec_from_file_location("fakes", {__file__!r})
            fakes = importlib.util.module_from_spec(spec); spec.loader.exec_module(fakes)
            fakes.prepare(fakes.manifest(fakes.names(12) + ["cut"]), fakes.FakeSource(delay_sec=0.08), sys.argv[1],
                          short_side=32, workers=2, clips_per_shard=3)
            """
        )
    )
    target = tmp_path / "killed"
    for there in (lambda: (target / "receipt.json").exists(), lambda: (target / "clips-00001.json").exists()):
        process = _start(script, target)
        _wait_for(there, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (target / "index.json").exists()
    kept = (target / "clips-00000.tfrecord").stat().st_mtime_ns
    assert _start(script, target).wait(timeout=60) == 0
    assert (target / "clips-00000.tfrecord").stat().st_mtime_ns == kept
    prepare(manifest([*names(12), "cut"]), FakeSource(), tmp_path / "whole", short_side=32, clips_per_shard=3)
    assert contents(target) == contents(tmp_path / "whole")
    assert not (target / ".writing").exists()


def test_index_holds_no_path_of_this_machine(cache: PreparedSource, tmp_path: Path) -> None:
    for path in Path(cache.address).glob("*.json"):
        assert str(tmp_path) not in path.read_text()
    moved = tmp_path / "elsewhere"
    shutil.copytree(cache.address, moved)
    clip = manifest(names(5)).clips[1]
    assert (PreparedSource(moved).read(clip, [3]) == cache.read(clip, [3])).all()
    assert set(json.loads((moved / "index.json").read_text())) == {"shards", "clips", "unreadable"}
