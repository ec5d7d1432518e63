"""The report's charts, as plotly figures in plain dictionaries (data and layout). They import no plotly."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.evaluation.folds import lookup

Figure = dict[str, Any]

INK, GREY, GRID = "#1c2430", "#8a94a6", "#e4e8ee"
BLUE, LIGHT_BLUE, ORANGE, GREEN = "#2563eb", "#93b4f5", "#d97706", "#059669"
SCALE = [[0, "#f8fafc"], [0.02, "#e0eaff"], [0.25, "#a9c4fb"], [0.6, "#4f83f1"], [1, "#1e3a8a"]]
_FONT = {"family": "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif", "size": 13, "color": INK}


def text(value: str) -> str:
    """Escape a text for plotly, which reads a little HTML in its labels."""
    return html.escape(value, quote=False)


def curves(history: Sequence[Mapping[str, float]], best_epoch: int | None) -> dict[str, Figure]:
    """Return title -> chart over the epochs: loss, accuracy, learning rate, as far as `history.csv` has them.

    Args:
        history: rows of `history.csv`; `epoch` counts from 1.
        best_epoch: is marked.
    """
    wanted = {
        "Loss": {"loss": "training", "val_loss": "validation"},
        "Accuracy": {"accuracy": "training", "val_accuracy": "validation"},
        "Learning rate": {"learning_rate": "learning rate"},
    }
    columns = set(history[0]) if history else set()
    return {
        title: _curve(history, {key: name for key, name in lines.items() if key in columns}, title, best_epoch)
        for title, lines in wanted.items()
        if columns & set(lines)
    }


def _curve(
    history: Sequence[Mapping[str, float]], lines: Mapping[str, str], title: str, best_epoch: int | None
) -> Figure:
    epochs = [row["epoch"] for row in history]
    few = "lines+markers" if len(epochs) <= 40 else "lines"
    colours = dict(zip(("training", "validation", "learning rate"), (GREY, BLUE, ORANGE), strict=True))
    data = [
        {
            "type": "scatter",
            "mode": few,
            "name": name,
            "x": epochs,
            "y": [row[key] if math.isfinite(row[key]) else None for row in history],
            "line": {"color": colours[name], "width": 2},
            "marker": {"size": 5},
            "hovertemplate": "epoch %{x}: %{y:.4g}",
        }
        for key, name in lines.items()
    ]
    layout = base_layout(240, xaxis=axis("epoch"), yaxis=axis(), hovermode="x unified")
    layout["showlegend"] = len(data) > 1
    if title == "Accuracy":
        layout["yaxis"] |= {"tickformat": ".0%", "range": [0, 1.02]}
    if title == "Learning rate":
        layout["yaxis"] |= {"rangemode": "tozero", "exponentformat": "power"}
    if best_epoch is not None and best_epoch in epochs:
        layout["shapes"] = [mark(best_epoch)]
    return {"data": data, "layout": layout}


def comparison(metrics: Mapping[str, Any]) -> Figure:
    """Return bars of test accuracy: the model, the frame-order probe, the single-frame baseline, guessing."""
    bars = [("this model", lookup(metrics, "test.top1"), lookup(metrics, "test.top1_interval"), BLUE)]
    bars += [
        (f"frames {order}", lookup(metrics, f"temporal.{order}.top1"), None, LIGHT_BLUE)
        for order in metrics.get("temporal", {})
    ]
    frame = lookup(metrics, "baseline.single_frame") or {}
    if frame:
        bars.append(("single-frame baseline", frame.get("top1"), frame.get("top1_interval"), ORANGE))
    bars.append(("always the largest class", largest_class(metrics["test"]["confusion"]), None, GREY))
    bars = [bar for bar in bars if bar[1] is not None][::-1]
    return {"data": [_bars(bars)], "layout": _comparison_layout(len(bars))}


def largest_class(confusion: Sequence[Sequence[int]]) -> float | None:
    """Return the share of the most frequent class: what answering it always would reach."""
    sizes = [sum(row) for row in confusion]
    return max(sizes) / sum(sizes) if sum(sizes) else None


def _bars(bars: Sequence[tuple[str, float, Any, str]]) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "y": [name for name, *_ in bars],
        "x": [value for _, value, *_ in bars],
        "marker": {"color": [colour for *_, colour in bars]},
        "text": [f"{100 * value:.1f} %" for _, value, *_ in bars],
        "textposition": "auto",
        "textangle": 0,
        "insidetextanchor": "start",
        "insidetextfont": {"color": [INK if colour == LIGHT_BLUE else "#ffffff" for *_, colour in bars]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [interval and interval[1] - value for _, value, interval, _ in bars],
            "arrayminus": [interval and value - interval[0] for _, value, interval, _ in bars],
            "color": INK,
            "thickness": 1.6,
            "width": 0,
        },
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }


def _comparison_layout(bars: int) -> Figure:
    return base_layout(
        70 + 38 * bars,
        xaxis={**axis("top-1 accuracy"), "range": [0, 1.03], "tickformat": ".0%"},
        yaxis={"automargin": True, "ticks": "", "showgrid": False, "ticksuffix": "  "},
        bargap=0.3,
        showlegend=False,
    )


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Return the confusion matrix as a heat map: rows are true classes, colours are shares of a row."""
    count, names = len(classes), [text(name) for name in classes]
    sizes = [max(sum(row), 1) for row in matrix]
    heat = {
        "type": "heatmap",
        "z": [[value / size for value in row] for row, size in zip(matrix, sizes, strict=True)],
        "customdata": matrix,
        "x": names,
        "y": names,
        "colorscale": SCALE,
        "zmin": 0,
        "zmax": 1,
        "xgap": 1 if count <= 60 else 0.4,
        "ygap": 1 if count <= 60 else 0.4,
        "showscale": False,
        "hovertemplate": "true: %{y}<br>predicted: %{x}<br>%{customdata} clips, %{z:.0%} of the class<extra></extra>",
    }
    ticks = {"type": "category", "dtick": 1, "tickfont": {"size": tick_size(count)}}
    ticks |= {"automargin": True, "showgrid": False, "zeroline": False, "ticks": "", "constrain": "domain"}
    layout = base_layout(
        confusion_size(classes),
        xaxis={**ticks, "side": "bottom", "tickangle": -90 if count > 3 else 0},
        yaxis={**ticks, "autorange": "reversed"},
        annotations=_counts(matrix, sizes) if count <= 20 else [],
    )
    return {"data": [heat], "layout": layout}


