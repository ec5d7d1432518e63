"""Frames through guarded workers are those of the plain source; what asks for too much is refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from damage import h264_bomb, jpeg_bomb
from scenes import FPS, Film, film

from keras_actrec.data.guarded import Limits, Pool
from keras_actrec.data.guarded.source import GuardedSource
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UnreadableVideoError

LIMITS = Limits(seconds=30, memory_bytes=300_000_000, width=4096, height=4096)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guarded")
    film(folder / "good.mp4", 1)
    film(folder / "good.webm", 2, Film("libvpx-vp9", frames=20))
    boxes = {"height": 96, "width": 128, "boxes": [[0, 0, 64, 48]] * 60}
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return folder


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1, LIMITS) as made:
        yield made


def clip(path: str, **more: object) -> Clip:
    return Clip(path, "any", "test", **more)


def reason(source: GuardedSource, path: str) -> str:
    with pytest.raises(UnreadableVideoError) as error:
        source.probe(clip(path))
    return error.value.reason


@pytest.mark.parametrize("size", [None, 32, (20, 30), np.int64(16)])
def test_frames_are_those_of_the_plain_source(root: Path, pool: Pool, size: object) -> None:
    ours, plain = GuardedSource(root, pool), VideoSource(root)
    for wanted in (clip("good.mp4"), clip("good.webm"), clip("good.mp4", start_sec=1.0, end_sec=2.5)):
        assert ours.probe(wanted) == plain.probe(wanted)
        np.testing.assert_array_equal(ours.read(wanted, [3, 0, 3], size), plain.read(wanted, [3, 0, 3], size))


def test_boxes_and_wrong_numbers_pass_through(root: Path, pool: Pool) -> None:
    ours = GuardedSource(root, pool)
    wanted = clip("good.mp4", boxes="boxes.json")
    np.testing.assert_array_equal(ours.boxes(wanted), VideoSource(root).boxes(wanted))
    with pytest.raises(IndexError, match="has 60 frames, frame 60 was asked for"):
        ours.read(wanted, [60])
    assert reason(ours, "no.mp4") == "missing file"


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, pool: Pool) -> None:
    source = GuardedSource(tmp_path, pool)
    (tmp_path / "bomb.avi").write_bytes(jpeg_bomb(tmp_path, 16_000))
    (tmp_path / "bomb.ts").write_bytes(h264_bomb(tmp_path, 1000))
    assert (tmp_path / "bomb.ts").stat().st_size < 10_000
    for name in ("bomb.avi", "bomb.ts"):
        assert reason(source, name) == "frames of 16000x16000 pixels, at most 4096x4096"


def test_no_decoder_takes_more_than_a_large_frame_where_any_size_is_allowed(tmp_path: Path, pool: Pool) -> None:
    (tmp_path / "bomb.avi").write_bytes(jpeg_bomb(tmp_path, 30_000))
    any_size = Limits(seconds=30, memory_bytes=300_000_000, width=1 << 20, height=1 << 20)
    assert reason(GuardedSource(tmp_path, pool, any_size), "bomb.avi").startswith("corrupt")


def test_a_real_large_frame_may_not_take_more_memory(tmp_path: Path, pool: Pool) -> None:
    with av.open(str(tmp_path / "large.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 4000, 4000, "yuv420p"
        stream.options = {"preset": "ultrafast", "threads": "1"}
        container.mux(stream.encode(av.VideoFrame(4000, 4000, "yuv420p")))
        container.mux(stream.encode(None))
    small = GuardedSource(tmp_path, pool, Limits(seconds=30, memory_bytes=20_000_000))
    assert reason(small, "large.mp4") == "wanted more than 20 MB of memory"
    with pytest.raises(UnreadableVideoError, match="wanted more than 60 MB of memory"):
        GuardedSource(tmp_path, pool, Limits(memory_bytes=60_000_000)).read(clip("large.mp4"), [0] * 4)
    assert GuardedSource(tmp_path, pool).read(clip("large.mp4"), [0], 32).shape == (1, 32, 32, 3)


def test_length_and_number_of_frames_are_limited(root: Path, pool: Pool) -> None:
    assert reason(GuardedSource(root, pool, Limits(duration_sec=2)), "good.mp4") == "lasts 3 s, at most 2 s"
    assert reason(GuardedSource(root, pool, Limits(frames=59)), "good.mp4") == "has 60 frames, at most 59"
    assert GuardedSource(root, pool, Limits(frames=60, duration_sec=60 / FPS)).probe(clip("good.mp4")).frames == 60
