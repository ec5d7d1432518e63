"""What the number of neighbours, sketches and half precision do to what a swarm learns.

python benchmarks/swarm_learning.py landscapes [--largest 1000] [--seeds 5] [--rounds 40]
python benchmarks/swarm_learning.py neighbours [--largest 100] [--seeds 3] [--rounds 10]
python benchmarks/swarm_learning.py precision [--seeds 10] [--rounds 15]
python benchmarks/swarm_learning.py sketches [--largest 100] [--rounds 10] [--hidden 256]

- `landscapes`: N particles on Rastrigin's and Ackley's landscapes in 10 dimensions; the mean over seeds of the lowest
  loss of the swarm, for k = 0, 2, 8 and all neighbours. Training is one step of gradient descent a round.
- `neighbours`: N networks (64-32-10, 2,410 weights) learn the handwritten digits of scikit-learn (1,000 images, 300 for
  validation, 497 for the test), by plain SGD, an epoch a round, with rates that differ as the paper's do, Dynamic 1 as
  printed with `distance: rms`. The move is `exchange.exchange`, as in any swarm, over stores in memory. Test accuracy
  of the network that validation chooses, and the mean over the networks, for k, by exact distances and by sketches.
- `precision`: eight of them, all neighbours, `swarm.exchange` float32, float16 and bfloat16, the same seeds: paired
  differences of the mean test accuracy to float32 with 95 % intervals; and how well others see the displacements
  (after - before): relative error of their copies, for bfloat16 also as rounding to the nearest would give it.
- `sketches`: N networks after some rounds with k = 4: errors of the distances by sketches over all pairs, the bound of
  `swarm.sketch` for a peak of 1 and the peak that they have, the share of right neighbours, and by how much those found
  are farther away than the right ones.

A number is reported with its spread over seeds; nothing is chosen by test accuracy.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from keras_actrec import files
from keras_actrec.swarm import precision, sharing, sketch
from keras_actrec.swarm.exchange import exchange
from keras_actrec.swarm.settings import SwarmConfig, generator
from keras_actrec.swarm.simulation.rounds import Rules, play, start
from keras_actrec.swarm.sketch import Projection
from keras_actrec.swarm.state import Kind, Publication
from keras_actrec.swarm.store import MemoryStore

COUNTS = (2, 4, 10, 30, 100, 300, 1000)
PIXELS, HIDDEN, CLASSES = 64, 32, 10
K = 4
"""Neighbours in the study of sketches."""
BATCH = 25
RATES = [0.3, 0.1, 0.03, [0.01, 1.0]]
STUDENT = {2: 4.303, 4: 2.776, 9: 2.262, 14: 2.145, 19: 2.093, 29: 2.045}
"""97.5 % quantile of Student's t, by degrees of freedom."""


