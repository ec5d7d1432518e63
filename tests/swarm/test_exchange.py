"""A particle's move through published files: the equations, the same bits always, and nothing from damaged input."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import xxhash

from keras_actrec.errors import UserError
from keras_actrec.swarm import dynamics
from keras_actrec.swarm.chunks import CHUNK, ROW
from keras_actrec.swarm.dynamics import Neighbour
from keras_actrec.swarm.exchange import exchange
from keras_actrec.swarm.passes import Input, Passes, Reader
from keras_actrec.swarm.positions import BLOCK, DamagedPositionError, digest_of, open_position, write
from keras_actrec.swarm.settings import SwarmConfig, draws
from keras_actrec.swarm.state import Kind, Move, Publication
from keras_actrec.swarm.store import DirectoryStore, MemoryStore, Store

ROUND, SEED = 4, 11
POSITIONS = (Kind.BEFORE, Kind.AFTER, Kind.BEST)
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = MemoryStore() if request.param == "memory" else DirectoryStore(tmp_path / "swarm")
    yield made
    made.close()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[DirectoryStore]:
    made = DirectoryStore(tmp_path / "swarm")
    yield made
    made.close()


class Swarm:
    """A round that has been published; the position of each particle and kind is at hand."""

    def __init__(self, store: Store, size: int, count: int = 4, seed: int = 0, **section: object) -> None:
        rng = np.random.default_rng(seed)
        self.store, self.count = store, count
        self.arrays = {(p, kind): rng.standard_normal(size, np.float32) for p in range(count) for kind in POSITIONS}
        self.fitness = [0.3, 0.9, 0.1, 0.9, 0.5, 0.7][:count]
        self.publications = {particle: self.publish(particle) for particle in range(count)}
        self.section = {"particles": count, **section}

    def publish(self, particle: int, best_round: int = ROUND - 2) -> Publication:
        digests = {
            str(kind): self.store.put(particle, kind, when, [self.arrays[particle, kind]], self.size)
            for kind, when in ((Kind.BEFORE, ROUND), (Kind.AFTER, ROUND), (Kind.BEST, best_round))
        }
        fitness = self.fitness[particle]
        return Publication(particle, ROUND, 0.0, best_round, fitness, **digests, learning_rate=0.3, row={}, train_sec=1)

    @property
    def size(self) -> int:
        return len(self.arrays[0, Kind.AFTER])

    @property
    def config(self) -> SwarmConfig:
        return SwarmConfig.model_validate({"seed": SEED, "swarm": self.section})

    def move(self, particle: int, members: Sequence[int] | None = None, **options: object) -> Move:
        taking_part = {m: self.publications[m] for m in members or range(self.count)}
        return exchange(self.store, self.config, particle, ROUND, taking_part, **options)

    def result(self, particle: int) -> np.ndarray:
        position = self.store.get(particle, Kind.BEFORE, ROUND + 1)
        position.verify()
        return np.array(position.array)

    def expected(self, particle: int, members: Sequence[int] | None = None) -> np.ndarray:
        """By the public functions."""
        swarm = self.config.swarm
        members = list(members or range(self.count))
        where = Kind.AFTER if swarm.variant == "released" else Kind.BEFORE
        distances = {m: self.distance(particle, m, where) for m in members}
        order = sorted(members, key=lambda m: (m != particle, distances[m], m))[: min(swarm.nearest + 1, len(members))]
        chosen = max(order, key=lambda m: self.fitness[m])
        before, after = self.arrays[particle, Kind.BEFORE], self.arrays[particle, Kind.AFTER]
        best, own_best = self.arrays[chosen, Kind.BEST], self.arrays[particle, Kind.BEST]
        r1, r2 = draws(SEED, ROUND, particle)
        coupling = swarm.coupling_matrix()[particle]
        others = [Neighbour(self.arrays[m, Kind.BEFORE], self.arrays[m, Kind.AFTER], coupling[m]) for m in order[1:]]
        options = {"beta": swarm.beta, "variant": swarm.variant, "distance": swarm.distance}
        if swarm.dynamic == "dynamic_1":
            return dynamics.dynamic_1(
                before, after, others, best, own_best, c1=swarm.c1, c2=swarm.c2, r1=r1, r2=r2, **options
            )
        if swarm.dynamic == "dynamic_2":
            return dynamics.dynamic_2(before, after, others, best, learning_rate=0.3, c=swarm.c2, r=r2, **options)
        if swarm.dynamic == "towards_best":
            return dynamics.towards_best(after, best, c2=swarm.c2, r2=r2)
        return dynamics.average([self.arrays[m, Kind.AFTER] for m in sorted(order)])

    def distance(self, one: int, other: int, kind: Kind) -> float:
        step = self.arrays[one, kind].astype(float) - self.arrays[other, kind].astype(float)
        return float(np.sqrt(np.sum(step * step)))


SECTIONS = [
    {"dynamic": "dynamic_1"},
    {"dynamic": "dynamic_1", "variant": "released", "beta": 0.5},
    {"dynamic": "dynamic_1", "neighbours": 1, "distance": "rms"},
    {"dynamic": "dynamic_2", "neighbours": 2},
    {"dynamic": "dynamic_2", "variant": "attract", "distance": "rms"},
    {"dynamic": "dynamic_2", "variant": "released"},
    {"dynamic": "towards_best"},
    {"dynamic": "average"},
    {"dynamic": "average", "neighbours": 2},
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: "-".join(map(str, section.values())))
def test_a_move_is_what_the_equations_say(store: Store, section: dict[str, object]) -> None:
    swarm = Swarm(store, 50, **section)
    for particle in range(4):
        move = swarm.move(particle)
        assert np.array_equal(swarm.result(particle), swarm.expected(particle))
        assert move.before == digest_of(swarm.expected(particle))


@pytest.mark.parametrize("size", [1, ROW + 1, CHUNK - 1, CHUNK, CHUNK + 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_every_size_and_number_of_threads_gives_the_same_bits(directory: DirectoryStore, size: int) -> None:
    swarm = Swarm(directory, size, count=3, coupling=1.0)
    found = [(swarm.move(0, threads=threads), swarm.result(0).tobytes()) for threads in (1, 2, 5)]
    timeless = [(dataclasses.replace(move, exchange_sec=0), weights) for move, weights in found]
    assert timeless[0] == timeless[1] == timeless[2]
    assert np.array_equal(swarm.result(0), swarm.expected(0))


def test_both_stores_give_the_same_bits(tmp_path: Path) -> None:
    digests = set()
    for store in (MemoryStore(), DirectoryStore(tmp_path / "swarm")):
        digests.add(Swarm(store, 70_000).move(2).before)
        store.close()
    assert len(digests) == 1


def test_what_a_move_tells(store: Store) -> None:
    swarm = Swarm(store, 3, neighbours=2)
    for particle in range(4):  # distances 0, 3, 5 and 12 from particle 0
        swarm.arrays[particle, Kind.BEFORE] = np.array([[0, 0, 0], [0, 3, 0], [12, 0, 0], [0, -3, 4]][particle], "f4")
        swarm.arrays[particle, Kind.AFTER] = swarm.arrays[particle, Kind.BEFORE] + np.array([0, 2, 0], "f4")
        swarm.publications[particle] = swarm.publish(particle)
    move = swarm.move(0, wait_sec=1.5)
    r1, r2 = draws(SEED, ROUND, 0)
    push = 0.2 / 4 + 10 / 6
    bests = [swarm.arrays[p, Kind.BEST] - swarm.arrays[0, Kind.AFTER] for p in (0, 1)]
    assert (move.particle, move.round, move.members, move.wait_sec) == (0, ROUND, (0, 1, 2, 3), 1.5)
    assert move.distances == (0.0, 3.0, 12.0, 5.0)
    assert move.order == (0, 1, 3)
    assert move.chosen == 1  # as good as particle 3, and nearer
    assert move.draws == (r1, r2)
    assert move.weights == pytest.approx((0.2 / 4, 10 / 6))
    assert move.terms["own"] == pytest.approx(2)
    assert move.terms["neighbours"] == pytest.approx(2 * push)
    assert move.terms["own_best"] == pytest.approx(0.5 * r1 * np.linalg.norm(bests[0]))
    assert move.terms["neighbourhood_best"] == pytest.approx(0.5 * r2 * np.linalg.norm(bests[1]))
    assert move.terms["total"] == pytest.approx(np.linalg.norm(swarm.result(0)))
    assert 0 < move.exchange_sec < 60


def test_terms_of_the_average(store: Store) -> None:
    swarm = Swarm(store, 20, dynamic="average")
    move = swarm.move(1)
    afters = [swarm.arrays[p, Kind.AFTER] for p in range(4)]
    assert move.terms["neighbours"] == pytest.approx(np.linalg.norm(np.mean(afters, axis=0) - afters[1]), rel=1e-5)
    assert move.weights == (0.25, 0.25, 0.25)
    assert len({swarm.move(particle).before for particle in range(4)}) == 1


def test_moving_again_gives_the_same_bytes(directory: DirectoryStore) -> None:
    swarm = Swarm(directory, 1000)
    swarm.move(1)
    path = directory.file(1, Kind.BEFORE, ROUND + 1)
    first = path.read_bytes()
    path.unlink()
    swarm.move(1)
    assert path.read_bytes() == first


def test_another_seed_and_another_round_draw_other_numbers(store: Store) -> None:
    swarm = Swarm(store, 10)
    found = {swarm.move(0).before}
    other = swarm.config.model_copy(update={"seed": SEED + 1})
    found.add(exchange(store, other, 0, ROUND, swarm.publications).before)
    found.add(exchange(store, swarm.config, 0, ROUND + 1, swarm.publications).before)
    assert len(found) == 3


@pytest.mark.parametrize("dynamic", ["dynamic_1", "dynamic_2", "towards_best"])
def test_with_all_coefficients_zero_a_move_changes_no_bit(store: Store, dynamic: str) -> None:
    swarm = Swarm(store, 1000, dynamic=dynamic, coupling=0.0, c1=0.0, c2=0.0)
    swarm.arrays[1, Kind.AFTER][:3] = [-0.0, 1e-42, 3e38]
    swarm.publications[1] = swarm.publish(1)
    move = swarm.move(1)
    assert swarm.result(1).tobytes() == swarm.arrays[1, Kind.AFTER].tobytes()
    assert move.before == swarm.publications[1].after
    assert [move.terms[name] for name in ("neighbours", "own_best", "neighbourhood_best")] == [0, 0, 0]


def test_a_particle_alone_is_only_pulled(store: Store) -> None:
    swarm = Swarm(store, 10)
    move = swarm.move(2, members=[2])
    after, best = swarm.arrays[2, Kind.AFTER], swarm.arrays[2, Kind.BEST]
    assert swarm.result(2) == pytest.approx(after + 0.5 * sum(draws(SEED, ROUND, 2)) * (best - after), rel=1e-5)
    assert (move.members, move.distances, move.order, move.weights) == ((2,), (0.0,), (2,), ())


def test_only_members_take_part(store: Store) -> None:
    swarm = Swarm(store, 10, count=5, neighbours=3)
    move = swarm.move(4, members=[0, 2, 4])
    assert move.members == (0, 2, 4)
    assert sorted(move.order) == [0, 2, 4]
    assert np.array_equal(swarm.result(4), swarm.expected(4, [0, 2, 4]))


def test_particles_at_the_same_place_do_not_take_each_other_for_themselves(store: Store) -> None:
    swarm = Swarm(store, 10)
    for particle in range(4):
        swarm.arrays[particle, Kind.BEFORE] = swarm.arrays[0, Kind.BEFORE]
        swarm.publications[particle] = swarm.publish(particle)
    assert swarm.move(2).order == (2, 0, 1, 3)
    assert swarm.move(2).distances == (0.0,) * 4
    assert np.array_equal(swarm.result(2), swarm.expected(2))


def test_permuting_particles_permutes_moves(tmp_path: Path) -> None:
    """Draws belong to the index, so the pulls are left out."""
    straight = Swarm(MemoryStore(), 100, coupling=1.0, c1=0.0, c2=0.0)
    permuted = Swarm(MemoryStore(), 100, coupling=1.0, c1=0.0, c2=0.0)
    places = [2, 0, 3, 1]
    permuted.arrays = {(i, kind): straight.arrays[p, kind] for i, p in enumerate(places) for kind in POSITIONS}
    permuted.publications = {i: permuted.publish(i) for i in range(4)}
    assert [permuted.move(i).before for i in range(4)] == [straight.move(p).before for p in places]


def test_bests_that_are_other_positions_too(store: Store) -> None:
    """After a particle's best round, `best` is its `after`, and the neighbourhood's best may be the same again."""
    swarm = Swarm(store, CHUNK + 3)
    swarm.arrays[1, Kind.BEST] = swarm.arrays[1, Kind.AFTER]
    swarm.publications[1] = swarm.publish(1, best_round=ROUND)
    assert swarm.move(1).chosen == 1
    assert np.array_equal(swarm.result(1), swarm.expected(1))
    swarm.move(0)
    assert np.array_equal(swarm.result(0), swarm.expected(0))


def test_variances_do_not_become_negative(directory: DirectoryStore) -> None:
    size = 2 * BLOCK + 9
    swarm = Swarm(directory, size, count=2)
    ranges = [(3, 5), (CHUNK - 2, CHUNK + 2), (BLOCK - 1, BLOCK + 1), (size - 4, size)]
    free = swarm.expected(0)
    swarm.move(0, non_negative=ranges)
    inside = np.zeros(size, bool)
    for low, high in ranges:
        inside[low:high] = True
    assert np.array_equal(swarm.result(0), np.where(inside, np.maximum(free, 0), free))
    assert (free[inside] < 0).any()


def test_none_goes_on_from_where_training_ended(store: Store) -> None:
    swarm = Swarm(store, 10, dynamic="none")
    move = swarm.move(3)
    assert np.array_equal(swarm.result(3), swarm.arrays[3, Kind.AFTER])
    assert (move.before, move.order, move.weights, move.terms) == (swarm.publications[3].after, (3,), (), {})


def test_what_is_not_needed_is_not_read(directory: DirectoryStore) -> None:
    rows = [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    swarm = Swarm(directory, 10, coupling=rows, neighbours=2)
    for particle, x in enumerate([0.0, 1.0, 2.0, 9.0]):
        swarm.arrays[particle, Kind.BEFORE] = np.full(10, x, np.float32)
        swarm.publications[particle] = swarm.publish(particle)
    for particle in (1, 3):  # one has no coupling, the other one is too far
        directory.file(particle, Kind.AFTER, ROUND).unlink()
    directory.file(2, Kind.BEST, ROUND - 2).unlink()
    assert swarm.move(0).order == (0, 1, 2)
    assert np.array_equal(swarm.result(0), swarm.expected(0))


def flip(path: Path, weight: int) -> None:
    with path.open("r+b") as file:
        file.seek(open_position(path).offset + 4 * weight)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


ALL_READ = [(0, "before"), (0, "after"), (0, "best"), (1, "before"), (1, "after"), (1, "best"), (3, "after")]


@pytest.mark.parametrize(("particle", "kind"), ALL_READ)
@pytest.mark.parametrize("weight", [0, CHUNK + 5, BLOCK, BLOCK + 99])
def test_one_wrong_bit_anywhere_stops_the_move(
    directory: DirectoryStore, particle: int, kind: str, weight: int
) -> None:
    swarm = Swarm(directory, BLOCK + 100)
    path = directory.file(particle, Kind(kind), ROUND - 2 if kind == "best" else ROUND)
    flip(path, weight)
    before = sorted(directory.path.rglob("*"))
    with pytest.raises(DamagedPositionError, match=f"{path.name}.*checksum"):
        swarm.move(0)
    assert sorted(directory.path.rglob("*")) == before
    assert not directory.has(0, Kind.BEFORE, ROUND + 1)


def test_a_particle_too_far_to_learn_from_must_be_whole_too(directory: DirectoryStore) -> None:
    swarm = Swarm(directory, 10, neighbours=1)
    far = ({1, 2, 3} - set(swarm.move(0).order)).pop()
    flip(directory.file(far, Kind.BEFORE, ROUND), 2)
    with pytest.raises(DamagedPositionError, match="checksum"):
        swarm.move(0)


def test_a_reader_keeps_what_it_promises_and_hashes_once(tmp_path: Path) -> None:
    inputs, arrays = {}, {}
    for place, name in enumerate("kabc"):
        arrays[name] = np.full(5, place, np.float32)
        write(tmp_path / name, [arrays[name]], 5)
        inputs[name] = Input(open_position(tmp_path / name), os.open(tmp_path / name, os.O_RDONLY))
    digest = {name: one.position.digest for name, one in inputs.items()}
    reader = Reader(inputs, ["k"], frozenset({digest["b"]}))
    reader.turn_to(0, 5)
    kept, recent = reader("k"), reader("a")
    before = "a"
    for name in "bacab":
        last, recent = recent, reader(name)
        assert [last[0], recent[0], kept[0]] == [arrays[before][0], arrays[name][0], 0]
        before = name
    assert reader.end_block() == {digest[n]: xxhash.xxh3_128_digest(arrays[n]) for n in "kac"}
    for one in inputs.values():
        os.close(one.descriptor)


def test_another_position_than_the_announced_one_stops_the_move(store: Store) -> None:
    swarm = Swarm(store, 10)
    store.put(3, Kind.AFTER, ROUND, [np.zeros(10, np.float32)], 10)
    with pytest.raises(DamagedPositionError, match="was announced"):
        swarm.move(0)
    assert not store.has(0, Kind.BEFORE, ROUND + 1)


def test_a_position_of_another_model_stops_the_move(store: Store) -> None:
    swarm = Swarm(store, 10)
    digest = store.put(3, Kind.BEFORE, ROUND, [swarm.arrays[3, Kind.BEFORE][:9]], 9)
    swarm.publications[3] = dataclasses.replace(swarm.publications[3], before=digest)
    with pytest.raises(UserError, match=r"expected 10 weights in .*, got 9"):
        swarm.move(0)


def test_a_file_that_shrinks_while_it_is_read_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for path in paths:
        write(path, [np.ones(BLOCK, np.float32)], BLOCK)
    with Passes() as passes:
        for path in paths:
            passes.add(path.name, open_position(path))
        os.truncate(paths[1], 100_000)
        os.truncate(paths[0], 100_000)
        with pytest.raises(DamagedPositionError, match="truncated: it ends at byte 100000"):
            passes.distances(paths[0].name, [paths[1].name])


@pytest.mark.parametrize(
    ("particle", "kind", "message"),
    [(2, Kind.BEFORE, "particle-1 to particle-3"), (2, Kind.AFTER, "not finite"), (0, Kind.BEST, "not finite")],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("error")
def test_weights_that_are_not_finite_stop_the_move(
    store: Store, particle: int, kind: Kind, message: str, value: float
) -> None:
    swarm = Swarm(store, 10)
    swarm.arrays[particle, kind][4] = value
    swarm.publications[particle] = swarm.publish(particle)
    with pytest.raises(UserError, match=message):
        swarm.move(0)
    assert not store.has(0, Kind.BEFORE, ROUND + 1)


def test_a_missing_position_and_a_stranger_are_told(store: Store) -> None:
    swarm = Swarm(store, 10)
    with pytest.raises(UserError, match="particle-4 is not among the members of round 4: particle-1, particle-2"):
        swarm.move(3, members=[0, 1])
    gone = dataclasses.replace(swarm.publications[1], round=ROUND + 7)
    with pytest.raises(UserError, match="not there"):
        exchange(store, swarm.config, 0, ROUND, {**swarm.publications, 1: gone})


def test_files_are_closed_whatever_happens(directory: DirectoryStore) -> None:
    swarm = Swarm(directory, 10)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    swarm.move(0)
    flip(directory.file(0, Kind.AFTER, ROUND), 3)
    with pytest.raises(DamagedPositionError):
        swarm.move(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


MEMORY_PROGRAM = """
import json, pathlib, sys, threading, time
from keras_actrec.swarm.exchange import exchange
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.swarm.state import Publication, from_json
from keras_actrec.swarm.store import DirectoryStore

