"""Box files: what is read from good ones, and that bad ones are unreadable clips with a stable reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_actrec.data import boxes
from keras_actrec.data.quarantine import Quarantine, reason_of
from keras_actrec.errors import UnreadableVideoError

NAN = [np.nan] * 4


def made(path: Path, rows: list[Any], height: Any = 50, width: Any = 100) -> Path:
    path.write_text(json.dumps({"height": height, "width": width, "boxes": rows}))
    return path


def reason(path: Path, frames: int | None = None) -> str:
    with pytest.raises(UnreadableVideoError) as caught:
        boxes.read(path, frames)
    assert caught.value.path == str(path)
    assert len(str(caught.value)) < 250 + len(str(path))
    assert caught.value.reason.startswith("box file: ")
    return caught.value.reason.removeprefix("box file: ")


def test_pixels_become_shares_of_width_and_height(tmp_path: Path) -> None:
    found = boxes.read(made(tmp_path / "a.json", [[10, 10, 60, 45], None, [0.5, 0, 100, 50]]))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[0.1, 0.2, 0.6, 0.9], NAN, [0.005, 0, 1, 1]])


def test_what_lies_outside_is_cut_off(tmp_path: Path) -> None:
    rows = [
        [-20, -5, 50, 500],
        [100, 10, 130, 20],
        [-9, 0, -1, 50],
        [10, 20, 10, 30],
        [10, 50, 90, 50],
        [110, 0, 120, 9],
    ]
    found = boxes.read(made(tmp_path / "a.json", rows))
    np.testing.assert_array_equal(found, [[0, 0, 0.5, 1], NAN, NAN, NAN, NAN, NAN])


def test_written_as_it_was(tmp_path: Path) -> None:
    pixels = np.array([[1.26, 2.0, 30.04, 49.99], NAN, [0, 0, 100, 50]])
    boxes.write(tmp_path / "new" / "a.json", pixels, 50, 100)
    document = json.loads((tmp_path / "new" / "a.json").read_text())
    assert document == {"height": 50, "width": 100, "boxes": [[1.3, 2.0, 30.0, 50.0], None, [0, 0, 100, 50]]}
    read = boxes.read(tmp_path / "new" / "a.json", 3) * [100, 50, 100, 50]
    np.testing.assert_allclose(read, pixels, atol=0.05 + 1e-9)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.json"]


def test_a_video_without_anybody_can_be_written_and_read(tmp_path: Path) -> None:
    boxes.write(tmp_path / "a.json", np.full((4, 4), np.nan), 50, 100)
    assert np.isnan(boxes.read(tmp_path / "a.json", 4)).all()
    boxes.write(tmp_path / "b.json", np.empty((0, 4)), 50, 100)
    assert boxes.read(tmp_path / "b.json").shape == (0, 4)


@pytest.mark.parametrize(
    "rows",
    [[[1, 2, 3]], [1, 2, 3, 4], [NAN, [9, 0, 1, 5]], [[0, 9, 5, 1]], [[0, 0, np.inf, 5]], [[0, np.nan, 5, 5]]],
)
def test_nonsense_is_not_written(tmp_path: Path, rows: list[Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        boxes.write(tmp_path / "a.json", np.array(rows), 50, 100)
    with pytest.raises(ValueError, match="expected"):
        boxes.write(tmp_path / "a.json", np.zeros((1, 4)), 0, 100)
    assert not list(tmp_path.iterdir())


def test_those_of_stick_actions(stick_actions: Path) -> None:
    paths = sorted((stick_actions / "boxes").rglob("*.json"))
    assert len(paths) > 100
    for path in paths[::10]:
        document = json.loads(path.read_text())
        found = boxes.read(path, len(document["boxes"]))
        size = np.array([document["width"], document["height"]] * 2)
        seen = ~np.isnan(found[:, 0])
        assert seen.mean() > 0.9
        np.testing.assert_allclose((found * size)[seen], np.array(document["boxes"])[seen], atol=1e-9)


@pytest.mark.parametrize(("count", "missing"), [(20, 0), (19, 1), (18, 2), (21, 0), (22, 0)])
def test_a_few_frames_more_or_less_do_not_matter(tmp_path: Path, count: int, missing: int) -> None:
    rows = [[number, 10, 60, 45] for number in range(count)]
    found = boxes.read(made(tmp_path / "a.json", rows), 20)
    np.testing.assert_array_equal(found[: 20 - missing, 0], np.arange(20 - missing) / 100)
    assert len(found) == 20
    assert np.isnan(found[20 - missing :]).all()


def test_two_frames_of_a_short_video_may_differ(tmp_path: Path) -> None:
    path = made(tmp_path / "a.json", [[1, 2, 3, 4]] * 8)
    assert [len(boxes.read(path, frames)) for frames in (6, 10)] == [6, 10]
    assert reason(path, 11) == "8 boxes for 11 frames of the video"


def test_a_tenth_of_a_long_video_may_differ(tmp_path: Path) -> None:
    path = made(tmp_path / "a.json", [[1, 2, 3, 4]] * 180)
    assert len(boxes.read(path, 200)) == 200
    assert reason(path, 201) == "180 boxes for 201 frames of the video"


@pytest.mark.parametrize(("count", "frames"), [(17, 20), (23, 20), (0, 3), (1, 90), (90, 1)])
def test_boxes_of_another_video(tmp_path: Path, count: int, frames: int) -> None:
    path = made(tmp_path / "a.json", [[1, 2, 3, 4]] * count)
    assert reason(path, frames) == f"{count} boxes for {frames} frames of the video"


def test_damaged_files(tmp_path: Path) -> None:
    good = made(tmp_path / "good.json", [[10, 10, 60, 45], None]).read_bytes()
    bad = tmp_path / "bad.json"
    assert reason(bad) == "missing file"
    for length in range(len(good)):
        bad.write_bytes(good[:length])
        assert reason(bad) == "damaged: no JSON"
    for content in (b"\xff\xfe\x00rubbish", b"\x00" * 500, b"[" * 100_000, b'{"height": ' + b"9" * 5000 + b"}"):
        bad.write_bytes(content)
        assert reason(bad) == "damaged: no JSON"
    assert reason(tmp_path) == "Is a directory"


@pytest.mark.parametrize(
    "content",
    ["[]", "null", "7", '"text"', "{}", '{"height": 9, "width": 9}', '{"height": 9, "width": 9, "boxes": {"0": null}}'],
)
def test_other_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert reason(tmp_path / "a.json") == "expected height, width and a list of boxes"


@pytest.mark.parametrize("side", [0, -5, float("nan"), float("inf"), 0.5, "100", None, True, [100]])
def test_pictures_without_a_size(tmp_path: Path, side: Any) -> None:
    assert reason(made(tmp_path / "a.json", [[1, 2, 3, 4]], width=side)).startswith("a picture of ")
    assert reason(made(tmp_path / "a.json", [[1, 2, 3, 4]], height=side)).startswith("a picture of 100 x ")


def test_a_picture_larger_than_any_number(tmp_path: Path) -> None:
    assert reason(made(tmp_path / "a.json", [[1, 2, 3, 4]], width=10**400)) == "numbers beyond all measure"


@pytest.mark.parametrize(
    "row", [[1, 2, 3], [], [1, 2, 3, 4, 5], "1234", 7, [1, 2, 3, None], [1, 2, 3, "4"], {}, [[1]] * 4]
)
def test_rows_that_are_no_boxes(tmp_path: Path, row: Any) -> None:
    path = made(tmp_path / "a.json", [None, [1, 2, 3, 4], row])
    assert reason(path) == f"frame 2: expected four numbers or null, got {row!r}"


def test_a_sentence_stays_one(tmp_path: Path) -> None:
    path = made(tmp_path / "a.json", [["x" * 10_000] * 4])
    assert reason(path).endswith("xxx...")


@pytest.mark.parametrize("row", [[30, 2, 10, 40], [10, 40, 30, 2], [150, 0, 120, 50]])
def test_boxes_inside_out(tmp_path: Path, row: list[float]) -> None:
    assert reason(made(tmp_path / "a.json", [None, row])) == f"frame 1: a box turned inside out, {row}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite(tmp_path: Path, number: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{"height": 50, "width": 100, "boxes": [[1, 2, 3, 4], [0, 0, {number}, 9]]}}')
    assert reason(path) == "frame 1: a box that is not finite"
    path.write_text(f'{{"height": 50, "width": 100, "boxes": [null, [0, 0, {"9" * 400}, 9]]}}')
    assert reason(path) == "numbers beyond all measure"


def test_a_bad_one_is_quarantined_and_the_run_goes_on(tmp_path: Path) -> None:
    from keras_actrec.data.manifest import Clip

    (tmp_path / "a.json").write_text('{"height": 50, "wid')
    clip, quarantine = Clip("videos/a.mp4", "Wave", "train", boxes="a.json"), Quarantine()
    try:
        boxes.read(tmp_path / "a.json", 9)
    except UnreadableVideoError as error:
        quarantine.add(clip, reason_of(clip, error))
    assert quarantine.reasons() == {"videos/a.mp4": "box file: damaged: no JSON"}