@dataclasses.dataclass(frozen=True)
class Digits:
    """Images (n, 64) and classes (n,) of the three splits."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def digits() -> Digits:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images, classes = (found.data[order] / 16).astype(np.float32), found.target[order]
    parts = [(images[first:last], classes[first:last]) for first, last in ((0, 1000), (1000, 1300), (1300, None))]
    return Digits(*parts)


class Network:
    """A perceptron with one hidden layer of rectified units, in one vector of weights."""

    def __init__(self, seed: int, hidden: int = HIDDEN) -> None:
        rng = np.random.default_rng(seed)
        self.widths, parts = (PIXELS, hidden, CLASSES), []
        for inputs, outputs in itertools.pairwise(self.widths):
            parts += [rng.standard_normal(inputs * outputs, np.float32) * np.float32((2 / inputs) ** 0.5)]
            parts += [np.zeros(outputs, np.float32)]
        self.weights = np.concatenate(parts)

    def layers(self, vector: np.ndarray) -> list[np.ndarray]:
        """Return views of a vector as matrices and offsets."""
        found, first = [], 0
        for inputs, outputs in itertools.pairwise(self.widths):
            found.append(vector[first : first + inputs * outputs].reshape(inputs, outputs))
            found.append(vector[first + inputs * outputs : first + (inputs + 1) * outputs])
            first += (inputs + 1) * outputs
        return found

    def epoch(self, images: np.ndarray, classes: np.ndarray, rate: float, rng: np.random.Generator) -> None:
        """Descend once through the images."""
        for batch in np.array_split(rng.permutation(len(images)), len(images) // BATCH):
            self.weights -= np.float32(rate) * self._gradient(images[batch], classes[batch])

    def _gradient(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        slope = np.zeros_like(self.weights)
        first, first_offset, second, second_offset = self.layers(self.weights)
        to_first, to_first_offset, to_second, to_second_offset = self.layers(slope)
        hidden = np.maximum(images @ first + first_offset, 0)
        shares = softmax(hidden @ second + second_offset)
        shares[np.arange(len(classes)), classes] -= 1
        shares /= np.float32(len(classes))
        to_second[:], to_second_offset[:] = hidden.T @ shares, shares.sum(0)
        back = (shares @ second.T) * (hidden > 0)
        to_first[:], to_first_offset[:] = images.T @ back, back.sum(0)
        return slope

    def judge(self, images: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
        """Return mean cross entropy and accuracy."""
        first, first_offset, second, second_offset = self.layers(self.weights)
        shares = softmax(np.maximum(images @ first + first_offset, 0) @ second + second_offset)
        right = shares[np.arange(len(classes)), classes]
        return float(-np.log(np.maximum(right, 1e-12)).mean()), float((shares.argmax(1) == classes).mean())


def softmax(logits: np.ndarray) -> np.ndarray:
    found = np.exp(logits - logits.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)


class Swarm:
    """Networks that learn the digits, published and moved as those of any swarm."""

    def __init__(self, data: Digits, rounds: int, seed: int, hidden: int = HIDDEN, **section: object) -> None:
        self.data, self.rounds = data, rounds
        swarm = {"coupling": 0.2, "distance": "rms", "learning_rates": RATES, **section}
        document = {"seed": seed, "training": {"epochs": rounds}, "swarm": swarm}
        self.config = SwarmConfig.model_validate(document)
        self.networks = [Network(1000 * seed + index, hidden) for index in range(self.config.swarm.particles)]
        self.store = MemoryStore()
        self.own = self.store if self.config.swarm.exchange == precision.FLOAT32 else MemoryStore()
        self.best = [(1, -np.inf, 0.0)] * len(self.networks)

    def run(self) -> dict[str, float]:
        """Train; return the test accuracy of the network that validation chooses, and the mean of all."""
        for index, network in enumerate(self.networks):
            self.own.put(index, Kind.BEFORE, 1, [network.weights], len(network.weights))
        for number in range(1, self.rounds + 1):
            published = {index: self._train(index, number) for index in range(len(self.networks))}
            if number < self.rounds and self.config.swarm.dynamic != "none":
                self._move(number, published)
            elif number < self.rounds:
                for index in published:
                    self.own.alias(index, (Kind.AFTER, number), (Kind.BEFORE, number + 1))
            bests = {index: [told.best_round] for index, told in published.items()}
            for store in (self.store, self.own):
                store.prune(number + 1, bests)
        chosen = max(self.best, key=lambda best: best[1])
        return {"best": chosen[2], "mean": statistics.mean(best[2] for best in self.best)}

    def _train(self, index: int, number: int) -> Publication:
        network, seed = self.networks[index], self.config.seed
        rate = self.config.swarm.rate(index)
        if isinstance(rate, tuple):
            low, high = np.log10(rate)
            rate = float(10 ** generator(seed, number, index, "rate").uniform(low, high))
        network.epoch(*self.data.train, rate, generator(seed, number, index, "order"))
        self.own.put(index, Kind.AFTER, number, [network.weights], len(network.weights))
        loss, _ = network.judge(*self.data.validation)
        if -loss > self.best[index][1]:
            self.best[index] = (number, -loss, network.judge(*self.data.test)[1])
            self.own.alias(index, (Kind.AFTER, number), (Kind.BEST, number))
        best_round, best_fitness, _ = self.best[index]
        digests = sharing.share(self.own, self.store, self.config, index, number, best_round)
        rest = {"learning_rate": rate, "row": {}, "train_sec": 0.0}
        return Publication(index, number, -loss, best_round, best_fitness, **digests, **rest)

    def _move(self, number: int, published: dict[int, Publication]) -> None:
        for index in published:
            exchange(self.store, self.config, index, number, published, own=self.own, threads=1)
        for index, network in enumerate(self.networks):
            network.weights = np.array(self.own.get(index, Kind.BEFORE, number + 1).array)


def landscapes(args: argparse.Namespace) -> list[dict[str, object]]:
    rows = []
    for name in args.landscapes:
        print(
            f"\n{name}, 10 dimensions: lowest loss of the swarm after {args.rounds} rounds, mean (standard deviation)"
        )
        print(f"{'N':>5} | " + " ".join(f"{'k = ' + k:>14}" for k in ("none", "2", "8", "all")))
        for count in [count for count in COUNTS if args.smallest <= count <= args.largest]:
            cells = []
            for k in (0, 2, 8, count - 1):
                if (k == 8 and count <= 9) or (k == 2 and count <= 3) or (k == count - 1 and count > 100):
                    cells.append(f"{'-':>14}")  # the same as all; or hours
                    continue
                found = [lowest(name, count, k, seed, args.rounds) for seed in range(1, args.seeds + 1)]
                rows.append({"landscape": name, "particles": count, "neighbours": k, "losses": found})
                cells.append(f"{statistics.mean(found):>7.2f} ({statistics.stdev(found):>4.2f})")
            print(f"{count:>5} | " + " ".join(cells), flush=True)
    return rows


def lowest(name: str, count: int, k: int, seed: int, rounds: int) -> float:
    """Return the lowest loss; without neighbours particles do not move, as with dynamic `none`."""
    dynamic = "dynamic_1" if k else "none"
    rules = Rules(landscape=name, particles=count, neighbours=k, dimensions=10, seed=seed, dynamic=dynamic)
    state = start(rules)
    for _ in range(rounds):
        state, _ = play(rules, state)
    return float(state.losses.min())


def neighbours(args: argparse.Namespace) -> list[dict[str, object]]:
    data, rows = digits(), []
    print(f"{'N':>5} {'k':>5} {'by':>7} | {'best by validation':>20} {'mean of all':>16} | {'s per round':>11}")
    for count in [count for count in COUNTS if args.smallest <= count <= args.largest]:
        for k, by in arms(count):
            section = {"particles": count, "neighbours": k, "nearest_by": by, "sketch_size": args.numbers}
            if k == 0:
                section["dynamic"] = "none"
            began = time.perf_counter()
            found = [Swarm(data, args.rounds, seed, **section).run() for seed in range(1, args.seeds + 1)]
            seconds = (time.perf_counter() - began) / args.seeds / args.rounds
            rows.append({"particles": count, "neighbours": k, "by": by, "results": found, "round_sec": seconds})
            best, mean = (spread([100 * one[name] for one in found]) for name in ("best", "mean"))
            print(f"{count:>5} {k:>5} {by:>7} | {best:>20} {mean:>16} | {seconds:>11.2f}", flush=True)
    return rows


def arms(count: int) -> Iterator[tuple[int, str]]:
    """Give numbers of neighbours, and how they are found."""
    yield 0, "exact"
    for k in (2, 8):
        if k < count - 1:
            yield k, "exact"
            yield k, "sketch"
    if count <= 100:
        yield count - 1, "exact"


def spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ({statistics.stdev(values):.2f})" if len(values) > 1 else f"{values[0]:.2f}"


def at_precision(args: argparse.Namespace) -> list[dict[str, object]]:
    data, rows = digits(), []
    for name in precision.NAMES:
        swarms = [Swarm(data, args.rounds, seed, particles=8, exchange=name) for seed in range(1, args.seeds + 1)]
        found = [swarm.run() for swarm in swarms]
        rows.append({"exchange": name, "results": found})
        if name == precision.FLOAT32:
            errors = displacement_errors(swarms)
    print("test accuracy in points, eight networks; paired difference to float32 (95 % interval)")
    for row in rows:
        line = f"{row['exchange']:>9}"
        for what in ("best", "mean"):
            values = [100 * one[what] for one in row["results"]]
            exact = [100 * one[what] for one in rows[0]["results"]]
            line += f" | {what} {spread(values):>13}  {interval([a - b for a, b in zip(values, exact, strict=True)])}"
        print(line)
    print("relative error of displacements as others see them, median over networks of the last round")
    for name, error in errors.items():
        print(f"{name:>20}: {error:.2%}")
    return [*rows, {"displacement_errors": errors}]


def interval(values: Sequence[float]) -> str:
    if not any(values):
        return "0"
    half = STUDENT.get(len(values) - 1, 1.96) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.mean(values)
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"


def displacement_errors(swarms: Sequence[Swarm]) -> dict[str, float]:
    found: dict[str, list[float]] = {"float16": [], "bfloat16": [], "bfloat16 to nearest": []}
    for swarm in swarms:
        for index, network in enumerate(swarm.networks):
            before = network.weights.copy()
            network.epoch(*swarm.data.train, 0.03, generator(swarm.config.seed, 99, index, "order"))
            step = network.weights - before
            for name, errors in found.items():
                short = name.split()[0]
                seeds = [None if "nearest" in name else np.random.default_rng(index) for _ in range(2)]
                seen = precision.rounded(network.weights, short, seeds[0]) - precision.rounded(before, short, seeds[1])
                errors.append(float(np.linalg.norm(seen - step) / np.linalg.norm(step)))
    return {name: statistics.median(errors) for name, errors in found.items()}


def sketches(args: argparse.Namespace) -> list[dict[str, object]]:
    """Compare sketches of trained networks with their positions."""
    swarm = Swarm(digits(), args.rounds, 1, particles=args.largest, neighbours=K, hidden=args.hidden)
    swarm.run()
    positions = np.array([network.weights for network in swarm.networks])
    exact = np.array([np.linalg.norm(positions.astype(float) - one, axis=1) for one in positions])
    print(f"{len(positions)} networks of {positions.shape[1]:,} weights, all pairs, k = {K}")
    rows = [fidelity(positions, exact, numbers) for numbers in (64, 256, 1024, 4096)]
    print("numbers | largest error  median | bound (99 %)   peak | right neighbours  farther: mean  largest")
    for row in rows:
        line = f"{row['numbers']:>7} | {row['largest']:>13.1%} {row['median']:>7.2%} | {row['bound']:>12.1%}"
        line += f" {row['peak']:>6.2f} | {row['right']:>16.1%} {row['farther']:>14.2%} {row['farthest']:>8.1%}"
        print(line)
    return rows


def fidelity(positions: np.ndarray, exact: np.ndarray, numbers: int) -> dict[str, float]:
    projection = Projection(numbers, (1, 2))
    found = [projection.of([position]) for position in positions]
    estimated = np.array([sketch.distances(one, found) for one in found])
    apart = ~np.eye(len(positions), dtype=bool)
    errors = np.abs(estimated[apart] / exact[apart] - 1)
    shares, excess = [], []
    for own in range(len(positions)):
        others = apart[own]
        wanted, chosen = (np.argsort(table[own][others])[:K] for table in (exact, estimated))
        shares.append(len({*wanted} & {*chosen}) / K)
        excess.append(np.sort(exact[own][others][chosen]) / exact[own][others][wanted] - 1)
    energies = [projection.energies([one - other]) for one, other in itertools.pairwise(positions)]
    return {
        "numbers": numbers,
        "largest": errors.max(),
        "median": float(np.median(errors)),
        "bound": sketch.relative_error(numbers, len(positions)),
        "peak": statistics.median(numbers * one.max() / one.sum() for one in energies),
        "right": statistics.mean(shares),
        "farther": float(np.mean(excess)),
        "farthest": float(np.max(excess)),
    }


STUDIES = {"landscapes": landscapes, "neighbours": neighbours, "precision": at_precision, "sketches": sketches}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--largest", type=int, default=100, help="most particles")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--smallest", type=int, default=2, help="fewest particles")
    parser.add_argument("--landscapes", nargs="+", default=["rastrigin", "ackley"])
    parser.add_argument("--hidden", type=int, default=256, help="units of the networks in the study of sketches")
    parser.add_argument("--numbers", type=int, default=1024, help="of a sketch")
    parser.add_argument("--output", type=Path, help="write the numbers to this JSON file")
    args = parser.parse_args(argv)
    rows = STUDIES[args.study](args)
    if args.output:
        settings = {name: value for name, value in vars(args).items() if name != "output"}
        files.write_json(args.output, {"settings": settings, "cores": os.cpu_count(), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
