"""How long a particle's move takes, against copying the same bytes with `cp`, in one run on the same files.

    python benchmarks/swarm_exchange.py [--check] [--millions 80] [--particles 4] [--folder DIR] [--output report.json]

One particle moves by Dynamic 1 as printed, in a store of its own in DIR, which is removed afterwards. Contestants:

- `move`: `exchange`: distances to all, choice of the best, update, all checksums verified, checksum of the result,
  published atomically;
- `cp`: `cp --reflink=never` of exactly those files that the move reads, each once, into another folder of the same file
  system: N times before, N times after, the particle's own best and the neighbourhood's best, 2 N + 2 files (10 for 4
  particles). That is the yardstick of "copying the same bytes": all of them are read and written. The move reads the
  same, the `before`s twice, and writes one file;
- `sketch`: the same sums in a plain loop over memory maps, one thread, no checksums, nothing published;
- `loop`: as in the code that the authors released, one Python step per weight of NumPy arrays; on fewer weights,
  scaled. (Their logs show 5.5 s per million weights and move, on their machines, with reading the files.)

Data are in the page cache at the start for all, as they are when particles have just published. What reached the disk
counts in two ways, alike for both: `cp` and `move` without any fsync (the move's are switched off), and `cp` followed
by `sync` of what it wrote against `move` as it is, which syncs its file and folder. Pending writes of earlier rounds
are flushed before each start of the clock, and copies removed. Rounds are interleaved, so that a busy machine slows
all alike; a ratio is the median over rounds of the quotient within a round. `--check` fails unless the move takes at
most 1.25 x `cp` both ways and its process, newly started, stays below 0.2 GB of memory of its own (RssAnon, at its
peak, the interpreter and its modules included; file pages belong to the system's cache).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from keras_actrec import files
from keras_actrec.swarm.exchange import exchange
from keras_actrec.swarm.positions import BLOCK
from keras_actrec.swarm.settings import SwarmConfig, draws
from keras_actrec.swarm.state import Kind, Publication, from_json, to_json
from keras_actrec.swarm.store import DirectoryStore

PARTICLE, ROUND = 1, 1
RATIO, MEMORY_GB = 1.25, 0.2
TIMEOUT_SEC = 600


class Scene:
    """A store with a round that has been published, and a particle about to move."""

    def __init__(self, folder: Path, size: int, particles: int) -> None:
        self.folder, self.size = folder, size
        self.config = SwarmConfig.model_validate({"swarm": {"particles": particles}})
        self.store = DirectoryStore.weights_only(folder / "swarm")
        self.copies = folder / "copies"
        self.target = self.store.file(PARTICLE, Kind.BEFORE, ROUND + 1)

    def publish(self) -> None:
        """Write all positions; the last particle's best is the best of all."""
        found = [self._publication(particle) for particle in range(self.config.swarm.particles)]
        files.write_json(self.folder / "publications.json", [to_json(one) for one in found])

    def _publication(self, particle: int) -> Publication:
        kinds = {
            kind: self.store.put(particle, kind, ROUND, noise(self.size, seed=[particle, place]), self.size)
            for place, kind in enumerate((Kind.BEFORE, Kind.AFTER, Kind.BEST))
        }
        return Publication(
            particle=particle,
            round=ROUND,
            fitness=float(particle),
            best_round=ROUND,
            best_fitness=float(particle),
            before=kinds[Kind.BEFORE],
            after=kinds[Kind.AFTER],
            best=kinds[Kind.BEST],
            learning_rate=0.01,
            row={},
            train_sec=0.0,
        )

    @property
    def publications(self) -> dict[int, Publication]:
        """What the particles announced."""
        documents = files.read_json(self.folder / "publications.json")
        return {one["particle"]: from_json(Publication, one) for one in documents}

    @property
    def inputs(self) -> list[Path]:
        """The files that the move reads."""
        everyone = range(self.config.swarm.particles)
        places = [(particle, kind) for particle in everyone for kind in (Kind.BEFORE, Kind.AFTER)]
        places += [(PARTICLE, Kind.BEST), (self.config.swarm.particles - 1, Kind.BEST)]
        return [self.store.file(particle, kind, ROUND) for particle, kind in places]

    def move(self) -> None:
        """Move as a particle does."""
        exchange(self.store, self.config, PARTICLE, ROUND, self.publications)

    def move_unsynced(self) -> None:
        """Move, but leave it to the system when data reach the disk."""
        with mock.patch("os.fsync"):
            self.move()

    def copy(self) -> list[str]:
        """Copy the inputs with `cp`; return the names of the copies."""
        names = [str(path.relative_to(self.store.path)) for path in self.inputs]
        command = ["cp", "--reflink=never", "--parents", *names, str(self.copies)]
        subprocess.run(command, cwd=self.store.path, check=True, timeout=TIMEOUT_SEC)
        return [str(self.copies / name) for name in names]

    def copy_synced(self) -> None:
        """Copy, and wait until the copies are on the disk."""
        subprocess.run(["sync", *self.copy()], check=True, timeout=TIMEOUT_SEC)

    def sketch(self) -> None:
        """Move by the sketch."""
        Sketch(self).run()

    def prepare(self) -> None:
        """Outside the clock: remove what the last contestant wrote, and flush what is pending."""
        shutil.rmtree(self.copies, ignore_errors=True)
        self.copies.mkdir()
        for path in (self.target, self.folder / "sketch.bin"):
            path.unlink(missing_ok=True)
        os.sync()


