"""Near duplicates: what is the same video after encoding, scaling, cropping and cutting, and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scenes import Film, film

from keras_actrec.data.guarded import Limits
from keras_actrec.data.verification import checks, near

SCENES = 12
COPIES = {
    "encoded": Film("mpeg4"),
    "coarse": Film(quality="36"),
    "scaled": Film(scale=0.5),
    "cropped": Film(crop=0.96),
}


def facts(path: Path) -> dict:
    return checks.video(str(path), Limits(), True, False, True, {})


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("originals")
    return [facts(film(folder / f"{seed}.mp4", seed)) for seed in range(SCENES)]


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found_and_nothing_else(copy: str, originals: list[dict], tmp_path: Path) -> None:
    suffix = "avi" if copy == "encoded" else "mp4"
    copies = [facts(film(tmp_path / f"{seed}.{suffix}", seed, COPIES[copy])) for seed in range(SCENES)]
    for kind, search in (("ends", near.by_ends), ("steps", near.by_steps)):
        pairs = search([one[kind] for one in copies], [one[kind] for one in originals])
        assert {(pair.first, pair.second) for pair in pairs} == {(seed, seed) for seed in range(SCENES)}
        assert all(0 <= pair.distance <= near.DISTANCE for pair in pairs)


def test_a_copy_that_lacks_its_start_is_found_by_steps(originals: list[dict], tmp_path: Path) -> None:
    cut = [facts(film(tmp_path / f"{seed}.mp4", seed, Film(start=15, frames=45))) for seed in range(SCENES)]
    pairs = near.by_steps([one["steps"] for one in cut], [one["steps"] for one in originals])
    found = {(pair.first, pair.second) for pair in pairs}
    assert {(seed, seed) for seed in range(SCENES)} == found
    ends = near.by_ends([one["ends"] for one in cut], [one["ends"] for one in originals])
    assert len(ends) < SCENES  # what the quick check cannot see


def random_video(seed: int, frames: int) -> list[list[str | None]]:
    rng = np.random.default_rng(seed)
    return [[rng.bytes(8).hex(), rng.bytes(8).hex() if rng.random() < 0.7 else None] for _ in range(frames)]


def distance(first: near.Hashes, second: near.Hashes) -> float:
    """The definition, bit by bit: a hash that one side lacks is half unequal."""
    unequal = compared = 0.0
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            if a is None and b is None:
                continue
            compared += 64
            unequal += 32 if a is None or b is None else (int(a, 16) ^ int(b, 16)).bit_count()
    return unequal / compared


def test_blocks_of_products_give_the_distance_as_it_is_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_BLOCK", 3)
    monkeypatch.setattr(near, "DISTANCE", 1.0)
    largest = []
    against = near._Rows.against
    monkeypatch.setattr(
        near._Rows, "against", lambda a, b: largest.append((len(a.signs), len(b.signs))) or against(a, b)
    )
    first, second = ([random_video(10 * side + i, 3) for i in range(7)] for side in (1, 2))
    pairs = near.by_ends(first, second)
    assert [(pair.first, pair.second) for pair in pairs] == [(i, j) for i in range(7) for j in range(7)]
    assert set(largest) == {(i, j) for i in (3, 1) for j in (3, 1)}, "both sides, or memory grows with the data set"
    for pair in pairs:
        assert pair.distance == pytest.approx(distance(first[pair.first], second[pair.second]))


def test_the_best_shift_is_taken_and_too_short_a_common_part_does_not_count() -> None:
    whole = random_video(1, 20)
    assert near.along(whole[6:], whole) == near.along(whole, whole[6:]) == 0
    assert near.along(whole[:10] + random_video(2, 10), whole[10:] + random_video(3, 10)) > 0.3
    assert near.along(whole[8:], random_video(4, 10) + whole[8:12]) > 0.3  # 4 of 12 steps are the same


def test_steps_are_compared_some_videos_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [random_video(seed, 12) for seed in range(5)]
    second = [random_video(9, 3) + video for video in reversed(first)]
    whole = near.by_steps(first, second)
    assert [(pair.first, pair.second) for pair in whole] == [(i, 4 - i) for i in range(5)]
    monkeypatch.setattr(near, "_VIDEOS", 2)
    monkeypatch.setattr(near, "_BLOCK", 7)
    assert near.by_steps(first, second) == whole


def test_black_frames_are_no_evidence() -> None:
    black = [[None, None]] * 3
    assert near.by_ends([black], [black]) == []
    picture = ["00ff00ff00ff00ff", None]
    assert near.by_ends([[picture, [None, None], [None, None]]], [[picture, [None, None], [None, None]]]) == []
    assert near.along(black, black) == 1
