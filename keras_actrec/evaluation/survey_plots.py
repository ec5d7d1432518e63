"""The charts of a data set's page, from the numbers of `survey_numbers.build`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.data.manifest import SPLITS
from keras_actrec.evaluation.plots import BLUE, GREEN, GREY, INK, LIGHT_BLUE, ORANGE, Figure, axis, base_layout, text

NO_LABEL = "(no label)"
_COLOURS = dict(zip(SPLITS, (BLUE, LIGHT_BLUE, ORANGE, GREY, GREEN), strict=True))
_MOST_BARS = 12
"""Sizes and rates with bars of their own; the rest is one bar."""

Classes = Mapping[str, Mapping[str, Any]]


def clips(classes: Classes) -> Figure:
    """Return bars of clips per class, one colour for each split."""
    names = _names(classes)
    splits = [split for split in SPLITS if any(row["splits"].get(split) for row in classes.values())]
    bars = [
        {
            "type": "bar",
            "name": split,
            "x": names,
            "y": [row["splits"].get(split, 0) for row in classes.values()],
            "marker": {"color": _COLOURS[split]},
            "hovertemplate": f"%{{x}}, {split}: %{{y}} clips<extra></extra>",
        }
        for split in splits
    ]
    layout = _over_classes(names, "clips", barmode="stack")
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
    return {"data": bars, "layout": layout | {"legend": legend}}


def motion(classes: Classes) -> Figure:
    """Return bars of the mean motion of each class, the stillest first, with the deviation over its clips."""
    rows = sorted(((name, row) for name, row in classes.items() if row["motion"] is not None), key=_by_motion)
    bars = {
        "type": "bar",
        "x": _names([name for name, _ in rows]),
        "y": [row["motion"] for _, row in rows],
        "marker": {"color": BLUE},
        "error_y": {
            "type": "data",
            "array": [row["motion_deviation"] for _, row in rows],
            "color": INK,
            "thickness": 1.2,
            "width": 0,
        },
        "customdata": [row["motion_clips"] for _, row in rows],
        "hovertemplate": "%{x}: %{y:.2f} over %{customdata} clips<extra></extra>",
    }
    layout = _over_classes(bars["x"], "grey values per frame")
    layout["yaxis"] |= {"rangemode": "nonnegative"}
    return {"data": [bars], "layout": layout | {"showlegend": False}}


def histogram(found: Mapping[str, Any], title: str) -> Figure:
    """Return the histogram of lengths, with the median as a line."""
    edges, counts = found["histogram"]["edges"], found["histogram"]["clips"]
    bars = {
        "type": "bar",
        "x": edges[:-1],
        "width": 0.96 * (edges[1] - edges[0]),
        "offset": 0,
        "y": counts,
        "customdata": edges[1:],
        "marker": {"color": BLUE},
        "hovertemplate": "%{x:.4g} to %{customdata:.4g}: %{y} clips<extra></extra>",
    }
    median = {"type": "line", "x0": found["median"], "x1": found["median"], "yref": "paper", "y0": 0, "y1": 1}
    median["line"] = {"color": ORANGE, "width": 1.5, "dash": "dot"}
    layout = base_layout(250, xaxis=axis(title), yaxis=axis("clips"), shapes=[median], showlegend=False, bargap=0)
    return {"data": [bars], "layout": layout}


def kinds(counted: Mapping[str, int], title: str) -> Figure:
    """Return bars of the most frequent frame sizes or rates, the most frequent first."""
    rows = list(counted.items())
    rest = rows[_MOST_BARS:]
    rows = rows[:_MOST_BARS] + ([(f"{len(rest)} others", sum(count for _, count in rest))] if rest else [])
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [name for name, _ in rows][::-1],
        "x": [count for _, count in rows][::-1],
        "text": [f"{count:,}" for _, count in rows][::-1],
        "textposition": "auto",
        "textangle": 0,
        "marker": {"color": BLUE},
        "hovertemplate": "%{y}: %{x} clips<extra></extra>",
    }
    named = {"type": "category", "automargin": True, "showgrid": False, "ticks": "", "ticksuffix": "  "}
    height = 70 + 26 * len(rows)
    layout = base_layout(height, xaxis=axis(f"clips by {title}"), yaxis=named, bargap=0.3, showlegend=False)
    return {"data": [bars], "layout": layout}


def width_over(classes: Classes) -> int:
    """Return the least width of a chart over so many classes, in pixels."""
    return 90 + 13 * len(classes)


def _over_classes(names: Sequence[str], title: str, **more: Any) -> Figure:
    longest = max(map(len, names), default=0)
    ticks = {"type": "category", "dtick": 1, "tickangle": -90 if len(names) > 24 else -45, "ticks": ""}
    ticks |= {"automargin": True, "showgrid": False, "tickfont": {"size": 12 if len(names) <= 24 else 10}}
    return base_layout(250 + 5 * longest, xaxis=ticks, yaxis=axis(title), bargap=0.25, **more)


def _names(classes: Sequence[str] | Classes) -> list[str]:
    return [text(name) or NO_LABEL for name in classes]


def _by_motion(item: tuple[str, Mapping[str, Any]]) -> tuple[float, str]:
    return item[1]["motion"], item[0]
