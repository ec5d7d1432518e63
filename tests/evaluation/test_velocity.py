from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers

from keras_actrec.data import assemble, boxes, decode, motion, motion_store
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.data.views import Tailor, View
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.evaluation import velocity
from keras_actrec.evaluation.velocity import PARTS, Service, measure, summarize

FRAMES, SIZE = 12, 16
TEMPOS = tuple(
    View(name=f"tempo{i}", frames=frames, size=SIZE, selection="variance_rate", tailor=Tailor(), clips=2)
    for i, frames in enumerate((3, 5), start=1)
)
PLAIN = (View(frames=4, size=SIZE),)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """A probe takes 1 s, a read 10 s and 1 s per frame; boxes take 100 s. It counts what it is asked."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.reads = clock, []
        self.probes = self.boxes_read = 0

    def probe(self, clip: Clip) -> VideoInfo:
        if "missing" in clip.path:
            raise UnreadableVideoError(clip.path, "missing file")
        self.clock.now += 1
        self.probes += 1
        return VideoInfo(FRAMES, 25.0, 40, 30, 0)

    def read(self, clip: Clip, indices: Sequence[int], size: object = None, modality: str = "rgb") -> np.ndarray:
        if "cut" in clip.path:
            raise UnreadableVideoError(clip.path, "truncated")
        self.clock.now += 10 + len(indices)
        self.reads.append((clip.path, len(indices)))
        height, width = decode.target_size(30, 40, size)
        frames = np.zeros((len(indices), height, width, 3), np.uint8)
        frames[:] = (np.asarray(indices) * 17 % 256)[:, None, None, None]
        return frames

    def boxes(self, clip: Clip) -> np.ndarray:
        self.clock.now += 100
        self.boxes_read += 1
        return np.tile([0.2, 0.2, 0.8, 0.8], (FRAMES, 1))


class Network:
    """Takes a thousand seconds for each video and view; sure of class 1 on average."""

    compiled = True

    def __init__(self, clock: Clock, views: Sequence[View]) -> None:
        self.clock, self.seen = clock, []
        self.inputs = [keras.KerasTensor((None, view.frames, SIZE, SIZE, 3), name=view.name) for view in views]

    def predict_on_batch(self, inputs: object) -> np.ndarray:
        self.seen.append(inputs)
        rows = len(inputs if isinstance(inputs, np.ndarray) else inputs["tempo1"])
        self.clock.now += 1000 * rows
        return np.tile(np.log([0.25, 0.75]), (rows, 1))


def test_the_parts_are_timed_apart() -> None:
    """Sampling takes one probe, and reads all 12 frames: 1 + 10 + 12. Then both views' frames are read at once.

    Boxes are part of cutting.
    """
    clock = Clock()
    source, network = Source(clock), Network(clock, TEMPOS)
    answer = Service(network, TEMPOS, source, clock).answer([Clip("a.mp4", None, "test", boxes="a.json")])
    sampled, read = source.reads
    assert sampled == ("a.mp4", FRAMES)
    assert source.boxes_read
    assert answer.seconds == {
        "sampling": 1 + 10 + FRAMES,
        "decoding": source.probes - 1 + 10 + read[1],
        "cutting": 100 * source.boxes_read,
        "network": 2 * 1000,
    }
    assert answer.total_sec == clock.now
    np.testing.assert_allclose(answer.probabilities, [[0.25, 0.75]])


def test_no_sampling_for_views_that_do_not_ask() -> None:
    clock = Clock()
    source = Source(clock)
    answer = Service(Network(clock, PLAIN), PLAIN, source, clock).answer([Clip("a.mp4", None, "test")])
    assert answer.seconds == {"sampling": 0.0, "decoding": 1 + 10 + 4, "cutting": 0.0, "network": 1000.0}


def test_nothing_is_known_from_before() -> None:
    """Each time a video comes its movement is computed and its frames are read again."""
    clock = Clock()
    source = Source(clock)
    service = Service(Network(clock, TEMPOS), TEMPOS, source, clock)
    first, second = (service.answer([Clip("a.mp4", None, "test")]).seconds for _ in range(2))
    assert first == second
    assert [frames for _, frames in source.reads].count(FRAMES) == 2


def test_what_the_network_sees_is_what_evaluation_shows(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f"{number:03d}.png"), rng.integers(0, 256, (30, 40, 3), np.uint8))
    boxes.write(tmp_path / "v.json", np.tile([10, 5, 30, 25], (FRAMES, 1)), 30, 40)
    clip, source = Clip("v", None, "test", boxes="v.json"), VideoSource(tmp_path)
    network = Network(Clock(), TEMPOS)
    Service(network, TEMPOS, source).answer([clip])
    expected = assemble.assemble_evaluation(clip, TEMPOS, source, assemble.Key(0, 0, 0))
    for view, array in zip(TEMPOS, expected, strict=True):
        assert network.seen[0][view.name].shape == (2, view.frames, SIZE, SIZE, 3)
        np.testing.assert_allclose(network.seen[0][view.name], array / np.float32(255), atol=1e-6)


def test_the_store_on_disk_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real source keeps movement on disk; here it is computed all the same, and nothing is left there."""
    folder = tmp_path / "v"
    folder.mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((30, 40, 3), 20 * number, np.uint8))
    clip, source = Clip("v", None, "test"), VideoSource(tmp_path)
    service = Service(Network(Clock(), TEMPOS), TEMPOS, source)
    service.answer([clip])
    assert not motion_store.file_in(tmp_path).exists()
    motion.forget()
    motion.rates(source, clip)
    assert motion_store.file_in(tmp_path).exists()
    computed, differences = [], motion.differences
    monkeypatch.setattr(
        motion, "differences", lambda source, clip: computed.append(clip.path) or differences(source, clip)
    )
    service.answer([clip])
    assert computed == ["v"]


