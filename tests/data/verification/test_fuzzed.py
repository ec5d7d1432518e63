"""Damaged files of every kind: each is told as sound or with a reason, within its limits, and nothing crashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from damage import fuzzed, write_good

from keras_actrec.data.guarded import Limits
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.verification.results import Results
from keras_actrec.data.verification.verifying import Settings, check_files

LIMITS = Limits(seconds=30, memory_bytes=500_000_000)


@pytest.mark.parametrize("count", [50, pytest.param(300, marks=pytest.mark.slow)])
def test_nothing_crashes_on_fuzzed_files(tmp_path: Path, count: int) -> None:
    good = write_good(tmp_path / "good")
    names = [f"{number}.bin" for number in range(count)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(fuzzed(good, number))
    manifest = Manifest.from_clips("fuzzed", tmp_path, 1, [Clip(name, "any", "train") for name in names])
    with Results(tmp_path / "verified.jsonl") as results:
        found, checked = check_files(manifest, Settings(deep=True, limits=LIMITS, workers=2), results)
    assert checked == len(found) == count
    reasons = [checked.reason for checked in found.values()]
    assert reasons.count(None) < count / 2  # they are damaged indeed
    assert all(reason and len(reason) < 120 for reason in reasons if reason is not None)
    assert not [reason for reason in reasons if reason and reason.startswith(("took", "crashed the decoder (exit"))]
