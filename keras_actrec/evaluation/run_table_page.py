"""The table of runs as a page: a bar and its seeds for each group, and the numbers. It needs no server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec import files
from keras_actrec.evaluation import markup, report
from keras_actrec.evaluation.markup import Safe, paragraph, percent, plot, points, section, tag
from keras_actrec.evaluation.plots import BLUE, INK, LIGHT_BLUE, Figure, axis, base_layout, text
from keras_actrec.evaluation.run_table import HEADLINE

SPREAD = 0.2
"""Half of the height over which the seeds of a row are spread, in rows."""


def write(path: str | os.PathLike[str], table: Mapping[str, Any]) -> None:
    """Publish the page of a table (see `run_table.build`)."""
    warnings = markup.join(tag("div", note, css="banner bad") for note in table["notes"])
    body = markup.join([warnings, section("accuracy", "Test top-1", *_accuracy(table)), _numbers(table)])
    runs = sum(len(group["runs"]) for group in table["groups"])
    files.write_text(path, report.page("Runs", f"{runs} runs in {len(table['groups'])} groups", body))


def _accuracy(table: Mapping[str, Any]) -> tuple[Safe, ...]:
    """Return the chart and how it is read, or that there is nothing to draw."""
    if HEADLINE not in table["columns"]:
        return (paragraph("None of the runs has a test top-1: no test clip could be read, or none has a class."),)
    words = "Bars are means over seeds, their whiskers the sample standard deviation, points the seeds."
    return paragraph(words, css="small"), plot(figure(table), "Test accuracy of each group, by seed")


def figure(table: Mapping[str, Any]) -> Figure:
    """Return the chart: a row per group, the first at the top; accuracies as shares."""
    groups = table["groups"]
    places = [len(groups) - 1 - index for index in range(len(groups))]
    layout = base_layout(
        90 + 46 * len(groups),
        xaxis={**axis("test top-1 accuracy"), "range": [0, 1.03], "tickformat": ".0%"},
        yaxis={
            "tickvals": places,
            "ticktext": [text(group["label"]) for group in groups],
            "range": [-0.6, len(groups) - 0.4],
            "automargin": True,
            "showgrid": False,
            "ticksuffix": "  ",
        },
        showlegend=False,
    )
    return {"data": [_bars(groups, places), _seeds(groups, places)], "layout": layout}


def _bars(groups: Sequence[Mapping[str, Any]], places: Sequence[int]) -> Figure:
    spreads = [group["values"][HEADLINE] for group in groups]
    return {
        "type": "bar",
        "orientation": "h",
        "x": [row["mean"] for row in spreads],
        "y": list(places),
        "width": 0.62,
        "marker": {"color": LIGHT_BLUE},
        "error_x": {"type": "data", "array": [row["std"] for row in spreads], "color": INK, "thickness": 1.6},
        "hovertemplate": "mean %{x:.1%}<extra></extra>",
    }


def _seeds(groups: Sequence[Mapping[str, Any]], places: Sequence[int]) -> Figure:
    x, y, names = [], [], []
    for group, place in zip(groups, places, strict=True):
        count = len(group["seeds"])
        for index, (seed, value) in enumerate(zip(group["seeds"], group["values"][HEADLINE]["values"], strict=True)):
            x.append(value)
            y.append(place + (SPREAD * (2 * index / (count - 1) - 1) if count > 1 else 0.0))
            names.append(f"seed {seed}")
    return {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": y,
        "text": names,
        "marker": {"size": 8, "color": BLUE},
        "hovertemplate": "%{text}: %{x:.1%}<extra></extra>",
    }


def _numbers(table: Mapping[str, Any]) -> Safe:
    head = ["Group", "Seeds", *(title.capitalize() for title in table["columns"].values())]
    head += [*(title[0].upper() + title[1:] for title in table["costs"].values()), "Minutes"]
    head += [f"Against {table['against']}", "95 % interval", "p", "p (Holm)"] if table["against"] is not None else []
    rows = []
    for group in table["groups"]:
        cells = [(_shares(group["values"][key]), group["values"][key]["mean"]) for key in table["columns"]]
        minutes = group["minutes"]["mean"]
        costs = [(markup.large(group["costs"][key]), group["costs"][key]) for key in table["costs"]]
        row = [group["label"], " ".join(map(str, group["seeds"])), *cells, *costs, (markup.number(minutes, 1), minutes)]
        rows.append([*row, *_tested(group["difference"])] if table["against"] is not None else row)
    return section("numbers", "Numbers", markup.table(head, rows, css="numbers", sortable=True))


def _shares(spread: Mapping[str, Any]) -> Safe:
    if spread["std"] is None:
        return percent(spread["mean"])
    return Safe(f"{100 * spread['mean']:.1f} ± {percent(spread['std'])}")


def _tested(difference: Mapping[str, Any] | None) -> list[Any]:
    if difference is None:
        return [Safe("")] * 4
    interval = difference["interval"]
    between = Safe(markup.DASH) if interval is None else Safe(f"{points(interval[0])} to {points(interval[1])}")
    values = (difference[name] for name in ("p", "p_holm"))
    return [_points(difference), between, *((markup.number(value), value) for value in values)]


def _points(difference: Mapping[str, Any] | None) -> tuple[Safe, float | None]:
    if difference is None:
        return Safe(""), None
    deviation = "" if difference["std"] is None else f" ± {100 * difference['std']:.1f}"
    return Safe(f"{points(difference['mean'])}{deviation}"), difference["mean"]
