"""The plots of a comparison: paired differences with their intervals, as plotly figures in plain dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.evaluation.plots import BLUE, GREY, GRID, INK, LIGHT_BLUE, text
from keras_actrec.swarm.compare_settings import ARMS

Figure = dict[str, Any]
FONT = {"family": "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif", "size": 13, "color": INK}
SPREAD = 0.16
"""Half of the height over which the points of a row are spread, in rows."""


def paired(rows: Sequence[Mapping[str, Any]], pairs: Sequence[Sequence[int]], other: str) -> Figure:
    """Return a row per arm: each pair's difference as a point, mean and interval beside them.

    Args:
        rows: differences of one family, see `compare_summary.differences`.
        pairs: seed and fold of each pair, in the order of the values.
        other: what the arms are compared with, for the axis.
    """
    places = [len(rows) - 1 - index for index in range(len(rows))]
    data = [_points(rows, places, pairs), _means(rows, places)]
    names = [text(ARMS[row["arm"]].title) for row in rows]
    axis = {"text": f"difference to {other}, points of test accuracy", "font": {"size": 13, "color": GREY}}
    layout = {
        "height": 90 + 46 * len(rows),
        "margin": {"l": 48, "r": 12, "t": 12, "b": 48},
        "font": FONT,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        "showlegend": False,
        "xaxis": {"title": axis, "gridcolor": GRID, "zeroline": True, "zerolinecolor": INK, "automargin": True},
        "yaxis": {
            "tickvals": places,
            "ticktext": names,
            "range": [-0.6, len(rows) - 0.4],
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
            "ticksuffix": "  ",
        },
    }
    return {"data": data, "layout": layout}


def _points(rows: Sequence[Mapping[str, Any]], places: Sequence[int], pairs: Sequence[Sequence[int]]) -> Figure:
    count = len(pairs)
    shifts = [SPREAD * (2 * index / (count - 1) - 1) if count > 1 else 0.0 for index in range(count)]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * value for row in rows for value in row["values"]],
        "y": [place + shift - 0.2 for place in places for shift in shifts],
        "text": [f"seed {seed}, fold {fold}" for _ in rows for seed, fold in pairs],
        "marker": {"size": 7, "color": LIGHT_BLUE},
        "hovertemplate": "%{text}: %{x:+.1f} points<extra></extra>",
    }


def _means(rows: Sequence[Mapping[str, Any]], places: Sequence[int]) -> Figure:
    halves = [None if row["interval"] is None else 100 * (row["interval"][1] - row["mean"]) for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * row["mean"] for row in rows],
        "y": [place + 0.16 for place in places],
        "marker": {"size": 11, "symbol": "diamond", "color": BLUE},
        "error_x": {"type": "data", "array": halves, "color": BLUE, "thickness": 2, "width": 5},
        "hovertemplate": "mean %{x:+.2f} points<extra></extra>",
    }
