from pathlib import Path

import made
import numpy as np
import pytest

from keras_actrec.data import assemble, decode
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.data.views import View
from keras_actrec.errors import UnreadableVideoError
from keras_actrec.serving import reading
from keras_actrec.serving.reading import Wish, open_video
from keras_actrec.serving.windows import Sliding

CUT = Sliding(2.0, 0.5, 4.0)
WISHES = (
    Wish((View(frames=4, size=32),)),
    Wish((View(frames=3, size=24, selection="dense", stride=4),), seed=5),
    Wish(tuple(View(name=f"tempo{n}", frames=n + 2, size=32, selection="variance_rate") for n in (1, 2))),
    Wish((View(frames=4, size=40, fit="pad", order="shuffled"),), seed=7),
)


def alone(video: Path, wish: Wish, first: int | None, stop: int | None, clips: int = 1) -> dict[str, np.ndarray]:
    clip = Clip(video.name, None, "test", start_frame=first, end_frame=stop)
    views = wish.of_window().views if clips == 1 else wish.views
    rows = assemble.assemble_evaluation(clip, views, VideoSource(video.parent), assemble.Key(wish.seed, 0, 0))
    return {view.name: row for view, row in zip(views, rows, strict=True)}


@pytest.mark.parametrize("wish", WISHES, ids=["uniform", "dense", "tempos", "shuffled"])
def test_windows_that_are_read_together_are_those_that_are_read_alone(long_video: Path, wish: Wish) -> None:
    opened = open_video(long_video, CUT)
    assert len(opened.windows) == 17
    assert list(opened.starts([wish])) == [0, 16]
    part = opened.part([wish], 0)
    assert part.windows == opened.windows[:16]
    for row in (0, 7, 15):
        window = part.windows[row]
        for name, expected in alone(long_video, wish, window.first, window.stop).items():
            np.testing.assert_array_equal(part.frames[0][name][row], expected)


def test_frames_of_many_windows_are_decoded_once(long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = decode.read_frames
    monkeypatch.setattr(
        decode,
        "read_frames",
        lambda path, indices, *a, **k: read.append(len(indices)) or original(path, indices, *a, **k),
    )
    opened = open_video(long_video, CUT)
    opened.part([WISHES[0]], 0)
    assert len(read) == 1
    assert read[0] <= 16 * 4


def test_a_video_of_one_window_is_read_as_evaluation_reads_it(short_video: Path) -> None:
    wish = Wish((View(frames=4, size=32, clips=3),))
    part = open_video(short_video, CUT).part([wish], 0)
    assert part.frames[0]["rgb"].shape == (1, 3, 4, 32, 32, 3)
    np.testing.assert_array_equal(part.frames[0]["rgb"][0], alone(short_video, wish, None, None, clips=3)["rgb"])


def test_equal_wishes_share_their_frames(long_video: Path) -> None:
    part = open_video(long_video, CUT).part([WISHES[0], WISHES[1], WISHES[0]], 0)
    assert part.frames[0] is part.frames[2]
    assert part.frames[0] is not part.frames[1]


def test_memory_bounds_the_parts(long_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HELD_BYTES", 3 * WISHES[0].clip_bytes)
    opened = open_video(long_video, CUT)
    assert list(opened.starts([WISHES[0]])) == [0, 3, 6, 9, 12, 15]
    assert [len(opened.part([WISHES[0]], start).windows) for start in opened.starts([WISHES[0]])] == [3] * 5 + [2]


def test_damage_costs_the_windows_that_it_is_in(tmp_path: Path) -> None:
    whole = made.video(tmp_path / "whole.mp4", 200, g="20", bf="0")
    broken = made.damaged(tmp_path / "broken.mp4", whole, share=0.5, width=400)
    parts = [open_video(broken, CUT).part([WISHES[1]], start) for start in (0, 16)]
    lost = [entry for part in parts for entry in part.lost]
    kept = [window for part in parts for window in part.windows]
    assert 1 <= len(lost) <= 12
    assert len(lost) + len(kept) == 17
    assert all(reason.startswith("corrupt") for _, reason in lost)
    assert parts[0].frames[0]["rgb"].shape[0] == len(parts[0].windows)
    assert kept[0].start_sec == 0.0


def test_nothing_is_written_beside_a_video(tmp_path: Path) -> None:
    video = made.video(tmp_path / "v.mp4", 60)
    open_video(video, Sliding(1.0, 0.5, 0.0)).part([WISHES[2]], 0)
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty file"), (b"no video", "not a video"), (None, "missing file")]
)
def test_what_is_no_video(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableVideoError) as caught:
        open_video(path, CUT)
    assert caught.value.reason == reason
