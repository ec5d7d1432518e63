"""Runs that differ in nothing but seed and fold, one row for each such group: means and sample standard deviations.

Two groups are compared seed by seed and fold by fold, as runs of one seed share their split, their order of clips, or
both. The deviation of those differences is what the comparison is uncertain by; the groups' own deviations are not.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.evaluation import paired
from keras_actrec.evaluation.folds import lookup, spread
from keras_actrec.evaluation.run_search import Run

HEADLINE = "test.top1"
COLUMNS = {
    HEADLINE: "test top-1",
    "test.top5": "top-5",
    "test.pairs.mean": "within pairs",
    "validation.top1": "validation",
}
"""Dotted keys of `metrics.json` -> headings; shares, written in percent. Columns that no run has are left out."""
COSTS = {"params": "parameters", "flops": "FLOPs per clip"}
"""Dotted keys of `metrics.json` -> headings; the same for all runs of a group."""
_OF_NO_CONSEQUENCE = ("name", "seed", "output", "data.workers", "data.fold", "logging")
"""Keys that do not change what a run learns, or are what a group's runs differ in."""


def build(
    runs: Sequence[Run], by: Sequence[str] = ("name",), against: str | None = None, newest: bool = False
) -> dict[str, Any]:
    """Return the table.

    Args:
        runs: finished ones; groups come in the order of their first run.
        by: dotted keys of the configuration by whose values runs are grouped.
        against: label of the group that the others are compared with.
        newest: take the newest run of each seed and fold, where a group has several.

    Returns:
        {"by", "against", "columns": {dotted key: heading}, "costs": likewise, "groups", "superseded": paths of runs
        that a newer one stands for, "notes"}; each group is {"label", "seeds", "folds", "runs": paths, "values":
        {dotted key: {"mean", "std", "values"}}, "minutes": spread, "costs": {dotted key: number}, "difference": see
        `_difference`, or None}, values in the order of folds and seeds.

    Raises:
        UserError: no runs, an unknown key or group, two runs of one seed and fold, or runs of a group that differ in
            more.
    """
    if not runs:
        raise UserError("none of the runs has finished; a table needs one at least.")
    groups, superseded = grouped(runs, by), []
    for label, members in groups.items():
        if not newest:  # else an older run may well have had another configuration
            check_alike(label, members, by)
        groups[label] = _ordered(label, members, newest)
        superseded += [run.path for run in members if run not in groups[label]]
        check_alike(label, groups[label], by)
    if against is not None and against not in groups:
        raise UserError(f"--against: there is no group '{against}'.{did_you_mean(against, groups)}")
    columns = {key: title for key, title in COLUMNS.items() if any(run.value(key) is not None for run in _all(groups))}
    costs = {key: title for key, title in COSTS.items() if any(run.value(key) is not None for run in _all(groups))}
    reference = None if against is None else groups[against]
    rows = [_row(label, members, columns, reference) for label, members in groups.items()]
    _correct([row["difference"] for row in rows if row["difference"] is not None])
    return {
        "by": list(by),
        "against": against,
        "columns": columns,
        "costs": costs,
        "groups": rows,
        "superseded": list(map(str, superseded)),
        "notes": list(notes(groups)),
    }


def grouped(runs: Sequence[Run], by: Sequence[str]) -> dict[str, list[Run]]:
    """Return label of a group -> its runs, both in the order given.

    Raises:
        UserError: no run has one of the keys.
    """
    for key in by:
        if not any(_has(run.config, key) for run in runs):
            known = {name for run in runs for name in _keys(run.config)}
            raise UserError(f"--by: '{key}' is no key of the runs' configurations.{did_you_mean(key, known)}")
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[label_of(run, by)].append(run)
    return dict(groups)


def label_of(run: Run, by: Sequence[str]) -> str:
    """Return the label of a run's group: its name, or "threshold=0.8, teacher=0.99" of other keys."""
    last = [key.rpartition(".")[2] for key in by]
    names = last if len(set(last)) == len(by) else by
    return ", ".join(
        str(run.name) if key == "name" else f"{name}={_plain(lookup(run.config, key))}"
        for key, name in zip(by, names, strict=True)
    )


def check_alike(label: str, runs: Sequence[Run], by: Sequence[str]) -> None:
    """Raise a `UserError` when two runs of a group differ in more than their seed, and all that follows from it."""
    for first, second in itertools.combinations(runs, 2):
        found = next(differences(first, second), None)
        if found is not None:
            key, ours, theirs = found
            raise UserError(
                f"the runs of group '{label}' must differ in the seed alone; {key} is {_plain(ours)} in {first.path} "
                f"and {_plain(theirs)} in {second.path}: leave one out, or group by it with --by "
                f"{','.join([*by, key])}."
            )


