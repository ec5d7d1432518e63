"""The journal: exact, first wins, durable, and honest about damage, other versions and a full disk."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from writer_program import Writer, fitness

from keras_actrec.errors import UserError
from keras_actrec.swarm import journal as module
from keras_actrec.swarm.journal import DamagedJournalError, Journal, StorageFullError
from keras_actrec.swarm.state import Move, Publication

PUBLICATION = Publication(1, 3, -0.1, 2, -0.05, "aa", "bb", "cc", 1e-3, {"epoch": 3, "val_loss": 0.1}, 2.5)
MOVE = Move(1, 3, (0, 1), (0.0, 0.3), (1, 0), 0, (0.25, 0.75), (0.2,), {"own": 1.5, "total": 2.5}, "dd", 0.1, 0.2)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ROUNDS = 10
NAMES = st.text(min_size=1, max_size=8)


def bits(value: Any) -> Any:
    """The value with its floats as bytes, so that -0.0 and 0.0 differ."""
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(bits, value))
    return struct.pack("<d", value) if isinstance(value, float) else value


def contents(journal: Journal) -> tuple[Any, ...]:
    """All that a journal tells."""
    rounds = [journal.members(number) for number in range(40)]
    told = (journal.publications(), journal.moves(), journal.events(), journal.particles(), rounds)
    return *told, journal.get("state"), journal.get("never")


def fill(journal: Journal) -> None:
    for number in range(1, ROUNDS + 1):
        for particle in range(3):
            journal.add_publication(dataclasses.replace(PUBLICATION, particle=particle, round=number))
            journal.add_move(dataclasses.replace(MOVE, particle=particle, round=number))
        journal.close_round(number, range(3))
        journal.add_event("info", f"round {number} is over")
    journal.set_particle(2, pid=77, phase="training")
    journal.set("state", {"standing": "running", "elapsed_sec": 1.5})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "swarm.sqlite") as opened:
        yield opened


@given(data=st.data(), numbers=st.lists(FINITE, min_size=9, max_size=9), row=st.dictionaries(NAMES, FINITE), name=NAMES)
@settings(max_examples=60, deadline=None)
def test_every_float_comes_back_bit_for_bit(
    data: st.DataObject, numbers: list[float], row: dict[str, float], name: str
) -> None:
    journal = Journal(":memory:")
    publication = Publication(0, 1, numbers[0], 1, numbers[1], name, name, name, numbers[2], row, numbers[3])
    assert bits(dataclasses.asdict(journal.add_publication(publication))) == bits(dataclasses.asdict(publication))
    pairs = tuple(data.draw(st.lists(FINITE, max_size=5)))
    move = Move(0, 1, (0, 5), pairs, (5, 0), 5, tuple(numbers[4:6]), pairs[1:], row, name, *numbers[6:8])
    journal.add_move(move)
    assert bits(dataclasses.asdict(journal.move(0, 1))) == bits(dataclasses.asdict(move))
    journal.set(name, [numbers[8], row])
    assert bits({"": tuple(journal.get(name))}) == bits({"": (numbers[8], row)})
    journal.set_particle(4, value=numbers[8])
    assert bits(journal.particles()) == bits({4: {"value": numbers[8]}})


def test_numbers_of_numpy_are_kept_as_what_they_are(journal: Journal) -> None:
    row = {"loss": np.float32(0.1), "epoch": np.int64(3)}
    committed = journal.add_publication(dataclasses.replace(PUBLICATION, fitness=np.float64(-1 / 3), row=row))
    assert committed.fitness == -1 / 3
    assert committed.row == {"loss": float(np.float32(0.1)), "epoch": 3}
    assert type(committed.row["epoch"]) is int


def test_what_cannot_be_kept_as_json_is_refused(journal: Journal) -> None:
    with pytest.raises(TypeError, match="not ndarray"):
        journal.set("state", np.zeros(3))
    assert journal.get("state", "nothing") == "nothing"


def test_the_first_publication_and_the_first_move_win(journal: Journal) -> None:
    assert journal.add_publication(PUBLICATION) == PUBLICATION
    assert journal.add_publication(PUBLICATION) == PUBLICATION
    assert journal.add_publication(dataclasses.replace(PUBLICATION, fitness=9.0)) == PUBLICATION
    assert journal.publications() == [(1, PUBLICATION)]
    assert journal.add_move(MOVE) == MOVE
    assert journal.add_move(dataclasses.replace(MOVE, chosen=1)) == MOVE
    assert journal.moves() == [(1, MOVE)]
    assert (journal.move(1, 3), journal.move(1, 4), journal.publication(0, 3)) == (MOVE, None, None)


def test_of_two_threads_one_wins_and_both_are_told_the_same(journal: Journal) -> None:
    barrier, answers = threading.Barrier(2, timeout=30), ([], [])

    def claim(mine: int) -> None:
        for number in range(1, 41):
            barrier.wait()
            members = journal.close_round(number, [0, mine + 1])
            published = journal.add_publication(dataclasses.replace(PUBLICATION, round=number, fitness=float(mine)))
            answers[mine].append((members, published))

    threads = [threading.Thread(target=claim, args=(mine,)) for mine in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers[0]) == 40
    assert answers[0] == answers[1]
    assert [(journal.members(number), journal.publication(1, number)) for number in range(1, 41)] == answers[0]


def test_what_is_new_is_told_by_ids_that_ascend(journal: Journal) -> None:
    for number in range(1, 4):
        for particle in (2, 0, 2):
            journal.add_publication(dataclasses.replace(PUBLICATION, particle=particle, round=number))
    told = journal.publications()
    assert [number for number, _ in told] == sorted({number for number, _ in told})
    assert [(item.round, item.particle) for _, item in told] == [(1, 2), (1, 0), (2, 2), (2, 0), (3, 2), (3, 0)]
    assert journal.publications(since_id=told[3][0]) == told[4:]
    assert journal.publications(since_id=told[-1][0]) == []
    assert list(journal.published(2)) == [0, 2]
    assert journal.published(2)[2] == told[2][1]
    assert [journal.last_round(particle) for particle in range(3)] == [3, 0, 3]


def test_members_are_a_set_in_order_and_final(journal: Journal) -> None:
    assert journal.members(1) is None
    assert journal.close_round(1, [3, 0, 3]) == (0, 3)
    assert journal.close_round(1, [1]) == journal.members(1) == (0, 3)
    assert journal.close_round(2, []) == journal.members(2) == ()


def test_events_are_numbered_and_keep_any_text(journal: Journal) -> None:
    texts = ["begin", "quote ' and \" and \x00", "日本 ø 🦉", "half \ud800 a character"]
    written = [journal.add_event("warning", text, particle) for particle, text in enumerate(texts)]
    assert [event.number for event in written] == [1, 2, 3, 4]
    assert [event.at for event in written] == sorted(event.at for event in written)
    assert journal.events() == written
    assert [event.text for event in journal.events(since=2)] == texts[2:]
    assert journal.add_event("info", "the swarm").particle is None


def test_facts_about_a_particle_are_merged(journal: Journal) -> None:
    journal.set_particle(1, pid=5, host="a")
    journal.set_particle(1, pid=6, phase="training")
    journal.set_particle(0)
    assert journal.particle(1) == {"pid": 6, "host": "a", "phase": "training"}
    assert journal.particle(7) == {}
    assert journal.particles() == {1: {"pid": 6, "host": "a", "phase": "training"}}
    journal.set("key", None)
    assert journal.get("key", "default") is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("record", "told"),
    [
        (lambda bad: dataclasses.replace(PUBLICATION, fitness=bad), "particle-2 in round 3, but fitness is"),
        (lambda bad: dataclasses.replace(PUBLICATION, row={"val_loss": bad}), "row val_loss is"),
        (lambda bad: dataclasses.replace(MOVE, distances=(0.0, bad)), "distances is"),
        (lambda bad: dataclasses.replace(MOVE, terms={"own": np.float32(bad)}), "terms own is"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(
    journal: Journal, number: float, record: Callable[[float], Any], told: str
) -> None:
    bad = record(number)
    with pytest.raises(UserError, match=f"{told} {number}"):
        (journal.add_move if isinstance(bad, Move) else journal.add_publication)(bad)
    assert journal.publications() == journal.moves() == []


def test_all_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "swarm.sqlite") as journal:
        fill(journal)
        before = contents(journal)
    with Journal(tmp_path / "swarm.sqlite") as journal:
        assert contents(journal) == before
        assert journal.add_event("info", "again").number == ROUNDS + 1


def test_it_is_durable_by_its_settings(journal: Journal) -> None:
    assert journal._pragma("journal_mode") == "wal"
    assert journal._pragma("synchronous") == 2


@pytest.mark.parametrize("opened", [Journal, Journal.open_readonly])
def test_another_version_or_another_file_is_refused_and_left_alone(tmp_path: Path, opened: Callable) -> None:
    path = tmp_path / "swarm.sqlite"
    Journal(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match=f"expected a journal of version {module.VERSION}, but .* has version 99"):
        opened(path)
    other = tmp_path / "other.sqlite"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    text = other.read_bytes()
    with pytest.raises(UserError, match=r"expected the journal of a swarm, but .* is another file"):
        opened(other)
    assert other.read_bytes() == text
    (tmp_path / "text").write_text("no database at all, " * 500)
    with pytest.raises(DamagedJournalError, match=r"is damaged .* bring it back from a backup"):
        opened(tmp_path / "text")


def test_reading_needs_a_journal(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file is there"):
        Journal.open_readonly(tmp_path / "swarm.sqlite")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="wait until the swarm has begun"):
        Journal.open_readonly(tmp_path / "file")


def test_damage_is_found_or_does_no_harm(tmp_path: Path) -> None:
    original, copy = tmp_path / "swarm.sqlite", tmp_path / "copy.sqlite"
    with Journal(original) as journal:
        fill(journal)
        truth = contents(journal)
    whole, chance, found = original.read_bytes(), random.Random(5), 0
    for _ in range(60):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        copy.write_bytes(data)
        try:
            with Journal.open_readonly(copy) as journal:
                assert contents(journal) == truth
        except UserError:
            found += 1
        for rest in tmp_path.glob("copy.sqlite-*"):
            rest.unlink()
    assert found > 10


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_journal_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "swarm.sqlite"
    with Journal(path) as journal:
        fill(journal)
    with path.open("r+b") as file:
        file.truncate(int(share * path.stat().st_size))
    with pytest.raises(DamagedJournalError, match="is damaged"):
        Journal(path)


def test_a_row_that_was_changed_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "swarm.sqlite"
    with Journal(path) as journal:
        fill(journal)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE publications SET body = replace(body, '-0.05', '-0.06') WHERE id = 7")
    with Journal(path) as journal:
        assert journal.publication(0, 1)
        with pytest.raises(DamagedJournalError, match="does not match its checksum"):
            journal.publications()


def test_a_second_writer_waits_and_then_says_so(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SEC", 0.05)
    with Journal(journal.path) as second:
        with journal._transaction(), pytest.raises(UserError, match="no other server runs this swarm"):
            second.add_event("info", "too early")
        assert second.add_event("info", "now").number == 1


def test_an_error_in_a_transaction_leaves_nothing_behind(journal: Journal) -> None:
    def fail() -> None:
        with journal._transaction():
            journal._put("notes", "half", 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert journal.get("half") is None
    journal.set("half", 2)
    assert journal.get("half") == 2


def test_another_process_writes_while_it_is_read(tmp_path: Path) -> None:
    with Writer(tmp_path, size=10) as writer:
        writer.start()
        writer.wait_until_acknowledged()
        seen = []
        for _ in range(15):
            with Journal.open_readonly(tmp_path / "swarm.sqlite") as reader:
                told = reader.publications()
                assert [number for number, _ in told] == list(range(1, len(told) + 1))
                assert all(item.fitness == fitness(item.particle, item.round) for _, item in told)
                threading.Event().wait(0.02)
                assert reader.publications()[: len(told)] == told
                seen.append(len(told))
        assert seen == sorted(seen)
        assert seen[-1] > seen[0]
        writer.kill()
    with Journal.open_readonly(tmp_path / "swarm.sqlite") as reader:
        assert {(item.particle, item.round) for _, item in reader.publications()} >= set(writer.acknowledged)
        with pytest.raises(UserError, match="readonly"):
            reader.add_event("info", "a reader does not write")


def test_a_full_disk_loses_nothing_and_the_same_call_works_later(small_disk: Path) -> None:
    path, ballast = small_disk / "swarm.sqlite", small_disk / "ballast"
    journal, committed = Journal(path), []
    ballast.write_bytes(bytes(400_000))

    def publish_until_full() -> Publication:
        for number in range(1, 100_000):
            publication = dataclasses.replace(PUBLICATION, round=number, row={"padding" * 200: 0.1})
            try:
                committed.append(journal.add_publication(publication))
            except StorageFullError as error:
                assert "free some space" in str(error)
                return publication
        raise AssertionError("the disk never became full")

    failed = publish_until_full()
    assert len(committed) > 20
    with pytest.raises(StorageFullError):
        journal.add_publication(failed)
    assert [item for _, item in journal.publications()] == committed
    with Journal.open_readonly(path) as reader:
        assert [item for _, item in reader.publications()] == committed
    ballast.unlink()
    assert journal.add_publication(failed) == failed
    journal.close()
    with Journal(path) as journal:
        assert [item for _, item in journal.publications()] == [*committed, failed]


def test_a_journal_on_a_full_disk_can_be_read_and_not_begun(small_disk: Path) -> None:
    with Journal(small_disk / "swarm.sqlite") as journal:
        fill(journal)
        truth = contents(journal)
    with (small_disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    with pytest.raises(StorageFullError, match="free some space"):
        Journal(small_disk / "new" / "swarm.sqlite")
    (small_disk / "ballast").unlink()
    with Journal(small_disk / "swarm.sqlite") as journal:
        assert contents(journal) == truth


def test_a_journal_on_a_read_only_disk_can_be_read(small_disk: Path) -> None:
    with Journal(small_disk / "swarm.sqlite") as journal:
        fill(journal)
        truth = contents(journal)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with Journal.open_readonly(small_disk / "swarm.sqlite") as reader:
        assert contents(reader) == truth
    with pytest.raises(UserError, match="check that its disk works"):
        Journal(small_disk / "swarm.sqlite")


def test_a_limit_of_file_size_is_a_full_disk(journal: Journal) -> None:
    fill(journal)
    truth, limits = contents(journal), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{journal.path}-wal").stat().st_size, limits[1]))
    try:
        with pytest.raises(StorageFullError, match="quota"):
            journal.set("large", "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(journal) == truth
    journal.set("large", "x" * 100_000)
    assert journal.get("large") == "x" * 100_000


def test_it_can_be_copied_whole_after_it_is_closed(tmp_path: Path) -> None:
    with Journal(tmp_path / "swarm.sqlite") as journal:
        fill(journal)
        truth = contents(journal)
    shutil.copy(tmp_path / "swarm.sqlite", tmp_path / "copy.sqlite")
    with Journal.open_readonly(tmp_path / "copy.sqlite") as reader:
        assert contents(reader) == truth
