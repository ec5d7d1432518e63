"""The target folder: one process at a time, a journal that a kill cannot spoil, one owner."""

import os
from pathlib import Path

import pytest

from keras_actrec.data.fetch.outcome import FailureError, Kind
from keras_actrec.data.fetch.place import Place
from keras_actrec.data.manifest import read_csv
from keras_actrec.errors import UserError

GONE, LATE = FailureError("removed", Kind.GONE), FailureError("timed out", Kind.PASSING)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "out", "kinetics400")
    made.open()
    yield made
    made.close()


def test_two_at_a_time_are_refused(place: Place) -> None:
    with pytest.raises(UserError, match=rf"process {os.getpid()} is fetching into"):
        Place(place.root, "kinetics400").open()


def test_the_dead_are_remembered_and_what_may_have_passed_is_forgotten_on_demand(place: Place) -> None:
    place.remember({"origin": "a"})
    place.remember_dead({"train/x/1": GONE})
    place.remember_dead({"train/x/2": LATE})
    place.remember_dead({"train/x/3": FailureError("age-restricted: wants --cookies", Kind.CLOSED)})
    assert place.dead()["train/x/2"] == LATE
    assert place.forget_passing() == 2
    assert place.dead() == {"train/x/1": GONE}
    assert place.forget_passing() == 0
    place.remember({"origin": "a"})
    assert place.dead() == {"train/x/1": GONE}
    place.remember({"origin": "b"})
    assert place.dead() == {}


@pytest.mark.parametrize("lost", range(1, 44, 6))
def test_a_torn_last_line_costs_that_line_alone(place: Place, lost: int) -> None:
    """As a kill or a full disk leaves it, wherever it was cut."""
    place.remember_dead({"train/x/1": GONE})
    place.remember_dead({"train/x/2": GONE})
    journal = place.hidden / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-lost])
    assert "train/x/1" in place.dead()
    place.remember_dead({"train/x/3": LATE})
    assert set(place.dead()) >= {"train/x/1", "train/x/3"}


def test_unfinished_work_is_swept_and_archives_stay(place: Place) -> None:
    (place.work / "video.mp4").write_bytes(b"x")
    place.archives.mkdir()
    (place.archives / "a.tar.part").write_bytes(b"x")
    place.close()
    place.open()
    assert list(place.work.iterdir()) == []
    assert (place.archives / "a.tar.part").exists()


def test_what_lies_in_hidden_files_is_not_there(place: Place) -> None:
    (place.work / "video").write_bytes(b"x")
    place.put(place.work / "video", "train/wave/a.mp4")
    (place.root / "train/wave/.b.mp4").write_bytes(b"half")
    assert place.present(["train", "test"]) == {"train/wave/a": "train/wave/a.mp4"}


def test_an_empty_cell_leaves_a_clip_out_of_its_fold_and_an_empty_row_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("path,label,split_1,split_2\na.avi,x,train,\nb.avi,x,,test\n")
    assert [clip.path for clip in read_csv(path, 1)] == ["a.avi"]
    assert [clip.path for clip in read_csv(path, 2)] == ["b.avi"]
    path.write_text(path.read_text() + "c.avi,x,,\n")
    with pytest.raises(UserError, match=r"clip c.avi: the split is ''"):
        read_csv(path, 1)
