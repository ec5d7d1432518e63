"""What came out of a sweep: the numbers of a trial, lines for people, the best configuration, a table, the pages."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import config as configuration
from keras_actrec import files
from keras_actrec.evaluation.folds import lookup
from keras_actrec.sweep import parallel, record, settings, sweep_page, trial
from keras_actrec.sweep import space as spaces
from keras_actrec.sweep.record import State, Trial
from keras_actrec.sweep.search import Search
from keras_actrec.sweep.settings import SweepConfig

BEST, TABLE, HIPLOT, REPORT = "best.yaml", "trials.csv", "hiplot.html", "report.html"
SHOWN = 5


def complete(directory: Path, config: SweepConfig, one: Trial) -> Trial:
    """Return a trial whose process has ended well, with its numbers.

    Args:
        directory: of the sweep.
        config: of the sweep.
        one: the trial, with its whole curve.
    """
    value = chosen(one.curve, config)
    if value is None:
        return dataclasses.replace(one, state=State.FAILED, reason="it ended without a number to judge it by")
    results = _results(trial.place(directory, one.number))
    return dataclasses.replace(one, state=State.COMPLETE, value=value, results=results)


def chosen(curve: Sequence[float], config: SweepConfig) -> float | None:
    """Return the number of the epoch that `training.select_by` chooses; None where all are no numbers."""
    known = [value for value in curve if math.isfinite(value)]
    if not known:
        return None
    if config.training.select_by == "last":
        return known[-1]
    return min(known) if settings.metric_of(config)[1] == "minimize" else max(known)


def seconds(directory: Path, one: Trial) -> float | None:
    """Return how long the epochs that count of a trial took; None where that is not known."""
    timing = trial.place(directory, one.number) / "timing.json"
    if not timing.exists():
        return None
    return round(sum(files.read_json(timing).get("epochs_sec", ())[: len(one.curve)]), 1)


def line(config: SweepConfig, trials: Sequence[Trial], one: Trial) -> str:
    """Return a line about a trial that has ended."""
    _, direction = settings.metric_of(config)
    ended = sum(other.ended for other in trials)
    best = record.best(trials, direction)
    parts = [f"{ended}/{config.sweep.count}", f"trial {one.number}", _verdict(one), values(config, one)]
    if one.seconds is not None:
        parts.append(f"{one.seconds:.0f} s")
    if best is not None:
        parts.append(f"(best: {best.value:.4g}, trial {best.number})")
    return "  ".join(parts)


def _verdict(one: Trial) -> str:
    if one.state is State.COMPLETE:
        return f"{one.value:.4g}"
    return f"{one.state.value}: {one.reason}" if one.reason else one.state.value


def values(config: SweepConfig, one: Trial) -> str:
    """Return the values of a trial in short."""
    names = spaces.short_names(list(config.sweep.space))
    return ", ".join(f"{names[key]}={spaces.label(value)}" for key, value in one.point.items())


def write(
    directory: Path, config: SweepConfig, search: Search, trials: Sequence[Trial], say: Callable[[str], None]
) -> None:
    """Write all that stays of a sweep, and tell of the best."""
    metric, direction = settings.metric_of(config)
    write_pages(directory, config, search, trials)
    best = record.best(trials, direction)
    if best is None:
        say("no trial has gone its whole way, so there is no best one")
    else:
        _write_best(directory, config, best)
        for one in ranked(trials, direction)[:SHOWN]:
            say(f"  {metric} {one.value:.4g}  trial {one.number}  {values(config, one)}")
        say(f"best: python train.py --config {directory / BEST}")
    say(f"hiplot: {directory / HIPLOT}")
    say(f"report: {directory / REPORT}")


def write_pages(directory: Path, config: SweepConfig, search: Search, trials: Sequence[Trial]) -> None:
    """Publish the table and the pages as the sweep stands."""
    files.write_text(directory / TABLE, table(config, trials))
    files.write_text(directory / HIPLOT, parallel.render(config, trials))
    files.write_text(directory / REPORT, sweep_page.render(directory.name, config, search, trials))


def ranked(trials: Sequence[Trial], direction: str) -> list[Trial]:
    """Return the complete trials, the best first, the earlier of equals before the later."""
    known = [one for one in trials if one.state is State.COMPLETE]
    sign = 1 if direction == "minimize" else -1
    return sorted(known, key=lambda one: (sign * one.value, one.number))


def table(config: SweepConfig, trials: Sequence[Trial]) -> str:
    """Return a CSV with a row for each trial: its values by their whole keys, how it ended, its numbers."""
    metric, _ = settings.metric_of(config)
    measured = list(dict.fromkeys(name for one in trials for name in one.results))
    rows = [
        {
            "trial": one.number,
            "state": one.state.value,
            metric: one.value,
            "epochs": len(one.curve),
            "seconds": one.seconds,
            **{key: _cell(one.point.get(key)) for key in config.sweep.space},
            **{name: one.results.get(name) for name in measured},
            "reason": one.reason,
        }
        for one in trials
    ]
    columns = ["trial", "state", metric, "epochs", "seconds", *config.sweep.space, *measured, "reason"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else json.dumps(value)


def _write_best(directory: Path, config: SweepConfig, best: Trial) -> None:
    """Publish the configuration of the run with the best values, which begins with what it is and how to start it."""
    metric, _ = settings.metric_of(config)
    path = directory / BEST
    run = settings.run_config(config, best.point)
    head = [
        f"# python train.py --config {path}",
        f"# The best of {sum(one.ended for one in record.read_all(directory))} trials of a sweep: trial {best.number}, "
        f"{metric} {best.value:.4g} on validation clips.",
        f"# {values(config, best)}",
    ]
    files.write_text(path, "\n".join([*head, configuration.dump_yaml(run)]))


def _results(run: Path) -> dict[str, float]:
    """Return what a trial has measured beside the number that it is judged by."""
    found: dict[str, float] = {}
    if (run / trial.RESULT).exists():
        found |= files.read_json(run / trial.RESULT)
    if (run / "metrics.json").exists():
        metrics = files.read_json(run / "metrics.json")
        numbers = {key: lookup(metrics, key) for key in ("test.top1", "test.coverage")}
        found |= {key: value for key, value in numbers.items() if value is not None}
    return found
