"""What a run says of the clips that it could read, and of what a verification has found before."""

from __future__ import annotations

import os
from pathlib import Path

from keras_actrec import files
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.quarantine import Quarantined
from keras_actrec.data.verification import receipt as receipts
from keras_actrec.training import coverage


def manifest(root: Path) -> Manifest:
    splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 3 + ["unlabelled"] * 4 + ["unknown"]
    return Manifest.from_clips("some", root, 1, [Clip(f"{i}.mp4", "a", split) for i, split in enumerate(splits)])


LOST = [Quarantined("0.mp4", "train", "empty file"), Quarantined("8.mp4", "test", "missing file")]


def receipt_of(clips: Manifest, bad: int) -> dict:
    unreadable = [{"path": f"{i}.mp4", "split": "train", "label": "a", "reason": "empty file"} for i in range(bad)]
    known = {"name": clips.name, "fold": 1, "hash": clips.hash}
    counts = {"official": 19907, "decodable": 19907 - bad, "mode": "deep", "date": "2026-05-04T10:00:00+02:00"}
    return {"format": receipts.FORMAT, "manifest": known, "unreadable": unreadable, **counts}


def test_coverage_counts_the_clips_that_a_run_reads(tmp_path: Path) -> None:
    assert coverage.of(manifest(tmp_path), LOST, unlabelled=False)["coverage"] == {
        "clips": 11,
        "readable": 9,
        "splits": {
            "train": {"clips": 6, "readable": 5},
            "validation": {"clips": 2, "readable": 2},
            "test": {"clips": 3, "readable": 2},
        },
    }
    with_unlabelled = coverage.of(manifest(tmp_path), [], unlabelled=True)["coverage"]
    assert (with_unlabelled["clips"], with_unlabelled["readable"]) == (15, 15)


def test_the_sentence_is_that_of_a_report() -> None:
    assert coverage.sentence({"clips": 19907, "readable": 19907}) == "19,907 of 19,907 clips could be read"
    assert coverage.sentence({"clips": 19907, "readable": 19906}).endswith("quarantine.json says why not the other")
    told = coverage.sentence({"clips": 19907, "readable": 19881})
    assert told == "19,881 of 19,907 clips could be read; quarantine.json says why not the other 26"


def test_a_run_starts_with_what_a_verification_has_found(tmp_path: Path) -> None:
    clips = manifest(tmp_path)
    assert coverage.verified(clips) == []
    folder = receipts.folder_of(clips.root, clips.hash)
    files.write_json(folder / receipts.NAME, receipt_of(clips, 26))
    lines = coverage.verified(clips)
    assert lines[0] == "verified 2026-05-04: 19,881 of 19,907 clips can be read (every frame decoded)"
    assert lines[1] == "  0.mp4 (train): empty file" and len(lines) == 2 + coverage.MOST_NAMED
    assert lines[-1] == f"  and 21 more; see {folder / receipts.NAME}"


def test_a_receipt_of_other_clips_or_a_damaged_one_is_not_taken(tmp_path: Path) -> None:
    clips = manifest(tmp_path)
    path = receipts.folder_of(clips.root, clips.hash) / receipts.NAME
    files.write_json(path, receipt_of(clips, 0) | {"manifest": {"hash": "another"}})
    assert coverage.verified(clips) == []
    path.write_text("{")
    assert coverage.verified(clips) == [f"{path} is no receipt of a verification; delete it, or verify again."]


def test_a_run_keeps_the_receipt(tmp_path: Path) -> None:
    class Directory:
        verification = tmp_path / "run" / "verification.json"

    clips = manifest(tmp_path)
    coverage.keep_receipt(Directory(), clips)
    assert not os.path.lexists(Directory.verification)
    files.write_json(receipts.folder_of(clips.root, clips.hash) / receipts.NAME, receipt_of(clips, 2))
    coverage.keep_receipt(Directory(), clips)
    assert files.read_json(Directory.verification)["decodable"] == 19905
