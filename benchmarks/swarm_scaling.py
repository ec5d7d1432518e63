"""What a round of N particles costs beside training, by exact distances and by sketches, and what ends it.

python benchmarks/swarm_scaling.py [--largest 1000] [--weights 2410 100000 1000000] [--folder DIR] [--output FILE.json]

For each number of weights D and of particles N all positions of a round are published in a store in DIR (removed
afterwards), as many as `--gigabytes` allow. Then some of the N particles move by Dynamic 1 with k = 4 neighbours, one
core each, data in the page cache. Counted and measured:

- `bytes`: what the process reads by system calls (rchar of /proc/self/io) for one move;
- `look`, `move`: core seconds until the neighbours are known, and of the whole move with its checksums and publishing
  (time of the processor, so that a busy machine does not count);
- `make`: core seconds to make and publish one sketch;
- `right`: share of the k nearest that sketches find, and `farther`: mean distance to those found over that to the right
  ones. Positions are particles in groups: a common start, a step of each group, a step of each particle;
- `server`: core seconds that the server's process needs to answer one particle's question for the N publications, and
  the answer's bytes.

The second table turns that into a round of the whole swarm on this machine: N moves on all cores, N answers on one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from fastapi import FastAPI

from keras_actrec import files
from keras_actrec.swarm import exchange as moving
from keras_actrec.swarm import sharing
from keras_actrec.swarm.api import create_router
from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.passes import Passes
from keras_actrec.swarm.settings import SwarmConfig
from keras_actrec.swarm.state import Kind, Publication
from keras_actrec.swarm.store import DirectoryStore

COUNTS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
ROUND, K, GROUPS = 1, 4, 8


def config_of(particles: int, by: str, numbers: int) -> SwarmConfig:
    swarm = {"particles": particles, "neighbours": min(K, particles - 1), "nearest_by": by, "sketch_size": numbers}
    return SwarmConfig.model_validate({"swarm": swarm, "training": {"epochs": 9}})


def position(start: np.ndarray, particle: int, kind: Kind) -> np.ndarray:
    """A common start, the step of a group, that of a particle, that of a round: each smaller than the one before."""
    found = start.copy()
    steps = [(0.02, (1, particle % GROUPS)), (0.01, (2, particle)), (0.003, (3, particle))]
    for size, seed in steps[: 3 if kind is Kind.AFTER else 2]:
        found += np.float32(size) * np.random.default_rng(seed).standard_normal(len(start), np.float32)
    return found


class Scene:
    """N particles that have published a round."""

    def __init__(self, folder: Path, weights: int, particles: int, numbers: int) -> None:
        self.store, self.weights, self.particles = DirectoryStore.weights_only(folder), weights, particles
        self.configs = {by: config_of(particles, by, numbers) for by in ("exact", "sketch")}
        start = 0.05 * np.random.default_rng(0).standard_normal(weights, np.float32)
        self.sketch_sec: list[float] = []
        with without_fsync():
            self.publications = {particle: self._publish(start, particle) for particle in range(particles)}

    def _publish(self, start: np.ndarray, particle: int) -> Publication:
        for kind in (Kind.BEFORE, Kind.AFTER):
            self.store.put(particle, kind, ROUND, [position(start, particle, kind)], self.weights)
        self.store.alias(particle, (Kind.AFTER, ROUND), (Kind.BEST, ROUND))
        began = time.process_time()
        digests = sharing.share(self.store, self.store, self.configs["sketch"], particle, ROUND, ROUND)
        self.sketch_sec.append(time.process_time() - began)
        row = {"val_loss": 1.5, "val_accuracy": 0.25, "loss": 1.25, "accuracy": 0.5, "learning_rate": 0.01}
        rest = {"learning_rate": 0.01, "row": row, "train_sec": 2.5}
        return Publication(particle, ROUND, -1.5, ROUND, float(-particle), **digests, **rest)

    def measure(self, by: str, moves: int) -> dict[str, object]:
        """Let some particles move; return medians and each one's neighbours."""
        looks, walls, read, orders, far = [], [], [], [], []
        for particle in [(7 * move) % self.particles for move in range(moves)]:
            before, began = bytes_read(), time.process_time()
            found = moving.exchange(self.store, self.configs[by], particle, ROUND, self.publications, threads=1)
            walls.append(time.process_time() - began)
            read.append(bytes_read() - before)
            orders.append(found.order)
            far.append(statistics.mean([found.distances[n] for n in found.order[1:]]))
            self.store.file(particle, Kind.BEFORE, ROUND + 1).unlink()
            looks.append(self._look(by, particle))
        medians = {"look_sec": looks, "move_sec": walls, "bytes": read}
        return {name: statistics.median(values) for name, values in medians.items()} | {"orders": orders, "far": far}

    def _look(self, by: str, particle: int) -> float:
        began = time.process_time()
        with Passes(1) as passes:
            mover = moving._Mover(self.store, self.configs[by], particle, ROUND, self.publications, passes, self.store)
            mover.look()
        return time.process_time() - began


@contextlib.contextmanager
def without_fsync() -> Iterator[None]:
    """Thousands of files that live for a minute need not reach the disk."""
    saved, os.fsync = os.fsync, lambda _: None
    try:
        yield
    finally:
        os.fsync = saved


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def measure_cell(folder: Path, weights: int, particles: int, numbers: int, moves: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="swarm-scaling-") as temporary:
        scene = Scene(Path(temporary), weights, particles, numbers)
        found = {by: scene.measure(by, moves) for by in scene.configs}
    right = [
        len({*one[1:]} & {*other[1:]}) / len(one[1:])
        for one, other in zip(found["exact"].pop("orders"), found["sketch"].pop("orders"), strict=True)
    ]
    far = [one / other for one, other in zip(found["sketch"].pop("far"), found["exact"].pop("far"), strict=True)]
    row = {"weights": weights, "particles": particles, "sketch_sec": statistics.median(scene.sketch_sec), **found}
    return row | {"right": statistics.mean(right), "farther": statistics.mean(far)}


