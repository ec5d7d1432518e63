"""Does collaboration help, or only its pull to the best? `python -m keras_actrec swarm-compare`.

At equal budget (epochs x particles) and with equal data, first weights, order of the data and learning rates, swarms
that differ in nothing but how they exchange are trained over several seeds and folds, and compared in pairs.

    <output>/<name>-<digest of the configuration>/
        config.yaml
        results/ARM-seed-S-fold-F.json     one per swarm; published when it is complete
        results.csv, table.csv, differences.csv, summary.json, table.txt, report.html
        logs/                              what the processes said
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import config as configuration
from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.swarm import compare_ray, compare_run, compare_settings
from keras_actrec.swarm.compare_settings import ARMS, CompareConfig, pairs, swarm_config, trained

Say = Callable[[str], None]
END_SEC = 10.0


def compare(config: CompareConfig, say: Say = print) -> Path:
    """Train what is missing, then write tables, plots and the conclusion.

    Args:
        config: of the comparison.
        say: gets the lines for people.

    Returns:
        The directory of the comparison.

    Raises:
        UserError: a mistake in the configuration or the data; a repetition could not be finished.
    """
    from keras_actrec.swarm import compare_report, compare_summary

    directory = compare_settings.directory(config)
    configuration.save_config(config, directory / compare_run.CONFIG)
    todo = [pair for pair in pairs(config) if compare_run.missing(config, directory, *pair)]
    if todo:
        _prepare(config, todo)
        _train(config, directory, todo, _counting(config, directory, say))
    results = read(config, directory)
    summary = compare_summary.summarise(config, results)
    compare_report.write(directory, config, results, summary)
    say(compare_report.text(summary))
    say(f"report: {directory / compare_report.REPORT}")
    return directory


def read(config: CompareConfig, directory: Path) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Return the results of all swarms of a comparison.

    Raises:
        UserError: one is missing, or they are of different clips.
    """
    found = {}
    for seed, fold in pairs(config):
        for arm in trained(config):
            path = compare_run.result_path(directory, arm.name, seed, fold)
            if not path.exists():
                raise UserError(f"the result {path} is missing: run the same command again.")
            found[arm.name, seed, fold] = files.read_json(path)
        seen = {found[arm.name, seed, fold]["manifest"] for arm in trained(config)}
        if len(seen) > 1:
            raise UserError(
                f"the clips of seed {seed}, fold {fold} have changed while they were compared; remove "
                f"{directory / compare_run.RESULTS} and start again."
            )
    return found


def _prepare(config: CompareConfig, todo: Sequence[tuple[int, int]]) -> None:
    """Render and prepare the data once, before several processes want to."""
    from keras_actrec.training import datasets

    for fold in dict.fromkeys(fold for _, fold in todo):
        seed = next(seed for seed, other in todo if other == fold)
        first = swarm_config(config, trained(config)[0], seed, fold)
        datasets.open_source(first.data, datasets.load(first))


def _counting(config: CompareConfig, directory: Path, say: Say) -> Callable[[str, int, int], None]:
    """Return a function that tells of a finished swarm, and how long the others will take."""
    began, lock = time.monotonic(), threading.Lock()
    total = len(pairs(config)) * len(trained(config))
    left = sum(len(compare_run.missing(config, directory, *pair)) for pair in pairs(config))
    here = [0]
    if left < total:
        say(f"{total - left} of {total} swarms are there already, in {directory}")

    def finished(arm: str, seed: int, fold: int) -> None:
        result = files.read_json(compare_run.result_path(directory, arm, seed, fold))
        with lock:
            here[0] += 1
            spent = time.monotonic() - began
            remaining = spent / here[0] * (left - here[0])
            say(
                f"{total - left + here[0]}/{total}  {ARMS[arm].title}, seed {seed}, fold {fold}: best "
                f"{100 * result['best']:.1f} %, mean {100 * result['mean']:.1f} %  ({result['total_sec']:.0f} s; "
                f"about {remaining / 60:.0f} min left)"
            )

    return finished


def _train(
    config: CompareConfig, directory: Path, todo: Sequence[tuple[int, int]], finished: Callable[[str, int, int], None]
) -> None:
    """Run the repetitions, some at a time; stop all when one fails."""
    if config.compare.launcher == "ray":
        compare_ray.train(config, directory, todo, finished)
        return
    count = min(config.compare.processes or 1, len(todo))
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    running: list[subprocess.Popen[str]] = []
    with concurrent.futures.ThreadPoolExecutor(count) as pool, _ending(running, pool):
        jobs = [pool.submit(_repeat, directory, pair, threads, finished, running) for pair in todo]
        for job in concurrent.futures.as_completed(jobs):
            job.result()


@contextlib.contextmanager
def _ending(running: Sequence[subprocess.Popen[str]], pool: concurrent.futures.ThreadPoolExecutor) -> Iterator[None]:
    """End all processes when the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()
        raise


def _repeat(
    directory: Path,
    pair: tuple[int, int],
    threads: int,
    finished: Callable[[str, int, int], None],
    running: list[subprocess.Popen[str]],
) -> None:
    """Run one repetition in a process of its own."""
    log = compare_run.log_path(directory, *pair)
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, *compare_run.arguments(directory, *pair, threads)]
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment(threads))
        running.append(process)
        with process:
            for line in process.stdout or ():
                if line.strip() in ARMS:
                    finished(line.strip(), *pair)
            code = process.wait(END_SEC)
    if code:
        raise UserError(compare_run.failure(log, pair, code))


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that has so many cores."""
    names = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
    package = Path(compare_run.__file__).parents[2]
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**dict.fromkeys(names, str(threads)), **os.environ, "PYTHONPATH": path}
