"""Quarantine: each lost clip once, with its reason, whatever the threads do."""

import concurrent.futures
import dataclasses
from pathlib import Path

import pytest

from keras_actrec import files
from keras_actrec.data.manifest import Clip
from keras_actrec.data.quarantine import Quarantine, Quarantined
from keras_actrec.errors import UserError


def clip(name: str, split: str = "train") -> Clip:
    return Clip(f"{name}.mp4", "jump", split)


def test_first_reason_stays_and_nothing_is_listed_twice() -> None:
    quarantine = Quarantine()
    assert quarantine.add(clip("b"), "empty file")
    assert not quarantine.add(clip("b"), "no frames")
    assert quarantine.add(clip("b", "test"), "no frames")
    assert quarantine.add(clip("a"), "not a video")
    assert quarantine.entries == (
        Quarantined("a.mp4", "train", "not a video"),
        Quarantined("b.mp4", "test", "no frames"),
        Quarantined("b.mp4", "train", "empty file"),
    )
    assert quarantine.reasons_for("train") == {"a.mp4": "not a video", "b.mp4": "empty file"}
    assert quarantine.reasons() == {"a.mp4": "not a video", "b.mp4": "no frames"} | {"b.mp4": "empty file"}
    assert len(quarantine) == 3 and quarantine.count("test") == 1


def test_two_stretches_of_one_file_are_two_losses() -> None:
    quarantine = Quarantine()
    for start in (0.0, 2.5):
        stretch = dataclasses.replace(clip("a", "test"), start_sec=start, end_sec=start + 2.5)
        assert quarantine.add(stretch, "no frames")
    assert len(quarantine) == 2 and len(quarantine.reasons_for("test")) == 2


def test_counts_per_epoch() -> None:
    quarantine = Quarantine()
    quarantine.add(clip("a"), "x", epoch=0)
    quarantine.add(clip("a"), "x", epoch=0)
    quarantine.add(clip("b", "validation"), "x", epoch=0)
    quarantine.add(clip("a"), "x", epoch=2)
    assert [quarantine.count(epoch=epoch) for epoch in range(3)] == [2, 0, 1]
    assert quarantine.count("train", epoch=0) == 1 and quarantine.count("test", epoch=0) == 0
    assert quarantine.count() == 2


def test_a_list_on_disk_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "run" / "quarantine.json"
    first = Quarantine(path)
    assert not path.exists()
    first.add(clip("a"), "empty file", epoch=3)
    again = Quarantine(path)
    assert again.entries == first.entries and again.count(epoch=3) == 0
    assert not again.add(clip("a"), "something else")
    again.add(clip("c"), "no frames")
    assert [row["path"] for row in files.read_json(path)] == ["a.mp4", "c.mp4"]
    assert [entry.name for entry in path.parent.iterdir()] == ["quarantine.json"]


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine.json")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        new = list(pool.map(lambda n: quarantine.add(clip(f"{n % 40:02d}"), "x", epoch=n % 2), range(200)))
    assert sum(new) == 40 and len(quarantine) == 40
    assert Quarantine(tmp_path / "quarantine.json").entries == quarantine.entries
    assert quarantine.count(epoch=0) + quarantine.count(epoch=1) == 40


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text('[{"path": 3')
    with pytest.raises(UserError, match=r"q\.json is no quarantine list"):
        Quarantine(tmp_path / "q.json")


def test_lists_of_several_processes_are_put_together(tmp_path: Path) -> None:
    ours, theirs = Quarantine(tmp_path / "quarantine.json"), Quarantine()
    ours.add(clip("a"), "empty file")
    theirs.add(clip("a"), "no frames")
    theirs.add(dataclasses.replace(clip("b"), start_sec=1.0, end_sec=2.0), "no frames")
    ours.merge(theirs.documents())
    assert [(entry.name, entry.reason) for entry in ours.entries] == [
        ("a.mp4", "empty file"),
        ("b.mp4 [1 s to 2 s]", "no frames"),
    ]
    assert Quarantine(tmp_path / "quarantine.json").entries == ours.entries
    ours.merge([])
    assert len(ours) == 2