def noise(size: int, seed: Sequence[int]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for start in range(0, size, BLOCK):
        yield rng.standard_normal(min(BLOCK, size - start), np.float32) * np.float32(0.02)


class Sketch:
    """Dynamic 1 on memory maps, piece by piece, one thread, without checksums."""

    PIECE = 1 << 16

    def __init__(self, scene: Scene) -> None:
        self.scene, self.particles = scene, scene.config.swarm.particles
        everyone = range(self.particles)
        self.before, self.after = (
            [scene.store.get(p, kind, ROUND).array for p in everyone] for kind in (Kind.BEFORE, Kind.AFTER)
        )
        self.bests = [scene.store.get(p, Kind.BEST, ROUND).array for p in (PARTICLE, self.particles - 1)]

    def run(self) -> None:
        """Make the move."""
        weights = self.weights()
        pulls = [0.5 * float(r) for r in draws(self.scene.config.seed, ROUND, PARTICLE)]
        result = np.memmap(self.scene.folder / "sketch.bin", np.float32, "w+", shape=(self.scene.size,))
        for start in range(0, self.scene.size, self.PIECE):
            part = slice(start, start + self.PIECE)
            after = self.after[PARTICLE][part]
            total = after.copy()
            for other, weight in weights.items():
                total += weight * (self.after[other][part] - self.before[other][part])
            for pull, best in zip(pulls, self.bests, strict=True):
                total += pull * (best[part] - after)
            result[part] = total

    def weights(self) -> dict[int, float]:
        """Return f for each other particle."""
        coupling = self.scene.config.swarm.coupling_matrix()[PARTICLE]
        others = [other for other in range(self.particles) if other != PARTICLE]
        squares = dict.fromkeys(others, 0.0)
        for start in range(0, self.scene.size, self.PIECE):
            part = slice(start, start + self.PIECE)
            for other in others:
                step = self.before[PARTICLE][part] - self.before[other][part]
                squares[other] += float(np.dot(step, step))
        return {other: float(coupling[other]) / (1 + square**0.5) for other, square in squares.items()}


def loop_sec_per_weight(particles: int, size: int) -> float:
    """One Python step per weight: distances to all others, then one update."""
    rng = np.random.default_rng(0)
    befores, afters = ([rng.random(size, np.float32) for _ in range(particles)] for _ in range(2))
    best = rng.random(size, np.float32)
    started = time.perf_counter()
    weights = []
    for other in range(1, particles):
        total = 0.0
        for i in range(size):
            total += (afters[0][i] - afters[other][i]) ** 2
        weights.append(0.2 / (1 + total**0.5))
    pushes = np.zeros(size, np.float32)
    for other, weight in enumerate(weights, start=1):
        for i in range(size):
            pushes[i] += weight * (afters[other][i] - befores[other][i])
    for i in range(size):
        pushes[i] = afters[0][i] + pushes[i] + 0.25 * (best[i] - afters[0][i])
    return (time.perf_counter() - started) / size


def measure(scene: Scene, rounds: int) -> dict[str, list[float]]:
    contestants: dict[str, Callable[[], object]] = {
        "cp": scene.copy,
        "move without fsync": scene.move_unsynced,
        "cp, sync": scene.copy_synced,
        "move": scene.move,
        "sketch": scene.sketch,
    }
    order = list(contestants)
    times: dict[str, list[float]] = {name: [] for name in order}
    scene.prepare()
    scene.copy()  # not timed: the first to fill so much page cache waits for the machine's memory, whoever it is
    for turn in range(rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            scene.prepare()
            started = time.perf_counter()
            contestants[name]()
            times[name].append(time.perf_counter() - started)
        print(f"round {turn + 1}: " + ", ".join(f"{name} {times[name][-1]:.3f} s" for name in order), flush=True)
    return times


def peak_memory_gb(args: argparse.Namespace, folder: Path) -> float:
    """Peak RssAnon of a new process that makes one move."""
    command = [sys.executable, __file__, "--only-move", "--folder", str(folder), "--millions", str(args.millions)]
    child = subprocess.Popen([*command, "--particles", str(args.particles)])
    peak, deadline = 0, time.monotonic() + TIMEOUT_SEC
    try:
        while child.poll() is None:
            if time.monotonic() > deadline:
                raise SystemExit("the move in a new process takes too long")
            peak = max(peak, own_kilobytes(child.pid))
            time.sleep(0.002)
    finally:
        child.kill()
        child.wait(timeout=10)
    if child.returncode:
        raise SystemExit(f"the move in a new process failed with exit code {child.returncode}")
    return peak * 1024 / 1e9


def own_kilobytes(process: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    return 0


def summary(times: dict[str, list[float]], loop_sec: float, memory_gb: float) -> dict[str, object]:
    def ratio(name: str, other: str) -> float:
        return round(statistics.median(a / b for a, b in zip(times[name], times[other], strict=True)), 3)

    return {
        "seconds": {name: round(statistics.median(walls), 3) for name, walls in times.items()},
        "move_to_cp_without_fsync": ratio("move without fsync", "cp"),
        "move_to_cp_with_sync": ratio("move", "cp, sync"),
        "sketch_to_cp_without_fsync": ratio("sketch", "cp"),
        "loop_to_move": round(loop_sec / statistics.median(times["move"]), 1),
        "loop_seconds_scaled": round(loop_sec, 1),
        "peak_own_memory_gb": round(memory_gb, 4),
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=80, help="million weights per position")
    parser.add_argument("--particles", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop-weights", type=int, default=100_000, help="weights of the Python loop")
    parser.add_argument("--folder", type=Path, help="make the temporary folder in here; default: the system's")
    parser.add_argument("--output", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--check", action="store_true", help=f"fail above {RATIO} x cp or {MEMORY_GB} GB")
    parser.add_argument("--only-move", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    size = int(args.millions * 1e6)
    if args.only_move:
        Scene(args.folder, size, args.particles).move()
        return 0
    if args.folder:
        Path(args.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="swarm-exchange-") as temporary:
        scene = Scene(Path(temporary), size, args.particles)
        scene.publish()
        count, written = len(scene.inputs), sum(path.stat().st_size for path in scene.inputs)
        print(f"{args.particles} particles of {size:,} weights; cp copies {count} files, {written / 1e9:.3f} GB")
        times = measure(scene, args.rounds)
        scene.prepare()
        memory_gb = peak_memory_gb(args, Path(temporary))
    result = summary(times, size * loop_sec_per_weight(args.particles, args.loop_weights), memory_gb)
    print("\n".join(f"{name}: {value}" for name, value in result.items()))
    if args.output:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "numpy": np.__version__}
        files.write_json(args.output, {**result, "bytes": written, "weights": size, "machine": machine})
        print(json.dumps({"output": str(args.output)}))
    worst = max(result["move_to_cp_without_fsync"], result["move_to_cp_with_sync"])
    good = worst <= RATIO and memory_gb < MEMORY_GB
    print(f"the move takes {worst:.2f} x cp and {memory_gb:.3f} GB: {'good' if good else 'over the limit'}")
    return 0 if good or not args.check else 1


if __name__ == "__main__":
    sys.exit(main())
