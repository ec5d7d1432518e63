"""The table of a comparison in the layout of the paper's Table 6: as text, CSV rows and HTML. Imports no Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_actrec.evaluation.markup import Safe, join, tag

GROUPS_PER_BLOCK = 3
"""Groups of columns side by side in text, as in the paper."""
CELL = 8
ROWS = ("Acc.", "", "Max")
"""Mean, standard deviation below it, maximum."""

Spread = Mapping[str, Any]
Group = tuple[str, list[tuple[str, Spread]]]


def groups(summary: Mapping[str, Any]) -> list[Group]:
    """Return the groups of columns: title of the arm -> name and numbers of each column.

    The paper's columns are PSO-1 to PSO-N; "chosen" is the network that validation has chosen, "all" their mean, or
    the ensemble.
    """
    found = []
    for arm in summary["arms"]:
        columns = [(f"PSO-{number}", spread) for number, spread in enumerate(arm["particles"], start=1)]
        columns.append(("chosen" if arm["mean"] else "all", arm["best"]))
        columns += [("mean", arm["mean"])] if arm["mean"] else []
        found.append((arm["title"], columns))
    return found


def cells(spread: Spread) -> tuple[str, str, str]:
    """Return mean, standard deviation and maximum in percent."""
    deviation = "" if spread["std"] is None else f"±{100 * spread['std']:.2f}"
    return f"{100 * spread['mean']:.2f}", deviation, f"{100 * spread['max']:.2f}"


def text(summary: Mapping[str, Any]) -> str:
    """Return the table as plain text, a few groups side by side."""
    everything = groups(summary)
    head = [summary["dataset"], summary["model"], ""]
    blocks = [
        _block(everything[start : start + GROUPS_PER_BLOCK], head)
        for start in range(0, len(everything), GROUPS_PER_BLOCK)
    ]
    return "\n\n".join(blocks)


def _block(part: Sequence[Group], head: Sequence[str]) -> str:
    width = max(map(len, head)) + 2
    titles = "".join(f" | {title:^{CELL * len(columns)}}" for title, columns in part)
    names = "".join(" | " + "".join(f"{name:>{CELL}}" for name, _ in columns) for _, columns in part)
    lines = [" " * (width + 4) + titles, " " * (width + 4) + names]
    for row, (label, kind) in enumerate(zip(head, ROWS, strict=True)):
        numbers = "".join(
            " | " + "".join(f"{cells(spread)[row]:>{CELL}}" for _, spread in columns) for _, columns in part
        )
        lines.append(f"{label:<{width}}{kind:<4}{numbers}")
    return "\n".join(line.rstrip() for line in lines)


def rows(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the table cell by cell, for CSV."""
    for title, columns in groups(summary):
        for name, spread in columns:
            yield {
                "dataset": summary["dataset"],
                "model": summary["model"],
                "arm": title,
                "column": name,
                "mean": spread["mean"],
                "std": spread["std"],
                "max": spread["max"],
                "repetitions": len(spread["values"]),
            }


def html(summary: Mapping[str, Any]) -> Safe:
    """Return the table as HTML, with two rows of headings."""
    everything = groups(summary)
    heading = [tag("th", name, rowspan=2) for name in ("Dataset", "Model", "")]
    heading += [tag("th", title, colspan=len(columns), css="group") for title, columns in everything]
    names = [tag("th", name) for _, columns in everything for name, _ in columns]
    body = []
    for row, kind in enumerate(ROWS):
        first = [tag("td", summary[key], rowspan=len(ROWS)) for key in ("dataset", "model")] if row == 0 else []
        numbers = [tag("td", cells(spread)[row]) for _, columns in everything for _, spread in columns]
        body.append(tag("tr", *first, tag("td", kind), *numbers))
    head = tag("thead", tag("tr", *heading), tag("tr", *names))
    return tag("div", tag("table", head, tag("tbody", join(body)), css="six"), css="scroll")
