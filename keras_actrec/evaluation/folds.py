"""Several folds of one data set in one line: mean and standard deviation of the headline numbers.

The standard deviation is the sample's (divided by n - 1). It shows how the folds differ, not how sure the mean is: the
training lists of the folds overlap, so they are no independent draws.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.errors import UserError

HEADLINES = (
    "test.top1",
    "test.top5",
    "test.mean_class",
    "test.coverage",
    "test.top1_of_all",
    "test.ece",
    "test.nll",
    "test.pairs.mean",
    "validation.top1",
    "baseline.single_frame.top1",
    "baseline.single_frame.pairs.mean",
    "temporal.shuffled.top1",
    "temporal.reversed.top1",
    "temporal.frozen.top1",
)
"""Dotted keys of `metrics.json` that are summarised, as far as the runs have them."""
_SAME = ("dataset", "model", "classes")
_SIZES = ("params", "trainable_params", "flops")


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the summary of the `metrics.json` of several folds, ordered by fold.

    Returns:
        {"dataset", "model", "folds", "seeds", "contaminated", "params", "trainable_params", "flops", "summary": {dotted
        key: {"mean", "std", "values"}}}; mean and std are None where a fold lacks the number, std also when there is
        one fold only. The sizes are those of each fold's network; None where they are not known, or not the same.

    Raises:
        UserError: the runs are of different data sets, models or classes, or a fold occurs twice.
    """
    if not runs:
        raise UserError("no runs were given; a summary of folds needs at least one metrics.json.")
    for key in _SAME:
        if any(run[key] != runs[0][key] for run in runs):
            found = " and ".join(sorted({str(run[key])[:80] for run in runs}))
            raise UserError(f"the folds to summarise must have the same {key}; found {found}.")
    runs = sorted(runs, key=lambda run: run["fold"])
    folds = [run["fold"] for run in runs]
    if len(set(folds)) != len(folds):
        raise UserError(f"each fold may occur once; found the folds {', '.join(map(str, folds))}.")
    columns = {key: [lookup(run, key) for run in runs] for key in HEADLINES}
    return {
        "dataset": runs[0]["dataset"],
        "model": runs[0]["model"],
        "folds": folds,
        "seeds": [run["seed"] for run in runs],
        "contaminated": any(run.get("contaminated", False) for run in runs),
        **{key: _common([run.get(key) for run in runs]) for key in _SIZES},
        "summary": {
            key: spread(values) for key, values in columns.items() if any(value is not None for value in values)
        },
    }


def _common(values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else None


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Return mean, sample standard deviation (n - 1) and the values themselves."""
    known = [value for value in values if value is not None]
    complete = len(known) == len(values) and known
    return {
        "mean": math.fsum(known) / len(known) if complete else None,
        "std": statistics.stdev(known) if complete and len(known) > 1 else None,
        "values": list(values),
    }


def lookup(document: Mapping[str, Any], dotted: str) -> Any:
    """Return the value at a dotted key; None when any part of it is missing."""
    value: Any = document
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def table(summary: Mapping[str, Any]) -> str:
    """Return the summary as plain text, one line per number, in percent where it is a share."""
    lines = [f"{summary['dataset']}, {summary['model']}, folds {', '.join(map(str, summary['folds']))}"]
    if summary["contaminated"]:
        lines.append("CONTAMINATED: at least one fold was evaluated on clips that its model had learnt from.")
    return "\n".join([*lines, *(f"{key:34} {format_spread(key, row)}" for key, row in summary["summary"].items())])


def format_spread(key: str, row: Mapping[str, Any]) -> str:
    """Return "86.1 ± 1.2 %", or plain numbers for the log likelihood; a dash where a fold lacks the number."""
    if row["mean"] is None:
        return "-"
    scale, unit, digits = (1, "", 3) if key.endswith(".nll") else (100, " %", 1)
    text = f"{row['mean'] * scale:.{digits}f}"
    return text + ("" if row["std"] is None else f" ± {row['std'] * scale:.{digits}f}") + unit