def test_indices_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, forgotten = Clock(), []
    monkeypatch.setattr(decode, "forget_indices", lambda: forgotten.append(clock.now))
    service = Service(Network(clock, PLAIN), PLAIN, Source(clock), clock)
    service.answer([Clip("a.mp4", None, "test"), Clip("b.mp4", None, "test")])
    assert forgotten == [0.0, 15.0]  # before each of them


def test_medians_and_shares() -> None:
    rows = [dict(zip(PARTS, numbers, strict=True)) for numbers in ((1, 2, 3, 4), (3, 2, 1, 14), (2, 2, 2, 4))]
    found = summarize(rows, batch_size=2, unreadable=1)
    assert (found.median_sec, found.fastest_sec, found.slowest_sec) == (10, 10, 20)
    assert found.videos_per_sec == pytest.approx(0.2)
    assert found.parts_sec == {"sampling": 2, "decoding": 2, "cutting": 2, "network": 4}
    assert found.shares == pytest.approx(
        {"sampling": 6 / 40, "decoding": 6 / 40, "cutting": 6 / 40, "network": 22 / 40}
    )
    assert (found.videos, found.unreadable) == (6, 1)
    assert found.to_json()["parts_sec"]["network"] == 4


def test_warm_up_is_not_counted_and_batches_are_whole() -> None:
    clock = Clock()
    network = Network(clock, PLAIN)
    clips = [Clip(f"{number}.mp4", None, "test") for number in range(5)]
    found = measure(network, PLAIN, Source(clock), clips, batch_size=2, warm_up=3, limit_sec=1e9, clock=clock)
    assert [len(batch) for batch in network.seen] == [2] * 5
    assert (found.videos, found.batch_size) == (4, 2)
    assert found.videos_per_sec == pytest.approx(2 / (2 * (1 + 10 + 4) + 2000))


def test_a_slow_network_is_not_timed_for_ever() -> None:
    clock = Clock()
    clips = [Clip(f"{number}.mp4", None, "test") for number in range(9)]
    found = measure(Network(clock, PLAIN), PLAIN, Source(clock), clips, limit_sec=2500, clock=clock)
    assert found.videos == 3


def test_videos_that_cannot_be_read_are_left_out_and_counted() -> None:
    clock = Clock()
    clips = [Clip(f"{name}.mp4", None, "test") for name in ("missing", "a", "cut", "b")]
    found = measure(Network(clock, PLAIN), PLAIN, Source(clock), clips, limit_sec=1e9, clock=clock)
    assert (found.videos, found.unreadable) == (2, 2)
    with pytest.raises(UserError, match="2 were given and 2 of them cannot"):
        measure(Network(clock, PLAIN), PLAIN, Source(clock), [clips[0], clips[2]], clock=clock)
    with pytest.raises(UserError, match="expected at least 3 videos"):
        measure(Network(clock, PLAIN), PLAIN, Source(clock), clips[1::2], batch_size=3, clock=clock)


def test_several_heads(tmp_path: Path) -> None:
    clock = Clock()

    class Heads(Network):
        def predict_on_batch(self, inputs: object) -> dict[str, np.ndarray]:
            return {"verb": np.zeros((len(inputs), 2)), "noun": np.zeros((len(inputs), 4))}

    answer = Service(Heads(clock, PLAIN), PLAIN, Source(clock), clock).answer([Clip("a.mp4", None, "test")])
    assert {name: part.tolist() for name, part in answer.probabilities.items()} == {
        "verb": [[0.5, 0.5]],
        "noun": [[0.25] * 4],
    }


def test_a_real_network_on_real_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(FRAMES):
            picture = np.full((30, 40, 3), 255 if name == "a" else 0, np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{number:03d}.png"), picture)
    clip = keras.Input((4, SIZE, SIZE, 3), name="rgb")
    bright = layers.GlobalAveragePooling3D()(clip)
    logits = layers.Dense(2, kernel_initializer="ones", name="logits")(bright[:, :1])
    network = keras.Model(clip, layers.Lambda(lambda x: x * np.array([1.0, 0.0], np.float32))(logits))
    clips = [Clip(name, None, "test") for name in "ab"]
    service = Service(network, PLAIN, VideoSource(tmp_path))
    white = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(service.answer(clips).probabilities, [[white, 1 - white], [0.5, 0.5]], atol=1e-5)
    found = velocity.measure(network, PLAIN, VideoSource(tmp_path), clips)
    assert found.videos == 2
    assert min(found.parts_sec[part] for part in ("decoding", "network")) > 0
    assert found.median_sec == pytest.approx(sum(found.parts_sec.values()), rel=0.5)
