"""The report of a sweep: how the best number came about, which keys mattered, and all trials. It needs no server."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.evaluation import markup, report
from keras_actrec.evaluation.markup import Safe, paragraph, plot, section, tag
from keras_actrec.evaluation.plots import BLUE, GREY, LIGHT_BLUE, ORANGE, Figure, axis, base_layout, text
from keras_actrec.sweep import record, settings
from keras_actrec.sweep import space as spaces
from keras_actrec.sweep.record import State, Trial
from keras_actrec.sweep.search import Search
from keras_actrec.sweep.settings import SweepConfig
from keras_actrec.sweep.space import Range

FEWEST = 8
"""Complete trials, below which nothing is said of what mattered."""


def render(title: str, config: SweepConfig, search: Search, trials: Sequence[Trial]) -> str:
    """Return the page of a sweep as it stands."""
    metric, direction = settings.metric_of(config)
    best = record.best(trials, direction)
    parts = [
        _best(config, best, metric),
        section("progress", "Trials in their order", plot(history(trials, metric, direction), "Results by trial")),
        _importance(config, search, trials),
        _slices(config, trials, metric),
        _table(config, trials, metric),
    ]
    counted = {state: sum(one.state is state for one in trials) for state in State}
    told = ", ".join(f"{count} {state.value}" for state, count in counted.items() if count)
    about = (
        f"{config.model.name}: {config.sweep.search} search of {len(config.sweep.space)} keys; {told or 'no trial yet'}"
    )
    return report.page(title, about, markup.join(parts))


def history(trials: Sequence[Trial], metric: str, direction: str) -> Figure:
    """Return the chart of results over trials, with the best so far."""
    data = [_points([one for one in trials if one.state is state], state) for state in (State.COMPLETE, State.PRUNED)]
    known = [one for one in trials if one.state is State.COMPLETE]
    better = min if direction == "minimize" else max
    line = [better(one.value for one in known[: index + 1]) for index in range(len(known))]
    data.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best so far",
            "x": [one.number for one in known],
            "y": line,
            "line": {"color": ORANGE, "width": 2, "shape": "hv"},
        }
    )
    return {"data": data, "layout": base_layout(300, xaxis=axis("trial"), yaxis=axis(metric), showlegend=True)}


def importance(shares: Mapping[str, float], names: Mapping[str, str]) -> Figure:
    """Return bars of what each key explains, the largest at the top."""
    rows = sorted(shares.items(), key=lambda row: row[1])
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [text(names[key]) for key, _ in rows],
        "x": [share for _, share in rows],
        "marker": {"color": BLUE},
        "text": [f"{100 * share:.0f} %" for _, share in rows],
        "textposition": "auto",
        "textangle": 0,
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }
    layout = base_layout(
        80 + 38 * len(rows),
        xaxis={**axis("importance"), "range": [0, 1.03], "tickformat": ".0%"},
        yaxis={"automargin": True, "showgrid": False, "ticksuffix": "  "},
        showlegend=False,
    )
    return {"data": [bars], "layout": layout}


def slice_of(config: SweepConfig, trials: Sequence[Trial], key: str, metric: str) -> Figure:
    """Return results over the values of one key."""
    known, along = [one for one in trials if one.state is State.COMPLETE], config.sweep.space[key]
    number = isinstance(along, Range)
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": [one.point[key] if number else text(spaces.label(one.point[key])) for one in known],
        "y": [one.value for one in known],
        "text": [f"trial {one.number}" for one in known],
        "marker": {"size": 9, "color": [one.number for one in known], "colorscale": [[0, LIGHT_BLUE], [1, BLUE]]},
        "hovertemplate": "%{text}: %{x}, %{y:.4g}<extra></extra>",
    }
    across = {**axis(), "type": ("log" if along.log else "linear") if number else "category"}
    if not number:
        across |= {"categoryorder": "array", "categoryarray": [text(spaces.label(value)) for value in along]}
        across["range"] = [-0.5, len(along) - 0.5]
    elif along.log:
        across |= {"exponentformat": "power"}
    layout = base_layout(240, xaxis=across, yaxis=axis(metric), showlegend=False)
    return {"data": [points], "layout": layout}


def _points(trials: Sequence[Trial], state: State) -> dict[str, Any]:
    shown = [(one, one.value if one.value is not None else one.curve[-1]) for one in trials if one.value or one.curve]
    shown = [(one, value) for one, value in shown if math.isfinite(value)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": state.value if state is State.COMPLETE else "ended early",
        "x": [one.number for one, _ in shown],
        "y": [value for _, value in shown],
        "marker": {"size": 8, "color": BLUE if state is State.COMPLETE else GREY},
        "hovertemplate": "trial %{x}: %{y:.4g}",
    }


def _best(config: SweepConfig, best: Trial | None, metric: str) -> Safe:
    if best is None:
        return section("best", "Best", paragraph("No trial has gone its whole way yet."))
    names = spaces.short_names(list(config.sweep.space))
    rows = [[names[key], spaces.label(value)] for key, value in best.point.items()]
    told = f"Trial {best.number}: {metric} {best.value:.4g} on validation clips."
    caution = (
        "It is the best of many, so expect a little less of it on new clips: that number was chosen for being high. "
        "The test split tells, once."
    )
    return section(
        "best", "Best", paragraph(told), markup.table(["Key", "Value"], rows), paragraph(caution, css="small")
    )


def _importance(config: SweepConfig, search: Search, trials: Sequence[Trial]) -> Safe:
    if sum(one.state is State.COMPLETE for one in trials) < FEWEST:
        return Safe("")
    shares = search.importances(trials)
    if not shares:
        return Safe("")
    words = paragraph(
        "How much each key tells the best quarter of the trials from the others (PED-ANOVA, Watanabe et al. 2023), "
        "by itself, over the values that were tried. With few trials a rough guide.",
        css="small",
    )
    chart = plot(importance(shares, spaces.short_names(list(config.sweep.space))), "Importance of each key")
    return section("importance", "What mattered", words, chart)


def _slices(config: SweepConfig, trials: Sequence[Trial], metric: str) -> Safe:
    if not any(one.state is State.COMPLETE for one in trials):
        return Safe("")
    names = spaces.short_names(list(config.sweep.space))
    charts = [
        markup.join([tag("h3", names[key]), plot(slice_of(config, trials, key, metric), f"Results over {names[key]}")])
        for key in config.sweep.space
    ]
    return section("slices", "Results over each key", *charts)


def _table(config: SweepConfig, trials: Sequence[Trial], metric: str) -> Safe:
    names = spaces.short_names(list(config.sweep.space))
    measured = list(dict.fromkeys(name for one in trials for name in one.results))
    head = ["Trial", "State", metric, *names.values(), *measured, "Epochs", "Seconds", "Note"]
    rows = [
        [
            (one.number, one.number),
            one.state.value,
            _sortable(one.value),
            *(_sortable(one.point.get(key)) for key in config.sweep.space),
            *(_sortable(one.results.get(name)) for name in measured),
            (len(one.curve), len(one.curve)),
            _sortable(one.seconds),
            one.reason,
        ]
        for one in trials
    ]
    return section("trials", "All trials", markup.table(head, rows, css="numbers", sortable=True))


def _sortable(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.4g}" if isinstance(value, float) else str(value), value
    return None if value is None else spaces.label(value)