def own():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

folder, documents, threads = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
publications = {one["particle"]: from_json(Publication, one) for one in documents}
store = DirectoryStore.weights_only(folder)
config = SwarmConfig.model_validate({"swarm": {"particles": len(publications)}})
peak, done = [own()], threading.Event()
def sample():
    while not done.wait(0.001):
        peak[0] = max(peak[0], own())
sampler = threading.Thread(target=sample)
before = own()
sampler.start()
exchange(store, config, 0, 4, publications, threads=threads)
done.set()
sampler.join(10)
print(peak[0] - before)
"""


def own_memory(store: DirectoryStore, publications: Mapping[int, Publication], threads: int) -> int:
    """Return by how many bytes a process grows, file pages apart, while it makes a move."""
    documents = json.dumps([dataclasses.asdict(one) for one in publications.values()])
    command = [sys.executable, "-c", MEMORY_PROGRAM, str(store.path), documents, str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def publish_large(store: DirectoryStore, size: int, count: int) -> dict[int, Publication]:
    noise = np.random.default_rng(0).standard_normal(BLOCK, np.float32)
    found = {}
    for particle in range(count):
        digests = {}
        for place, kind in enumerate((Kind.BEFORE, Kind.AFTER)):
            parts = (noise[: size - start] * (particle + place + 1) for start in range(0, size, BLOCK))
            digests[str(kind)] = store.put(particle, kind, ROUND, parts, size)
        store.alias(particle, (Kind.AFTER, ROUND), (Kind.BEST, ROUND))
        digests["best"] = digests["after"]
        found[particle] = Publication(
            particle, ROUND, 0, ROUND, particle, **digests, learning_rate=1, row={}, train_sec=1
        )
    return found


@pytest.mark.integration
def test_own_memory_is_a_small_part_of_one_model(directory: DirectoryStore) -> None:
    size, buffers = 20_000_000, 2 * 9 * 4 * CHUNK
    grown = own_memory(directory, publish_large(directory, size, 3), threads=2)
    assert grown < 0.1 * 4 * size + buffers


@pytest.mark.integration
def test_own_memory_does_not_depend_on_the_number_of_particles(directory: DirectoryStore) -> None:
    publications = publish_large(directory, 2_000_000, 9)
    few, many = (own_memory(directory, {p: publications[p] for p in range(n)}, threads=1) for n in (2, 9))
    assert many < few + 3_000_000
