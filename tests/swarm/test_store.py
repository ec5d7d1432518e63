"""One battery for all stores, and what only a directory must stand: killed writers, other processes, a full disk.

S3 stands the battery as it is and with a service that fails, is slow, breaks off and loses answers; a directory also as
another machine sees it over a network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import random
import resource
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parent))

import writer_program
from lagging import LaggingStore
from writer_program import Writer

from keras_actrec.errors import UserError
from keras_actrec.swarm import positions
from keras_actrec.swarm.cache import Cache
from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.passes import Passes
from keras_actrec.swarm.precision import TAGS, rounded
from keras_actrec.swarm.settings import SwarmSection
from keras_actrec.swarm.state import Kind, Publication
from keras_actrec.swarm.store import DirectoryStore, MemoryStore, StorageFullError, Store, open_store

AFTER, BEFORE, BEST, SKETCH = Kind.AFTER, Kind.BEFORE, Kind.BEST, Kind.SKETCH
VECTOR = np.arange(12, dtype=np.float32) / 7
PUBLICATION = Publication(1, 3, -0.1, 2, -0.05, "aa", "bb", "cc", 1e-3, {"epoch": 3, "val_loss": 0.1}, 2.5)


BAD: dict[str, Any] = {"error_500": 0.1, "error_503": 0.1, "slow": 0.1, "lost": 0.1, "cut": 0.1, "slow_sec": 0.05}
"""Half of all requests to S3 go wrong in some way."""


PLACES = ("directory", "copied", "lagging", "memory", "s3", "bad_s3")


def open_at(place: str, precision: str, request: pytest.FixtureRequest, folder: Path) -> Store:
    """Open one of the stores of `PLACES`."""
    if place == "memory":
        return MemoryStore(precision)
    if place == "lagging":
        return LaggingStore(folder, precision=precision)
    if "s3" in place:
        service = request.getfixturevalue("s3")
        from bad_s3 import Faults

        service.server.faults = Faults(**BAD) if place == "bad_s3" else None
        return service.open(folder, precision=precision)
    cache = Cache(folder / "cache", 10**9) if place == "copied" else None
    return DirectoryStore(folder / "swarm", cache=cache, precision=precision)


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(open_at(request.param, "float32", request, tmp_path)) as opened:
        yield opened


def put(store: Store, particle: int, kind: Kind, number: int, vector: np.ndarray = VECTOR) -> str:
    return store.put(particle, kind, number, [vector], vector.size)


def test_what_is_put_comes_back(store: Store) -> None:
    assert not store.has(0, AFTER, 3)
    digest = store.put(0, AFTER, 3, iter([VECTOR[:4].reshape(2, 2), VECTOR[4:5], VECTOR[5:]]), 12)
    position = store.get(0, AFTER, 3)
    np.testing.assert_array_equal(position.array, VECTOR)
    assert position.array.dtype == np.float32
    assert position.digest == digest == positions.digest_of(VECTOR)
    assert position.notes == {"particle": 0, "kind": "after", "round": 3}
    position.verify()
    assert store.has(0, AFTER, 3)
    assert not any([store.has(1, AFTER, 3), store.has(0, BEFORE, 3), store.has(0, AFTER, 4)])


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("place", PLACES)
def test_positions_are_stored_at_the_precision_and_sketches_as_they_are(
    place: str, precision: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    vector = rounded(VECTOR, precision)
    with contextlib.closing(open_at(place, precision, request, tmp_path)) as store:
        digest, sketch = put(store, 0, AFTER, 1, vector), put(store, 0, SKETCH, 1)
        assert (digest, sketch) == (positions.digest_of(vector), positions.digest_of(VECTOR))
        store.alias(0, (AFTER, 1), (BEST, 1), digest)
        for kind in (AFTER, BEST):
            position = store.get(0, kind, 1, digest)
            assert (position.stored, position.array.itemsize) == (TAGS[precision], 2)
            position.verify()
            assert position.values.tobytes() == vector.tobytes()
            with Passes(1) as passes, pytest.raises(ValueError, match="read-only"):
                passes.add("it", position)
                assert np.concatenate([np.array(piece) for piece in passes.walk("it")]).tobytes() == vector.tobytes()
                position.array[0] = 1
        assert store.get(0, SKETCH, 1, sketch).array.tobytes() == VECTOR.tobytes()
        with store.draft(0, SKETCH, 2, 12) as draft:
            draft.array[:] = VECTOR
        assert store.get(0, SKETCH, 2).stored == "F32"
        store.prune(2, {0: [1]})
        assert [store.rounds(0, kind) for kind in (AFTER, BEST, SKETCH)] == [[], [1], [2]]


def test_nobody_can_change_what_is_published(store: Store) -> None:
    with store.draft(0, AFTER, 1, 12) as draft:
        draft.array[:] = VECTOR
    with pytest.raises(ValueError, match="read-only"):
        store.get(0, AFTER, 1).array[0] = 1


def test_a_draft_is_published_at_its_end_and_not_before(store: Store) -> None:
    with store.draft(2, BEFORE, 5, 12) as draft:
        draft.array[:6] = VECTOR[:6]
        draft.write(6, VECTOR[6:])
        assert not store.has(2, BEFORE, 5)
    assert store.get(2, BEFORE, 5).digest == draft.digest == positions.digest_of(VECTOR)
    store.get(2, BEFORE, 5).verify()


def test_a_draft_that_fails_leaves_what_was_there(store: Store) -> None:
    def fail(number: int) -> None:
        with store.draft(0, AFTER, number, 12) as draft:
            draft.array[:] = 5
            raise ZeroDivisionError

    digest = put(store, 0, AFTER, 1)
    for number in (1, 2):
        with pytest.raises(ZeroDivisionError):
            fail(number)
    assert store.get(0, AFTER, 1).digest == digest
    assert not store.has(0, AFTER, 2)
    assert store.sweep() == 0


def test_parts_of_another_size_are_refused(store: Store) -> None:
    for size in (11, 13):
        with pytest.raises(UserError, match=f"expected {size} weights"):
            store.put(0, AFTER, 1, [VECTOR], size)
    assert not store.has(0, AFTER, 1)


def test_what_is_missing_is_named(store: Store) -> None:
    for attempt in (lambda: store.get(1, BEST, 7), lambda: store.alias(1, (BEST, 7), (BEFORE, 8))):
        with pytest.raises(UserError, match=r"expected the position 'best' of particle-2 in round 7 .* not there"):
            attempt()
    assert not store.has(1, BEFORE, 8)


def test_publishing_again_replaces_and_readers_keep_what_they_have(store: Store) -> None:
    first = put(store, 0, AFTER, 1)
    held = store.get(0, AFTER, 1)
    assert put(store, 0, AFTER, 1) == first
    second = put(store, 0, AFTER, 1, VECTOR + 1)
    assert (held.digest, store.get(0, AFTER, 1).digest) == (first, second)
    held.verify()
    np.testing.assert_array_equal(held.array, VECTOR)


def test_an_alias_is_the_same_position_and_outlives_its_source(store: Store) -> None:
    digest = put(store, 0, AFTER, 1)
    put(store, 0, BEST, 1, VECTOR + 1)
    store.alias(0, (AFTER, 1), (BEST, 1))
    store.alias(0, (AFTER, 1), (BEST, 1))
    store.alias(0, (AFTER, 1), (BEFORE, 2))
    put(store, 0, AFTER, 1, VECTOR + 2)
    assert store.get(0, BEST, 1).digest == store.get(0, BEFORE, 2).digest == digest
    assert store.get(0, AFTER, 1).digest != digest
    store.prune(2, {0: [1]})
    store.get(0, BEST, 1).verify()
    store.get(0, BEFORE, 2).verify()
    assert store.sweep() == 0


def test_an_alias_of_another_position_than_the_one_that_is_meant_is_refused(store: Store) -> None:
    put(store, 0, AFTER, 1)
    with pytest.raises(positions.DamagedPositionError, match="was announced"):
        store.alias(0, (AFTER, 1), (BEST, 1), positions.digest_of(VECTOR + 1))
    assert not store.has(0, BEST, 1)
    store.alias(0, (AFTER, 1), (BEST, 1), positions.digest_of(VECTOR))
    assert store.has(0, BEST, 1)


def test_aliases_take_no_space(store: Store) -> None:
    if hasattr(store, "bucket"):
        pytest.skip("S3 has no links: a copy has its own space until it is pruned")
    vector = np.ones(50_000, np.float32)
    put(store, 0, AFTER, 1, vector)
    size = store.size()
    assert vector.nbytes <= size < vector.nbytes + 200_000
    store.alias(0, (AFTER, 1), (BEST, 1))
    store.alias(0, (AFTER, 1), (BEFORE, 2))
    assert store.size() == size
    put(store, 0, AFTER, 2, vector)
    assert store.size() >= size + vector.nbytes


def test_prune_keeps_what_is_needed_and_readers_keep_what_they_have(store: Store) -> None:
    for number in range(1, 5):
        for particle in range(2):
            for kind in Kind:
                put(store, particle, kind, number, VECTOR + number)
    held = store.get(1, AFTER, 1)
    store.prune(3, {0: [1, 4]})
    assert [store.rounds(0, kind) for kind in (BEFORE, AFTER, BEST)] == [[3, 4], [3, 4], [1, 3, 4]]
    assert [store.rounds(1, kind) for kind in (BEFORE, AFTER, BEST)] == [[3, 4], [3, 4], [3, 4]]
    assert [store.rounds(particle, SKETCH) for particle in range(2)] == [[3, 4], [3, 4]]
    held.verify()
    np.testing.assert_array_equal(held.array, VECTOR + 1)


def test_rounds_beyond_six_digits_are_kept_in_order(store: Store) -> None:
    for number in (1_000_000, 999_999):
        put(store, 0, AFTER, number)
    assert store.rounds(0, AFTER) == [999_999, 1_000_000]


def test_the_first_publication_wins_in_the_journal(store: Store) -> None:
    assert store.journal.add_publication(PUBLICATION) == PUBLICATION
    assert store.journal.add_publication(dataclasses.replace(PUBLICATION, fitness=1.0)) == PUBLICATION
    assert store.journal.add_publication(dataclasses.replace(PUBLICATION, round=4)).round == 4
    assert [number for number, _ in store.journal.publications()] == [1, 2]


def test_one_thread_closes_a_round(store: Store) -> None:
    barrier, answers = threading.Barrier(2, timeout=30), ([], [])

    def close(mine: int) -> None:
        for number in range(1, 41):
            barrier.wait()
            answers[mine].append(store.journal.close_round(number, [0, mine + 1]))

    threads = [threading.Thread(target=close, args=(mine,)) for mine in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers[0] == answers[1] == [store.journal.members(number) for number in range(1, 41)]
    assert len(answers[0]) == 40


class AgainstModel(RuleBasedStateMachine):
    """Stores do what a dictionary would."""

    places = st.tuples(st.integers(0, 2), st.sampled_from(Kind), st.integers(1, 6))
    vectors = hnp.arrays(np.float32, st.integers(1, 5), elements=st.floats(width=32))

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.stores = self.open(Path(self.folder.name))
        self.model: dict[tuple[int, Kind, int], bytes] = {}

    def open(self, folder: Path) -> list[Store]:
        return [DirectoryStore.weights_only(folder), MemoryStore()]

    @rule(place=places, vector=vectors)
    def put(self, place: tuple[int, Kind, int], vector: np.ndarray) -> None:
        digests = {store.put(*place, [vector], vector.size) for store in self.stores}
        assert digests == {positions.digest_of(vector)}
        self.model[place] = vector.tobytes()

    @rule(source=places, kind=st.sampled_from(Kind), number=st.integers(1, 6))
    def alias(self, source: tuple[int, Kind, int], kind: Kind, number: int) -> None:
        for store in self.stores:
            with contextlib.nullcontext() if source in self.model else pytest.raises(UserError):
                store.alias(source[0], source[1:], (kind, number))
        if source in self.model:
            self.model[source[0], kind, number] = self.model[source]

    @rule(oldest=st.integers(0, 7), best=st.dictionaries(st.integers(0, 2), st.sets(st.integers(1, 6))))
    def prune(self, oldest: int, best: dict[int, set[int]]) -> None:
        for store in self.stores:
            store.prune(oldest, best)
        for particle, kind, number in list(self.model):
            if number < oldest and not (kind == BEST and number in best.get(particle, ())):
                del self.model[particle, kind, number]

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        for store in self.stores:
            found = {(p, kind, number) for p in range(3) for kind in Kind for number in store.rounds(p, kind)}
            assert found == set(self.model)
            assert all(store.get(*place).array.tobytes() == content for place, content in self.model.items())

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()


AgainstModel.TestCase.settings = settings(max_examples=20, stateful_step_count=12, deadline=None)
TestAgainstModel = AgainstModel.TestCase


def test_s3_does_what_a_dictionary_would(s3_server: tuple[Any, str], s3: Any) -> None:
    class OnS3(AgainstModel):
        def open(self, folder: Path) -> list[Store]:
            return [type(s3)(s3_server[0]).open(folder)]

    few = settings(max_examples=3, stateful_step_count=8, deadline=None, database=None)
    run_state_machine_as_test(OnS3, settings=few)


def test_the_layout_of_a_directory_is_open_to_other_programs(tmp_path: Path) -> None:
    with contextlib.closing(DirectoryStore(tmp_path)) as store:
        put(store, 1, AFTER, 7)
    path = tmp_path / "weights" / "particle-2" / "after-000007.safetensors"
    np.testing.assert_array_equal(load_file(path)["position"], VECTOR)
    assert (tmp_path / "swarm.sqlite").is_file()


def test_a_particle_does_without_the_journal(tmp_path: Path) -> None:
    store = DirectoryStore.weights_only(tmp_path)
    put(store, 0, AFTER, 1)
    with pytest.raises(RuntimeError, match="ask the server"):
        _ = store.journal
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


@pytest.mark.parametrize("exchange", ["float32", "bfloat16"])
@pytest.mark.parametrize("where", ["own", "shared", "bucket"])
def test_the_configuration_names_the_store(
    where: str, exchange: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("s3").address if where == "bucket" else str(tmp_path / "shared")
    document = {"store": None if where == "own" else address, "cache": str(tmp_path / "cache"), "store_sec": 20}
    document["exchange"] = exchange
    settings, swarm = SwarmSection.model_validate(document), tmp_path / "swarms" / "one"
    swarm.mkdir(parents=True)
    particle = open_store(swarm, settings, with_journal=False)
    digest = put(particle, 0, AFTER, 1, rounded(VECTOR, exchange))
    with pytest.raises(RuntimeError, match="ask the server"):
        _ = particle.journal
    assert not list(tmp_path.rglob("*.sqlite")), "a particle's store has no journal"
    with contextlib.closing(open_store(swarm, settings, with_journal=True)) as server:
        server.get(0, AFTER, 1, digest).verify()
        assert server.get(0, AFTER, 1, digest).stored == TAGS[exchange]
        server.journal.add_publication(PUBLICATION)
    assert [path.parent for path in tmp_path.rglob("*.sqlite")] == [swarm]
    assert (swarm / "weights").is_dir() == (where == "own")
    assert (tmp_path / "shared" / "one" / "weights").is_dir() == (where == "shared")
    particle.close()


def test_what_is_announced_is_waited_for_on_a_directory(tmp_path: Path) -> None:
    writer = DirectoryStore(tmp_path, with_journal=False)
    reader = DirectoryStore(tmp_path, with_journal=False, patience_sec=20)
    hasty = DirectoryStore(tmp_path, with_journal=False, patience_sec=0.1)
    announced = positions.digest_of(VECTOR)
    with pytest.raises(UserError, match="not there"):
        hasty.get(0, AFTER, 1, announced)
    put(writer, 0, AFTER, 1, VECTOR + 1)
    with pytest.raises(positions.DamagedPositionError, match="was announced"):
        hasty.get(0, AFTER, 1, announced)
    timer = threading.Timer(0.3, lambda: put(writer, 0, AFTER, 1))
    timer.start()
    assert reader.get(0, AFTER, 1, announced).array.tobytes() == VECTOR.tobytes()
    timer.join()


def test_a_stale_handle_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path, with_journal=False, patience_sec=20)
    put(store, 0, AFTER, 1)
    opened, stale = positions.open_position, [errno.ESTALE, errno.ESTALE]

    def open_position(path: Path) -> positions.Position:
        if stale:
            raise OSError(stale.pop(), "stale file handle")
        return opened(path)

    monkeypatch.setattr(positions, "open_position", open_position)
    store.get(0, AFTER, 1).verify()
    assert not stale
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("no need to look at the folder"))
    store.get(0, AFTER, 1).verify()


def test_without_hard_links_an_alias_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore.weights_only(tmp_path)
    digest = put(store, 0, AFTER, 1)
    store.alias(0, (AFTER, 1), (BEST, 1))
    assert store.file(0, BEST, 1).samefile(store.file(0, AFTER, 1))

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    store.alias(0, (AFTER, 1), (BEFORE, 2))
    assert not store.file(0, BEFORE, 2).samefile(store.file(0, AFTER, 1))
    store.get(0, BEFORE, 2).verify()
    assert store.get(0, BEFORE, 2).digest == digest


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store = DirectoryStore.weights_only(tmp_path)
    for number in (1, 2):
        put(store, 0, AFTER, number)
    with store.file(0, AFTER, 1).open("r+b") as file:
        file.truncate(store.file(0, AFTER, 1).stat().st_size - 1)
    with pytest.raises(positions.DamagedPositionError, match="truncated"):
        store.get(0, AFTER, 1)
    with store.file(0, AFTER, 2).open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x99")
    position = store.get(0, AFTER, 2)
    with pytest.raises(positions.DamagedPositionError, match="checksum"):
        position.verify()


def test_sweep_removes_the_rests_of_killed_writers_and_nothing_else(tmp_path: Path) -> None:
    store = DirectoryStore.weights_only(tmp_path)
    put(store, 0, AFTER, 1)
    folder = tmp_path / "weights" / "particle-1"
    foreign = [folder / ".nfs0001", folder / ".notes.safetensors", folder / "after.txt", folder / ".best"]
    (tmp_path / "weights" / "other").mkdir()
    foreign.append(tmp_path / "weights" / "other" / ".after-000001-abc.safetensors")
    for path in foreign:
        path.write_bytes(b"mine")
    (folder / ".before-000002-x1y2.safetensors").write_bytes(bytes(1000))
    os.link(store.file(0, AFTER, 1), folder / ".best-000001-z3.safetensors")
    assert store.sweep(5) == 0, "somebody else's"
    assert store.sweep() == 1000
    assert {path for path in (tmp_path / "weights").rglob("*") if path.is_file()} == {
        *foreign,
        store.file(0, AFTER, 1),
    }
    store.get(0, AFTER, 1).verify()


def test_a_killed_writer_leaves_whole_files_and_all_that_was_acknowledged(tmp_path: Path) -> None:
    chance, rests = random.Random(), 0
    with Writer(tmp_path, size=300_000) as writer:
        for life in range(20):
            writer.start()
            for _ in range(writer_program.PARTICLES if life % 2 else 0):  # a round, so that the next life has another
                writer.wait_until_acknowledged()
            threading.Event().wait(chance.uniform(0.01, 0.12))
            writer.kill()
            rests += len(list(tmp_path.glob("weights/*/.*")))
            check_all(DirectoryStore.weights_only(tmp_path), set(writer.acknowledged))
    assert rests > 0  # else no kill came in the middle of a file
    store = DirectoryStore(tmp_path)
    assert store.sweep() >= 0
    assert not list(tmp_path.glob("weights/*/.*"))
    told = {(item.particle, item.round): (item.after, item.fitness) for _, item in store.journal.publications()}
    assert told.items() >= writer.acknowledged.items()
    assert len(writer.acknowledged) >= 10
    assert [number for number, _ in store.journal.publications()] == list(range(1, len(told) + 1))
    store.close()


def check_all(store: DirectoryStore, acknowledged: set[tuple[int, int]]) -> None:
    """Every file that can be seen is whole and what its writer meant; nothing that was acknowledged is missing."""
    for particle in range(writer_program.PARTICLES):
        for kind in Kind:
            for number in store.rounds(particle, kind):
                store.get(particle, kind, number).verify()
        rounds = {number for owner, number in acknowledged if owner == particle}
        last = max(rounds, default=0)
        assert set(store.rounds(particle, AFTER)) >= {n for n in rounds if n > last - writer_program.KEPT_ROUNDS + 1}


def test_another_process_reads_while_one_writes(tmp_path: Path) -> None:
    size, seen = 300_000, set()
    with Writer(tmp_path, size) as writer:
        writer.start()
        writer.wait_until_acknowledged()
        store, journal = DirectoryStore.weights_only(tmp_path), Journal.open_readonly(tmp_path / "swarm.sqlite")
        while len(seen) < 6:
            writer.wait_until_acknowledged()
            item = journal.publications()[-1][1]
            for kind, digest in ((BEFORE, item.before), (AFTER, item.after), (BEST, item.best)):
                position = store.get(item.particle, kind, item.round)
                position.verify()
                assert position.digest == digest
            np.testing.assert_array_equal(
                store.get(item.particle, AFTER, item.round).array,
                writer_program.weights(item.particle, item.round, size),
            )
            seen.add((item.particle, item.round))
        journal.close()


@pytest.mark.parametrize("way", ["put", "draft", "copy"])
def test_a_full_disk_stops_with_a_sentence_and_loses_nothing(
    small_disk: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vector, store = np.ones(200_000, np.float32), DirectoryStore(small_disk)
    store.journal.add_publication(PUBLICATION)

    def attempt() -> None:
        if way == "put":
            put(store, 0, AFTER, 2, vector)
        elif way == "draft":
            with store.draft(0, AFTER, 2, vector.size) as draft:
                draft.array[:] = vector
        else:
            store.alias(0, (AFTER, 1), (AFTER, 2))

    def no_link(*_: object) -> None:
        raise OSError(errno.EXDEV, "no hard links here")

    put(store, 0, AFTER, 1, vector)
    monkeypatch.setattr(os, "link", no_link)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    for _ in range(2):
        with pytest.raises(StorageFullError, match=r"free some space and resume .* nothing that was committed is lost"):
            attempt()
        assert not store.has(0, AFTER, 2)
        assert not list(small_disk.glob("weights/*/.*"))
    store.get(0, AFTER, 1).verify()
    assert store.journal.publications() == [(1, PUBLICATION)]
    ballast.unlink()
    attempt()
    store.get(0, AFTER, 2).verify()
    assert store.get(0, AFTER, 2).digest == positions.digest_of(vector)
    store.close()


def test_a_limit_of_file_size_is_a_full_disk(tmp_path: Path) -> None:
    store, limits = DirectoryStore.weights_only(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    vector = np.ones(200_000, np.float32)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageFullError, match="quota"):
            put(store, 0, AFTER, 1, vector)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    put(store, 0, AFTER, 1, vector)
    store.get(0, AFTER, 1).verify()


def test_other_errors_of_a_disk_are_not_called_a_full_one(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file where a folder should be")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        put(DirectoryStore.weights_only(tmp_path), 0, AFTER, 1)
