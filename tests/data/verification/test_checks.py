"""What a check tells of one file: facts of a sound one, the decoder's own reason for a bad one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import FPS, Film, film

from keras_actrec.data.guarded import Limits
from keras_actrec.data.verification import checks, fingerprint
from keras_actrec.data.video_reader import VideoReader
from keras_actrec.errors import UnreadableVideoError

LIMITS = Limits()


def look(path: Path, deep: bool = False, **stretches: dict) -> dict:
    named = {name: {"label": None, "split": "test", **fields} for name, fields in stretches.items()}
    return checks.video(str(path), LIMITS, deep, True, True, named)


def damaged(folder: Path) -> Path:
    """A file whose index is whole, and one of whose frames is not."""
    path = film(folder / "damaged.avi", 3, Film("mjpeg"))
    data = bytearray(path.read_bytes())
    frame = [i for i in range(len(data)) if data[i : i + 4] == b"00dc"][20]
    size = int.from_bytes(data[frame + 4 : frame + 8], "little")
    data[frame + 8 : frame + 8 + size] = bytes(size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("codec, suffix", [("libx264", "mp4"), ("mpeg4", "avi"), ("libvpx-vp9", "webm")])
@pytest.mark.parametrize("deep", [False, True])
def test_facts_of_a_sound_file(tmp_path: Path, codec: str, suffix: str, deep: bool) -> None:
    path = film(tmp_path / f"a.{suffix}", 1, Film(codec, frames=40))
    facts = look(path, deep)
    assert (facts["frames"], facts["fps"], facts["width"], facts["height"]) == (40, FPS, 128, 96)
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(facts["ends"]) == 3
    assert facts["steps"] is None if not deep else len(facts["steps"]) == 8  # 0 to 1.95 s, every quarter
    assert json.loads(json.dumps(facts)) == facts


def test_a_damaged_frame_in_the_middle_is_found_by_a_deep_check_alone(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    assert look(path)["frames"] == 60
    with pytest.raises(UnreadableVideoError) as error:
        look(path, deep=True)
    assert error.value.reason.startswith("corrupt: ")


def test_bad_files_have_the_reasons_of_the_decoder(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all")
    whole = film(tmp_path / "a.mp4", 1).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    found = {}
    for name in ("empty", "text", "cut", "none"):
        with pytest.raises(UnreadableVideoError) as error:
            look(tmp_path / f"{name}.mp4")
        found[name] = error.value.reason
    assert found == {
        "empty": "empty file",
        "text": "not a video",
        "cut": "truncated: the index (moov) is lost",
        "none": "missing file",
    }


def test_stretches_without_frames_are_told_by_their_names(tmp_path: Path) -> None:
    facts = look(film(tmp_path / "a.mp4", 1), fine={"start_sec": 1.0}, late={"start_sec": 7.0}, far={"start_frame": 60})
    assert facts["stretches"] == {
        "fine": None,
        "late": "no frames between 7 s and its end",
        "far": "no frames between frame 60 and its end",
    }


def test_a_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    for number in range(5):
        picture = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    assert (look(tmp_path, deep=True)["frames"], look(tmp_path)["width"]) == (5, 30)
    (tmp_path / "3.png").write_bytes(b"no picture")
    assert look(tmp_path)["frames"] == 5
    with pytest.raises(UnreadableVideoError, match=r"corrupt: frame 3 \(3.png\) cannot be decoded"):
        look(tmp_path, deep=True)


def test_hashed_frames_stand_a_quarter_of_a_second_apart_and_are_not_too_many() -> None:
    times = np.arange(100) / 25
    np.testing.assert_allclose(times[fingerprint.sampled(times)], np.arange(0, 4, 0.25), atol=0.04)
    long = fingerprint.sampled(np.arange(25 * 3600) / 25)
    assert 32 <= len(long) <= fingerprint.MOST_FRAMES
    assert fingerprint.sampled(np.zeros(1)).tolist() == [0]


def test_a_hash_says_nothing_without_contrast_or_movement() -> None:
    grey = np.full((3, 32, 32), 90, np.float32)
    assert fingerprint.hashes(fingerprint.spectra(grey)) == [[None, None]] * 3
    still = np.tile(np.linspace(0, 255, 32, dtype=np.float32), (3, 32, 1))
    assert [pair[0] is not None and pair[1] is None for pair in fingerprint.hashes(fingerprint.spectra(still))] == [
        True
    ] * 3
    signs = fingerprint.signs(fingerprint.hashes(fingerprint.spectra(still)))
    assert signs.shape == (3, 128) and (np.abs(signs[:, :64]) == 1).all() and not signs[:, 64:].any()


def test_box_files_are_checked(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"height": 9, "width": 9, "boxes": [null, [0, 0, 5, 5]]}')
    assert checks.boxes(str(tmp_path / "b.json"), LIMITS) == {"frames": 2}
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(UnreadableVideoError, match="no JSON"):
        checks.boxes(str(tmp_path / "b.json"), LIMITS)


def luma(path: Path, checking: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return which frames no other is predicted from, and the grey values of all."""
    with VideoReader(path, threads=1, checking=checking) as reader:
        pictures = {i: checks._luma(frame).copy() for i, frame in reader.frames(range(reader.index.frames))}
        return reader.index.droppable[reader.index.positions], [pictures[i] for i in sorted(pictures)]


def test_a_check_leaves_unsmoothed_what_no_other_picture_is_predicted_from(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 3, Film(quality="32"))
    free, exact = luma(path, checking=False)
    _, checked = luma(path, checking=True)
    assert 10 < free.sum() < 50
    same = np.array([np.array_equal(a, b) for a, b in zip(exact, checked, strict=True)])
    assert same[~free].all(), "else errors would add up from picture to picture"
    assert not same[free].all()
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(exact, checked, strict=True)) < 1
    hashes = [[pair[0] for pair in _hashes(pictures)] for pictures in (exact, checked)]
    differing = [(int(a, 16) ^ int(b, 16)).bit_count() for a, b in zip(*hashes, strict=True)]
    assert max(differing) <= 2


def _hashes(pictures: list[np.ndarray]) -> list[list[str | None]]:
    return fingerprint.hashes(fingerprint.spectra(fingerprint.thumbnails(pictures)))


@pytest.mark.parametrize("size", [(240, 320), (97, 131), (1080, 1923), (128, 128), (40, 700), (20, 30)])
def test_to_halve_pictures_before_changes_no_thumbnail(size: tuple[int, int]) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, *size), np.uint8))
    small = [fingerprint.halved(picture) for picture in pictures]
    assert small[0].base is None and not np.shares_memory(small[0], pictures[0]), "the frame is free again"
    np.testing.assert_array_equal(fingerprint.thumbnails(small), fingerprint.thumbnails(pictures))