def measure_server(particles: int, questions: int) -> dict[str, float]:
    """Ask a server for the publications of a round, as each particle does once per round."""
    journal = Journal(":memory:")
    for particle in range(particles):
        row = {"val_loss": 1.5, "val_accuracy": 0.25, "loss": 1.25, "accuracy": 0.5, "learning_rate": 0.01}
        digests = dict.fromkeys(("before", "after", "best", "sketch"), f"{particle:032x}")
        rest = {"learning_rate": 0.01, "row": row, "train_sec": 2.5}
        journal.add_publication(Publication(particle, ROUND, -1.5, ROUND, -1.5, **digests, **rest))
    coordinator = SimpleNamespace(
        publications=lambda *_: list(journal.published(ROUND).values()), ending=False, store=SimpleNamespace()
    )
    app = FastAPI()
    app.include_router(create_router(coordinator, "token"))
    seconds, size = [], 0
    for _ in range(questions):
        began = time.process_time()
        size = asyncio.run(answer(app, f"/particles/0/rounds/{ROUND}"))
        seconds.append(time.process_time() - began)
    return {"particles": particles, "answer_sec": statistics.median(seconds), "answer_bytes": size}


async def answer(app: FastAPI, path: str) -> int:
    """Ask an application without a network; return the length of the answer."""
    headers = [(b"authorization", b"Bearer token"), (b"x-player", b"one"), (b"host", b"127.0.0.1")]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
    size = 0

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        nonlocal size
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise SystemExit(f"the server answers {message['status']}")
        size += len(message.get("body", b""))

    await app(scope, receive, send)
    return size


def whole_round(row: dict[str, object], answer_sec: float, by: str, cores: int) -> dict[str, float]:
    """Seconds of each resource in one round of the swarm on one machine: moves share the cores, answers one process."""
    particles = row["particles"]
    sketching = row["sketch_sec"] if by == "sketch" else 0.0
    return {
        "cores_sec": particles * (row[by]["move_sec"] + sketching) / cores,
        "server_sec": particles * answer_sec,
        "gigabytes": particles * row[by]["bytes"] / 1e9,
    }


def show(rows: Sequence[dict[str, object]], servers: dict[int, dict[str, float]], cores: int) -> None:
    print(f"\none particle's move (k = {K}, one core)")
    print(f"{'weights':>9} {'N':>5} | {'MB exact':>9} {'sketch':>8} | {'ms exact':>9} {'sketch':>8} | ", end="")
    print(f"{'make ms':>8} | {'right':>6} {'farther':>8}")
    for row in rows:
        exact, quick = row["exact"], row["sketch"]
        print(f"{row['weights']:>9,} {row['particles']:>5} | {exact['bytes'] / 1e6:>9.2f} ", end="")
        print(
            f"{quick['bytes'] / 1e6:>8.2f} | {1e3 * exact['move_sec']:>9.1f} {1e3 * quick['move_sec']:>8.1f} | ", end=""
        )
        print(f"{1e3 * row['sketch_sec']:>8.1f} | {row['right']:>6.1%} {row['farther']:>8.4f}")
    print(f"\na round of the whole swarm on {cores} cores")
    print(f"{'weights':>9} {'N':>5} | {'GB exact':>9} {'sketch':>8} | {'s exact':>8} {'sketch':>8} | {'server s':>8}")
    for row in rows:
        exact, quick = (
            whole_round(row, servers[row["particles"]]["answer_sec"], by, cores) for by in ("exact", "sketch")
        )
        print(
            f"{row['weights']:>9,} {row['particles']:>5} | {exact['gigabytes']:>9.2f} {quick['gigabytes']:>8.2f} | ",
            end="",
        )
        print(f"{exact['cores_sec']:>8.2f} {quick['cores_sec']:>8.2f} | {quick['server_sec']:>8.2f}")
    print("\nthe server's answer to one particle")
    for found in servers.values():
        print(f"{found['particles']:>5} | {1e3 * found['answer_sec']:>8.1f} ms {found['answer_bytes'] / 1e6:>8.3f} MB")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1000, help="most particles")
    parser.add_argument("--weights", type=int, nargs="+", default=[2_410, 100_000, 1_000_000])
    parser.add_argument("--numbers", type=int, default=4096, help="of a sketch")
    parser.add_argument("--moves", type=int, default=5, help="particles that move, of each swarm")
    parser.add_argument("--gigabytes", type=float, default=1.2, help="most that positions of a swarm may take")
    parser.add_argument("--folder", type=Path, help="where the stores are made; default: the system's temporary folder")
    parser.add_argument("--output", type=Path, help="write the numbers to this JSON file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    counts, cores = [count for count in COUNTS if count <= args.largest], os.cpu_count() or 1
    servers = {count: measure_server(count, 7) for count in counts}
    rows = []
    for weights in args.weights:
        for count in counts:
            if 8 * weights * count > args.gigabytes * 1e9:
                break
            rows.append(measure_cell(args.folder, weights, count, args.numbers, args.moves))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    show(rows, servers, cores)
    if args.output:
        machine = {"cores": cores, "load": os.getloadavg(), "numpy": np.__version__, "k": K, "numbers": args.numbers}
        files.write_json(args.output, {"machine": machine, "rows": rows, "servers": list(servers.values())})
    return 0


if __name__ == "__main__":
    sys.exit(main())
