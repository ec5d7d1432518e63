"""Moves by sketches and by rounded copies: what is read, what comes out, and the same bytes whatever is killed."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_support import publication

from keras_actrec.config import parse_config
from keras_actrec.errors import UserError
from keras_actrec.swarm import sharing
from keras_actrec.swarm.exchange import exchange
from keras_actrec.swarm.positions import DamagedPositionError, open_position
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.swarm.state import Kind, Move, Publication
from keras_actrec.swarm.store import DirectoryStore, MemoryStore, Store

ROOT = Path(__file__).parent.parent.parent
ROUND, COUNT, SIZE = 3, 9, 5000
NEAR = (0, 4, 8)
"""Three groups of three, far apart."""


def config_of(**section: object) -> SwarmConfig:
    swarm = {"particles": COUNT, "neighbours": 2, "sketch_size": 256, **section}
    return parse_config({"seed": 7, "training": {"epochs": 9}, "swarm": swarm}, kind=SwarmConfig)


class Scene:
    """A round of nine particles in three groups, published as a configuration says."""

    def __init__(self, config: SwarmConfig, store: Store, own: Store | None = None) -> None:
        self.config, self.store, self.own = config, store, own or store
        rng = np.random.default_rng(1)
        centres = 3 * rng.standard_normal((3, SIZE), np.float32)
        self.publications: dict[int, Publication] = {}
        self.arrays: dict[tuple[int, Kind], np.ndarray] = {}
        for particle in range(COUNT):
            place = centres[particle % 3] + rng.standard_normal(SIZE, np.float32)
            self.arrays[particle, Kind.BEFORE] = place
            self.arrays[particle, Kind.AFTER] = place + 0.01 * rng.standard_normal(SIZE, np.float32)
            self.publications[particle] = self.publish(particle)

    def publish(self, particle: int) -> Publication:
        for kind in (Kind.BEFORE, Kind.AFTER):
            self.own.put(particle, kind, ROUND, [self.arrays[particle, kind]], SIZE)
        self.own.alias(particle, (Kind.AFTER, ROUND), (Kind.BEST, ROUND))
        digests = sharing.share(self.own, self.store, self.config, particle, ROUND, ROUND)
        return publication(particle, ROUND, best_fitness=float(particle), **digests)

    def move(self, particle: int) -> tuple[Move, bytes]:
        move = exchange(self.store, self.config, particle, ROUND, self.publications, own=self.own)
        position = self.own.get(particle, Kind.BEFORE, ROUND + 1)
        position.verify()
        return dataclasses.replace(move, exchange_sec=0.0), position.array.tobytes()


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = MemoryStore() if request.param == "memory" else DirectoryStore(tmp_path / "swarm")
    yield made
    made.close()


@pytest.mark.parametrize(
    "section",
    [
        {"dynamic": "dynamic_1"},
        {"dynamic": "dynamic_1", "variant": "released", "distance": "rms"},
        {"dynamic": "dynamic_2", "variant": "attract", "distance": "rms"},
        {"dynamic": "towards_best"},
        {"dynamic": "average"},
    ],
    ids=lambda section: "-".join(section.values()),
)
def test_with_the_right_neighbours_a_move_has_the_same_bytes(store: Store, section: dict[str, str]) -> None:
    exact = Scene(config_of(**section), MemoryStore())
    by_sketch = Scene(config_of(**section, nearest_by="sketch"), store)
    for particle in range(COUNT):
        (wanted, bytes_wanted), (found, bytes_found) = exact.move(particle), by_sketch.move(particle)
        assert set(found.order) == {n for n in range(COUNT) if n % 3 == particle % 3}
        assert bytes_found == bytes_wanted
        told = dataclasses.replace(found, distances=wanted.distances)
        assert told == wanted, "order, weights, terms: by exact distances"
        assert found.distances == pytest.approx(wanted.distances, rel=0.3)
        for member in found.order:
            assert found.distances[member] == wanted.distances[member]


def test_positions_of_others_than_the_neighbours_are_not_read(tmp_path: Path) -> None:
    store = DirectoryStore.weights_only(tmp_path)
    scene = Scene(config_of(nearest_by="sketch"), store)
    for particle in range(COUNT):
        if particle % 3 != 1:
            for kind in (Kind.BEFORE, Kind.AFTER, Kind.BEST):
                store.file(particle, kind, ROUND).unlink()
    assert scene.move(1)[0].order[0] == 1
    scene.config = config_of()
    with pytest.raises(UserError, match="it is not there"):
        scene.move(1)


def test_a_damaged_or_missing_sketch_stops_the_move(tmp_path: Path) -> None:
    store = DirectoryStore.weights_only(tmp_path)
    scene = Scene(config_of(nearest_by="sketch"), store)
    path = store.file(2, Kind.SKETCH, ROUND)
    data = bytearray(path.read_bytes())
    data[open_position(path).offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedPositionError, match=r"sketch-000003.*checksum"):
        scene.move(0)
    scene.config = config_of(nearest_by="sketch", sketch_size=512)
    with pytest.raises(UserError, match="expected 512 numbers"):
        scene.move(0)
    scene.config = config_of(nearest_by="sketch")
    path.unlink()
    with pytest.raises(UserError, match="position 'sketch' of particle-3 in round 3"):
        scene.move(0)


@pytest.mark.parametrize("section", [{}, {"nearest_by": "sketch", "neighbours": None}, {"dynamic": "none"}])
def test_no_sketch_where_none_is_needed(section: dict[str, object]) -> None:
    scene = Scene(config_of(**section), MemoryStore())
    assert {told.sketch for told in scene.publications.values()} == {""}
    assert scene.store.rounds(0, Kind.SKETCH) == []


def test_sketches_of_two_rounds_and_two_seeds_differ() -> None:
    config = config_of(nearest_by="sketch")
    vector = [np.ones(300, np.float32)]
    found = {sharing.projection(config, number).of(vector).tobytes() for number in (1, 2)}
    found.add(sharing.projection(config.model_copy(update={"seed": 8}), 1).of(vector).tobytes())
    assert len(found) == 3


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_others_get_half_the_bytes_and_the_particle_stays_exact(tmp_path: Path, precision: str) -> None:
    shared, own = DirectoryStore.weights_only(tmp_path / "a", precision), DirectoryStore.weights_only(tmp_path / "b")
    scene = Scene(config_of(exchange=precision, coupling=0.0, c1=0.0, c2=0.0, nearest_by="sketch"), shared, own)
    for kind in (Kind.BEFORE, Kind.AFTER, Kind.BEST):
        sizes = [where.file(0, kind, ROUND).stat().st_size for where in (shared, own)]
        assert sizes[1] - sizes[0] == 2 * SIZE
    move, result = scene.move(0)
    assert result == scene.arrays[0, Kind.AFTER].tobytes(), "coefficients of zero change nothing, not a bit"
    assert move.before == own.get(0, Kind.BEFORE, ROUND + 1).digest
    assert not shared.has(0, Kind.BEFORE, ROUND + 1)


@pytest.mark.parametrize(("precision", "near"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_a_move_by_rounded_copies_is_near_the_exact_one(precision: str, near: float) -> None:
    section = {"coupling": 5.0, "distance": "rms"}
    exact = Scene(config_of(**section), MemoryStore())
    found = Scene(config_of(**section, exchange=precision), MemoryStore(), MemoryStore())
    for particle in NEAR:
        wanted, got = (np.frombuffer(scene.move(particle)[1], np.float32) for scene in (exact, found))
        assert 0 < np.linalg.norm(got - wanted) < near * np.linalg.norm(wanted)


def test_rounded_copies_and_moves_have_the_same_bytes_in_each_store_and_each_time(s3: Any, tmp_path: Path) -> None:
    config = config_of(exchange="bfloat16", nearest_by="sketch")
    bucket = s3.open(tmp_path, precision="bfloat16")
    stores = [DirectoryStore.weights_only(tmp_path / str(number), "bfloat16") for number in range(2)]
    told = [
        (scene.publications, scene.move(1))
        for store in (*stores, MemoryStore(), MemoryStore("bfloat16"), bucket)
        for scene in [Scene(config, store, MemoryStore())]
    ]
    bucket.close()
    assert all(one == told[0] for one in told)


def test_an_exact_position_that_is_another_one_than_was_written_is_refused() -> None:
    scene = Scene(config_of(exchange="bfloat16"), MemoryStore("bfloat16"), MemoryStore())
    digests = {kind: scene.own.digest(0, kind, ROUND) for kind in (Kind.BEFORE, Kind.AFTER)}
    first = exchange(scene.store, scene.config, 0, ROUND, scene.publications, own=scene.own, exact=digests)
    assert first.before == scene.own.digest(0, Kind.BEFORE, ROUND + 1)
    rounded = {Kind.AFTER: scene.publications[0].after}
    with pytest.raises(DamagedPositionError, match="was announced"):
        exchange(scene.store, scene.config, 0, ROUND, scene.publications, own=scene.own, exact=rounded)


def test_exact_positions_of_past_rounds_are_removed() -> None:
    own, store = MemoryStore(), MemoryStore()
    for number in (1, 2, 3):
        for kind in (Kind.BEFORE, Kind.AFTER, Kind.BEST):
            own.put(0, kind, number, [np.ones(3, np.float32)], 3)
    sharing.prune(own, store, 0, 3, 1)
    assert [own.rounds(0, kind) for kind in (Kind.BEFORE, Kind.AFTER, Kind.BEST)] == [[3], [3], [1, 3]]
    sharing.prune(store, store, 0, 9, 9)


MANY_FILES = """
import resource, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_sharing import SIZE, Scene, config_of
from keras_actrec.errors import UserError
from keras_actrec.swarm.store import DirectoryStore
scene = Scene(config_of(neighbours=8), DirectoryStore.weights_only(Path({folder!r})))
resource.setrlimit(resource.RLIMIT_NOFILE, (24, {hard}))
try:
    print(len(scene.move(0)[0].order))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(("hard", "told"), [(1000, "9"), (100, "ulimit -Hn")])
def test_a_process_may_open_as_many_files_as_a_move_needs(tmp_path: Path, hard: int, told: str) -> None:
    """The usual limit of 1024 files would end swarms of 500 particles."""
    script = MANY_FILES.format(tests=str(Path(__file__).parent), folder=str(tmp_path), hard=hard)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert told in done.stdout, done.stderr
