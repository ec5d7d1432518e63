"""One repetition of a comparison: all arms with one seed on one fold, in a process of its own.

    python -m keras_actrec.swarm.compare_run --directory DIR --seed 1 --fold 1

`swarm-compare` starts it. It prints the name of each arm whose result it has published.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_actrec import cli, files
from keras_actrec.errors import UserError
from keras_actrec.locking import HeldError, Lock
from keras_actrec.swarm.compare_settings import Arm, CompareConfig, load_compare_config, swarm_config, trained

if TYPE_CHECKING:
    from keras_actrec.data.manifest import Manifest
    from keras_actrec.evaluation.predict import Predictions
    from keras_actrec.swarm.inline import InlineSwarm, Outcome

CONFIG, RESULTS, WORK = "config.yaml", "results", "work"
LOCK_SEC = 30.0


def result_path(directory: Path, arm: str, seed: int, fold: int) -> Path:
    """Return where the result of one swarm is published."""
    return directory / RESULTS / f"{arm}-seed-{seed}-fold-{fold}.json"


def log_path(directory: Path, seed: int, fold: int) -> Path:
    """Return where the process of a repetition tells what goes wrong."""
    return directory / "logs" / f"seed-{seed}-fold-{fold}.txt"


def arguments(directory: Path, seed: int, fold: int, threads: int) -> list[str]:
    """Return what an interpreter is told so that it runs a repetition."""
    numbers = {"seed": seed, "fold": fold, "threads": threads}
    options = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
    return ["-m", "keras_actrec.swarm.compare_run", "--directory", str(directory), *options]


def failure(log: Path, pair: tuple[int, int], code: int) -> str:
    """Return what went wrong, in one sentence."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = told or lines or ["it said nothing"]
    return (
        f"seed {pair[0]}, fold {pair[1]} ended with code {code}: {said[-1]} (see {log}; the same command goes on from "
        "the last finished swarm)"
    )


def missing(config: CompareConfig, directory: Path, seed: int, fold: int) -> list[Arm]:
    """Return the arms of a repetition whose swarms have not been finished."""
    return [arm for arm in trained(config) if not result_path(directory, arm.name, seed, fold).exists()]


def run(config: CompareConfig, directory: Path, seed: int, fold: int, threads: int) -> Iterator[str]:
    """Train what is missing of one repetition, publish each result, and yield the name of its arm.

    A swarm that was interrupted begins anew.

    Args:
        config: of the comparison.
        directory: of the comparison.
        seed: of the repetition.
        fold: of the repetition.
        threads: for decoding.

    Raises:
        UserError: another process is at the same repetition; a mistake in the configuration or the data.
    """
    arms = missing(config, directory, seed, fold)
    work = directory / WORK / f"seed-{seed}-fold-{fold}"
    if not arms:
        return
    work.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(work.with_suffix(".lock"))
    _acquire(lock, seed, fold)
    try:
        shutil.rmtree(work, ignore_errors=True)
        yield from _run(config, directory, arms, (seed, fold), work, threads)
        shutil.rmtree(work)
    finally:
        lock.release()


def _acquire(lock: Lock, seed: int, fold: int) -> None:
    try:
        lock.acquire(LOCK_SEC)
    except HeldError as error:
        raise UserError(
            f"another process ({error.holder or 'unknown'}) is running seed {seed}, fold {fold} of this comparison; "
            "wait for it to end or stop it first."
        ) from None


def _run(
    config: CompareConfig, directory: Path, arms: Sequence[Arm], pair: tuple[int, int], work: Path, threads: int
) -> Iterator[str]:
    from keras_actrec.swarm.inline import InlineSwarm
    from keras_actrec.training import datasets, distribution

    first = swarm_config(config, arms[0], *pair)
    hardware = distribution.set_up(first.training)
    manifest = datasets.load(first)
    with InlineSwarm(first, manifest, hardware, work, workers=threads) as swarm:
        for arm in arms:
            document = {"arm": arm.name, "seed": pair[0], "fold": pair[1], **_play(config, arm, pair, swarm, manifest)}
            files.write_json(result_path(directory, arm.name, *pair), document)
            yield arm.name


