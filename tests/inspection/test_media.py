"""What a browser is shown: originals where they play, copies of what our reader decodes elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keras_actrec.data.decode import probe, read_frames
from keras_actrec.data.fiftyone_sets.fields import Row
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UnreadableVideoError
from keras_actrec.inspection import cache, media, placeholder, shown

Film = Callable[..., Path]


def greys(path: Path) -> list[int]:
    """The number of each frame, as `film` has painted it."""
    pictures = read_frames(path, range(probe(path).frames))
    return [round(picture.mean() / 16) for picture in pictures]


def codec(path: Path) -> tuple[str, str, int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.name, stream.codec_context.pix_fmt, sum(1 for _ in container.decode(stream))


def test_what_plays_is_shown_itself(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    found = media.medium(Clip("a.mp4", None, "test"), VideoSource(tmp_path), tmp_path / "copies")
    assert (found.path, found.copied) == (path, False)
    assert (found.frames, found.fps, found.width, found.height) == (12, 12.0, 64, 48)
    assert not (tmp_path / "copies").exists()


def test_an_avi_gets_a_copy_once_and_stays_as_it_is(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi")
    before = path.read_bytes()
    clip, source, folder = Clip("a.avi", None, "test"), VideoSource(tmp_path), tmp_path / "copies"
    found = media.medium(clip, source, folder)
    assert found.copied
    assert codec(found.path) == ("h264", "yuv420p", 12)
    assert greys(found.path) == list(range(12))
    made = found.path.stat().st_mtime_ns
    assert media.medium(clip, source, folder) == found
    assert found.path.stat().st_mtime_ns == made
    assert path.read_bytes() == before
    film(path, frames=14)
    assert media.medium(clip, source, folder).path != found.path


@pytest.mark.parametrize(
    ("stretch", "numbers"),
    [
        ({"start_sec": 0.25, "end_sec": 0.5}, [3, 4, 5]),
        ({"start_frame": 9}, [9, 10, 11]),
        ({"end_frame": 2}, [0, 1]),
    ],
)
def test_of_a_stretch_its_own_frames_are_shown(
    film: Film, tmp_path: Path, stretch: dict[str, float], numbers: list[int]
) -> None:
    film(tmp_path / "a.mp4")
    found = media.medium(Clip("a.mp4", None, "test", **stretch), VideoSource(tmp_path), tmp_path / "copies")
    assert greys(found.path) == numbers
    assert found.frames == len(numbers)


def test_two_stretches_of_a_file_have_a_copy_each(film: Film, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    clips = [Clip("a.mp4", None, "test", start_frame=start, end_frame=start + 3) for start in (0, 3)]
    found = [media.medium(clip, VideoSource(tmp_path), tmp_path / "copies") for clip in clips]
    assert [greys(one.path) for one in found] == [[0, 1, 2], [3, 4, 5]]


def test_boxes_want_an_even_rate(film: Film, tmp_path: Path) -> None:
    film(tmp_path / "uneven.mp4", times=[0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15, 16])
    source = VideoSource(tmp_path)
    plain, boxed = (Clip("uneven.mp4", None, "test", boxes=boxes) for boxes in (None, "b.json"))
    assert not media.is_even(tmp_path / "uneven.mp4")
    assert not media.medium(plain, source, tmp_path / "copies").copied
    copy = media.medium(boxed, source, tmp_path / "copies").path
    assert media.is_even(copy)
    assert greys(copy) == list(range(12))


def test_pictures_of_a_folder_become_a_film(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for number in range(5):
        cv2.imwrite(str(tmp_path / "clip" / f"frame_{number}.png"), np.full((31, 45, 3), 16 * number, np.uint8))
    found = media.medium(Clip("clip", None, "test", fps=10.0), VideoSource(tmp_path), tmp_path / "copies")
    assert greys(found.path) == list(range(5))
    assert found.fps == probe(found.path).fps == 10.0
    assert (probe(found.path).width, probe(found.path).height) == (44, 32)


def test_sides_are_even_and_not_too_large() -> None:
    assert media.shown_size(1081, 1921) == (720, 1280)
    assert media.shown_size(2160, 3840) == (720, 1280)
    assert media.shown_size(49, 33) == (48, 32)
    assert media.shown_size(1, 1) == (2, 2)


def test_a_codec_that_browsers_lack_gets_a_copy_whatever_the_name(film: Film, tmp_path: Path) -> None:
    film(tmp_path / "a.avi").rename(tmp_path / "named.mp4")
    assert not media.plays(tmp_path / "named.mp4")
    assert not media.plays(tmp_path / "missing.mp4")
    assert media.medium(Clip("named.mp4", None, "test"), VideoSource(tmp_path), tmp_path / "copies").copied


def test_a_picture_that_is_written_over_gives_another_film(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    clip, source, folder = Clip("clip", None, "test"), VideoSource(tmp_path), tmp_path / "copies"
    for number in range(3):
        cv2.imwrite(str(tmp_path / "clip" / f"{number}.png"), np.full((40, 60, 3), 16 * number, np.uint8))
    before = media.medium(clip, source, folder).path
    assert media.medium(clip, source, folder).path == before
    path = tmp_path / "clip" / "1.png"
    cv2.imwrite(str(path), np.full((40, 60, 3), 16 * 9, np.uint8))
    os.utime(path, (2_000_000_000, 2_000_000_000))
    assert greys(media.medium(clip, source, folder).path) == [0, 9, 2]


def test_what_cannot_be_read_is_shown_with_its_reason(film: Film, tmp_path: Path) -> None:
    film(tmp_path / "good.mp4")
    (tmp_path / "empty.mp4").touch()
    rows = [Row(Clip(name, "run", "test"), {1: "test"}) for name in ("good.mp4", "empty.mp4", "gone.avi")]
    done: list[tuple[int, int]] = []
    found = shown.show(
        rows, VideoSource(tmp_path), tmp_path / "copies", shown.Wish(workers=2), lambda *told: done.append(told)
    )
    assert [one.reason for one in found] == ["", "empty file", "missing file"]
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert all(media.plays(one.medium.path) for one in found)
    marked = shown.replace_reasons(found, lambda clip: "damaged at the end" if clip.path == "good.mp4" else "other")
    assert [one.reason for one in marked] == ["damaged at the end", "empty file", "missing file"]


def test_a_placeholder_shows_its_reason() -> None:
    one, other = (placeholder.draw(reason) for reason in ("empty file", "truncated: 57 of 120 frames can be decoded"))
    assert one.shape == (240, 320, 3)
    assert (one != other).any(axis=-1)[70:200].sum() > 500
    assert (one[:60] == other[:60]).all()


def test_damaged_boxes_leave_the_video(film: Film, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    (tmp_path / "b.json").write_text("{")
    row = Row(Clip("a.mp4", "run", "test", boxes="b.json"), {1: "test"})
    (found,) = shown.show([row], VideoSource(tmp_path), tmp_path / "copies", shown.Wish(), lambda *_: None)
    assert found.reason == "box file: damaged: no JSON"
    assert found.medium.path == tmp_path / "a.mp4"


def test_an_interrupted_copy_leaves_nothing_half(tmp_path: Path, film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "a.avi")

    def stopped(*_: object, **__: object) -> np.ndarray:
        raise KeyboardInterrupt

    clip, folder = Clip("a.avi", None, "test"), tmp_path / "copies"
    with monkeypatch.context() as patch:
        patch.setattr(VideoSource, "read", stopped)
        with pytest.raises(KeyboardInterrupt):
            media.medium(clip, VideoSource(tmp_path), folder)
    assert not folder.exists() or not list(folder.iterdir())
    assert greys(media.medium(clip, VideoSource(tmp_path), folder).path) == list(range(12))


def test_a_file_that_ends_early_is_an_unreadable_video(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", frames=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableVideoError, match="truncated"):
        media.medium(Clip("a.avi", None, "test"), VideoSource(tmp_path), tmp_path / "copies")


def test_copies_lie_beside_the_videos_or_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache.folder(tmp_path / "videos") == tmp_path / "videos" / ".keras_actrec" / "media"
    (tmp_path / "file").write_text("no folder can be made below this")
    assert cache.folder(tmp_path / "file").parent == tmp_path / "cache" / "keras_actrec"
