"""Results of files are kept line by line and outlive whatever ends the process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from keras_actrec.data.verification.results import Checked, Results

LIMITS = (60.0, 1e9, 8192.0, 8192.0)
GOOD = Checked("video", "a ü.mp4", 10, 20, False, LIMITS, None, {"frames": 5, "sha256": None, "stretches": {}})
BAD = Checked("video", "b.mp4", 10, 20, False, LIMITS, "empty file", {})


def kept(path: Path) -> dict:
    with Results(path) as results:
        return dict(results.known)


def test_results_come_back_and_the_newest_counts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "verified.jsonl"
    deep = dataclasses.replace(GOOD, deep=True)
    with Results(path) as results:
        for checked in (GOOD, BAD, deep):
            results.add(checked)
    assert kept(path) == {GOOD.key: deep, BAD.key: BAD}
    assert len(path.read_text().splitlines()) == 3  # what was superseded is gone


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "verified.jsonl"
    with Results(path) as results:
        results.add(GOOD)
        results.add(BAD)
    path.write_bytes(path.read_bytes()[:-15])
    assert kept(path) == {GOOD.key: GOOD}
    with Results(path) as results:
        results.add(BAD)
    assert kept(path) == {GOOD.key: GOOD, BAD.key: BAD}


def test_another_format_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "verified.jsonl"
    path.write_text('{"format": 0}\n{"kind": "video"}\n')
    assert kept(path) == {}
    assert path.read_text() == '{"format": 1}\n'


def test_when_a_result_holds() -> None:
    def holds(checked: Checked, deep: bool = False, limits: tuple = LIMITS, digest: bool = False, *names: str) -> bool:
        return checked.holds(deep, limits, digest, names)

    assert holds(GOOD) and holds(GOOD, False, (1.0, *LIMITS[1:])) and not holds(GOOD, deep=True)
    assert not holds(GOOD, digest=True) and not holds(GOOD, False, LIMITS, False, "(1.0, 2.0)")
    assert holds(dataclasses.replace(GOOD, deep=True)) and holds(dataclasses.replace(GOOD, deep=True), deep=True)
    assert holds(BAD) and holds(BAD, deep=True) and not holds(BAD, False, (90.0, *LIMITS[1:]))
    assert not holds(dataclasses.replace(BAD, reason="missing file"))
    assert not holds(dataclasses.replace(BAD, reason="cannot be opened: Permission denied"))