def _play(
    config: CompareConfig, arm: Arm, pair: tuple[int, int], swarm: InlineSwarm, manifest: Manifest
) -> dict[str, Any]:
    """Train one swarm and measure its networks on the test split, each once."""
    from keras_actrec.swarm.store import MemoryStore

    began, store = time.monotonic(), MemoryStore()
    outcomes = swarm.run(swarm_config(config, arm, *pair), store)
    predictions = [member.predict_test() for member in swarm.members]
    moves = [_move(move) for _, move in store.journal.moves()]
    trained_sec = sum(publication.train_sec for _, publication in store.journal.publications())
    store.close()
    return {
        "dataset": manifest.name,
        "model": config.model.name,
        "manifest": manifest.hash,
        "weights": swarm.members[0].size,
        **scores(outcomes, predictions),
        "moves": moves,
        "train_sec": trained_sec,
        "total_sec": time.monotonic() - began,
    }


def scores(outcomes: Sequence[Outcome], predictions: Sequence[Predictions]) -> dict[str, Any]:
    """Return the numbers of a swarm's networks: each one's, that of the one which validation has chosen, their mean.

    The ensemble adds the networks' log-probabilities, which for one clip per video orders the classes as adding their
    logits does.
    """
    from keras_actrec.evaluation import metrics

    tests = [metrics.accuracy(one.probabilities, one.labels) for one in predictions]
    chosen = max(outcomes, key=lambda outcome: outcome.fitness).particle  # the earlier of equals
    return {
        "particles": [_particle(outcome, test) for outcome, test in zip(outcomes, tests, strict=True)],
        "chosen": chosen,
        "best": tests[chosen],
        "mean": sum(tests) / len(tests),
        "ensemble": metrics.accuracy(pooled(predictions), predictions[0].labels),
        "evaluated": len(predictions[0].labels),
        "expected": predictions[0].expected,
    }


def pooled(predictions: Sequence[Predictions]) -> np.ndarray:
    """Return the mean log-probabilities (N, K) of several networks.

    Raises:
        UserError: the networks were not asked about the same clips.
    """
    if any(not np.array_equal(one.indices, predictions[0].indices) for one in predictions):
        raise UserError(
            "the networks of an ensemble must see the same clips, but some could be read for one network only; check "
            "the disk that the videos are on."
        )
    smallest = np.finfo(np.float32).tiny
    return np.mean([np.log(np.maximum(one.probabilities, smallest)) for one in predictions], axis=0)


def _particle(outcome: Outcome, test: float) -> dict[str, Any]:
    curves = {name: [row[name] for row in outcome.rows] for name in ("learning_rate", "val_accuracy", "val_loss")}
    return {
        "particle": outcome.particle,
        "test_top1": test,
        "val_accuracy": outcome.rows[outcome.best_round - 1]["val_accuracy"],
        "fitness": outcome.fitness,
        "best_round": outcome.best_round,
        "failed_round": outcome.failed_round,
        "curves": curves,
    }


def _move(move: Any) -> dict[str, Any]:
    names = ("particle", "round", "order", "chosen", "distances", "weights", "terms", "exchange_sec")
    return {name: getattr(move, name) for name in names}


def main() -> int:
    """Run one repetition as the command line says."""
    cli.begin()
    parser = argparse.ArgumentParser(description="One repetition of a comparison; started by swarm-compare.")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    return cli.guard(lambda: _print_arms(options))


def _print_arms(options: argparse.Namespace) -> None:
    config = load_compare_config(options.directory / CONFIG)
    for name in run(config, options.directory, options.seed, options.fold, options.threads):
        print(name, flush=True)


if __name__ == "__main__":
    sys.exit(main())