def tick_size(count: int) -> int:
    """Return the size of class names on an axis of so many, in pixels."""
    return 12 if count <= 20 else 10 if count <= 55 else 8


def confusion_size(classes: Sequence[str]) -> int:
    """Return the height of the heat map in pixels: enough for every name to be read."""
    cell = 34 if len(classes) <= 20 else 15 if len(classes) <= 55 else 9.6
    margin = 70 + 0.62 * tick_size(len(classes)) * max(map(len, classes), default=0)
    return round(max(margin + cell * len(classes), 220))


def _counts(matrix: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "x": column,
            "y": row,
            "text": str(value),
            "showarrow": False,
            "font": {"size": 11, "color": "#ffffff" if value / sizes[row] > 0.45 else INK},
        }
        for row, values in enumerate(matrix)
        for column, value in enumerate(values)
        if value
    ]


def reliability(table: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the reliability diagram: accuracy over confidence, beside the diagonal of a calibrated network."""
    rows = [row for row in table if row["clips"]]
    most = max((row["clips"] for row in rows), default=1)
    bars = {
        "type": "bar",
        "x": [(row["low"] + row["high"]) / 2 for row in rows],
        "y": [row["accuracy"] for row in rows],
        "width": [(row["high"] - row["low"]) * 0.92 for row in rows],
        "marker": {"color": BLUE, "opacity": [0.2 + 0.8 * math.sqrt(row["clips"] / most) for row in rows]},
        "customdata": [[row["clips"], row["confidence"]] for row in rows],
        "hovertemplate": "%{customdata[0]} clips<br>confidence %{customdata[1]:.1%}, accuracy %{y:.1%}<extra></extra>",
    }
    line = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip"}
    line["line"] = {"color": GREY, "dash": "dot"}
    shares = {"range": [0, 1.02], "tickformat": ".0%"}
    layout = base_layout(
        300,
        xaxis=axis("confidence") | shares,
        yaxis=axis("accuracy") | shares,
        showlegend=False,
    )
    return {"data": [bars, line], "layout": layout}


def folds(summary: Mapping[str, Any]) -> Figure:
    """Return each fold's headline numbers as points, with their mean as a line."""
    names = {
        "test.top1": "test top-1",
        "validation.top1": "validation top-1",
        "baseline.single_frame.top1": "single-frame baseline",
        "temporal.shuffled.top1": "frames shuffled",
    }
    rows = {name: summary["summary"].get(key) for key, name in names.items()}
    rows = {name: row for name, row in rows.items() if row and row["mean"] is not None}
    data = [_points(name, row, summary["folds"]) for name, row in reversed(rows.items())]
    means = [{"type": "line", "xref": "x", "yref": "y", "x0": row["mean"], "x1": row["mean"]} for row in rows.values()]
    for position, shape in enumerate(reversed(means)):
        shape |= {"y0": position - 0.3, "y1": position + 0.3, "line": {"color": INK, "width": 2}}
    layout = base_layout(
        90 + 44 * len(rows),
        xaxis={**axis(), "range": [0, 1.03], "tickformat": ".0%"},
        yaxis={"automargin": True, "showgrid": False, "ticksuffix": "  "},
        shapes=means,
        showlegend=False,
    )
    return {"data": data, "layout": layout}


def _points(name: str, row: Mapping[str, Any], numbers: Sequence[int]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": row["values"],
        "y": [name] * len(numbers),
        "text": [f"fold {number}" for number in numbers],
        "marker": {"size": 11, "color": BLUE, "opacity": 0.65},
        "hovertemplate": "%{text}: %{x:.1%}<extra></extra>",
    }


def base_layout(height: int, **more: Any) -> Figure:
    """Return the layout that all charts share, `height` pixels high, with changes."""
    layout = {
        "height": height,
        "margin": {"l": 48, "r": 12, "t": 16, "b": 44},
        "font": _FONT,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "x": 0, "y": 1.18},
        "dragmode": False,
    }
    return layout | more


def axis(title: str = "") -> dict[str, Any]:
    """Return the style of an axis with a title."""
    named = {"text": title, "font": {"size": 13, "color": GREY}, "standoff": 8}
    return {"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True, "title": named}


def mark(epoch: int) -> dict[str, Any]:
    """Return the line that marks an epoch in a chart over the epochs."""
    line = {"color": GREEN, "width": 1.5, "dash": "dot"}
    return {"type": "line", "x0": epoch, "x1": epoch, "yref": "paper", "y0": 0, "y1": 1, "line": line}