def differences(first: Run, second: Run) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted key, value, other value) for all that two configurations differ in beside their seed.

    A further seed, such as that of the split, may differ where it is each run's own.
    """
    for key, ours, theirs in _unequal(first.config, second.config):
        own_seeds = key.endswith("seed") and (ours, theirs) == (first.seed, second.seed)
        if not own_seeds and not any(key == name or key.startswith(f"{name}.") for name in _OF_NO_CONSEQUENCE):
            yield key, ours, theirs


def notes(groups: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Yield a sentence for each thing that makes numbers of a table hard to compare, or untrue."""
    runs = _all(groups)
    for fold in dict.fromkeys(run.fold for run in runs):
        yield from _other_clips({label: [run for run in own if run.fold == fold] for label, own in groups.items()})
    folds = {label: sorted({run.repetition[0] for run in members}) for label, members in groups.items()}
    if len({tuple(numbers) for numbers in folds.values()}) > 1:
        told = "; ".join(f"{label}: {', '.join(map(str, numbers))}" for label, numbers in folds.items())
        yield f"The means are over different folds ({told}), so compare the differences, or runs of the same folds."
    learnt = [label for label, members in groups.items() if any(run.metrics.get("contaminated") for run in members)]
    if learnt:
        yield f"CONTAMINATED: some runs were tested on clips that they had learnt from: {', '.join(learnt)}."
    lost = [label for label, members in groups.items() if min(map(_coverage, members)) < 1]
    if lost:
        yield f"Some test clips could not be read, and are left out of the accuracies: {', '.join(lost)}."


def _other_clips(groups: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Yield a sentence when runs of one fold were not all tested on the same clips."""
    runs = _all(groups)
    if len({run.metrics.get("manifest_hash") for run in runs}) <= 1 and len(runs) == len(_with_hash(runs)):
        return
    tested = defaultdict(list)
    for label, members in groups.items():
        for run in members:
            tested[run.test_clips()].append(label)
    if len(tested) > 1:
        sets = "; ".join(f"{key[:12]}: {', '.join(dict.fromkeys(labels))}" for key, labels in tested.items())
        yield f"The runs were not tested on the same clips ({sets}): their numbers are not comparable."


def _coverage(run: Run) -> float:
    coverage = run.value("test.coverage")
    return 1.0 if coverage is None else coverage


def _all(groups: Mapping[str, Sequence[Run]]) -> list[Run]:
    return [run for members in groups.values() for run in members]


def _with_hash(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.metrics.get("manifest_hash")]


def _ordered(label: str, runs: Sequence[Run], newest: bool) -> list[Run]:
    """Return one run per seed and fold, in the order of folds and seeds."""
    chosen: dict[tuple[int, int], Run] = {}
    for run in runs:
        known = chosen.get(run.repetition)
        if known is not None and not newest:
            raise UserError(
                f"group '{label}' has two runs of seed {run.seed}{_of_fold(run)}, {known.path} and {run.path}: leave "
                "one out, or take the newest of each seed with --newest."
            )
        if known is None or run.finished > known.finished:
            chosen[run.repetition] = run
    return [chosen[repetition] for repetition in sorted(chosen)]


def _of_fold(run: Run) -> str:
    return "" if run.fold is None else f", fold {run.fold}"


def _row(
    label: str, runs: Sequence[Run], columns: Mapping[str, str], reference: Sequence[Run] | None
) -> dict[str, Any]:
    return {
        "label": label,
        "seeds": [run.seed for run in runs],
        "folds": [run.fold for run in runs],
        "runs": [str(run.path) for run in runs],
        "values": {key: spread([run.value(key) for run in runs]) for key in columns},
        "minutes": spread([run.minutes for run in runs]),
        "costs": {key: runs[0].value(key) for key in COSTS},
        "difference": None if reference is None or reference is runs else _difference(runs, reference),
    }


def _difference(runs: Sequence[Run], reference: Sequence[Run]) -> dict[str, Any]:
    """Return what top-1 minus that of the reference says, over the seeds and folds that both have.

    Returns:
        The spread of the differences, with "seeds" and "folds", Student's "interval" (95 %) of their mean, "p" of the
        paired t-test, "p_exact" of the sign-flip test, and later "p_holm" (see `paired.Difference`).
    """
    others = {run.repetition: run.value(HEADLINE) for run in reference}
    pairs = {run.repetition: (run.value(HEADLINE), others[run.repetition]) for run in runs if run.repetition in others}
    known = {which: ours - theirs for which, (ours, theirs) in pairs.items() if None not in (ours, theirs)}
    tested = paired.difference(list(known.values())) if known else None
    numbers = {name: getattr(tested, name, None) for name in ("interval", "p", "p_exact")}
    named = {"seeds": [seed for _, seed in known], "folds": [fold for fold, _ in known]}
    return {**spread(list(known.values())), **named, **numbers}


def _correct(family: Sequence[dict[str, Any]]) -> None:
    """Add Holm's correction to the differences of one table."""
    for row, value in zip(family, paired.holm([row["p"] for row in family]), strict=True):
        row["p_holm"] = value


def _unequal(ours: Any, theirs: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in {**ours, **theirs}:
            yield from _unequal(ours.get(name), theirs.get(name), f"{key}.{name}".lstrip("."))
    elif ours != theirs:
        yield key, ours, theirs


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")


def _has(config: Mapping[str, Any], dotted: str) -> bool:
    return dotted in set(_keys(config))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
