"""HiPlot: each trial as a line over its values and numbers. One file that needs no server."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from keras_actrec.errors import UserError
from keras_actrec.sweep import settings
from keras_actrec.sweep import space as spaces
from keras_actrec.sweep.record import Trial
from keras_actrec.sweep.settings import SweepConfig
from keras_actrec.sweep.space import Range

HIDDEN = ["uid"]
NOTHING = "<!DOCTYPE html><title>HiPlot</title><p>No trial has a number yet: come back after the first epoch.</p>"


def points(config: SweepConfig, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return what HiPlot is given of each trial that has a number; one that was ended early has its last."""
    metric, _ = settings.metric_of(config)
    names = spaces.short_names(list(config.sweep.space))
    found = []
    for one in trials:
        value = _number(one)
        if value is None:
            continue
        point = {_plain(names[key]): _value(one.point[key]) for key in config.sweep.space}
        more = {_plain(name): number for name, number in one.results.items()}
        times = {} if one.seconds is None else {"seconds": one.seconds}
        found.append(
            {"trial": one.number, "state": one.state.value, **point, **times, "epochs": len(one.curve), **more}
            | {metric: value}
        )
    return found


def render(config: SweepConfig, trials: Sequence[Trial]) -> str:
    """Return HiPlot's page of a sweep, which needs no server; a word of patience where there is nothing to show.

    Raises:
        UserError: HiPlot is not installed.
    """
    try:
        import hiplot
    except ImportError as error:
        raise UserError(f"this page needs HiPlot, but it cannot be imported ({error}): pip install hiplot") from None
    found = points(config, trials)
    if not found:
        return NOTHING
    metric, _ = settings.metric_of(config)
    experiment = hiplot.Experiment(
        datapoints=[hiplot.Datapoint(uid=str(point["trial"]), values=point) for point in found]
    )
    experiment.colorby = metric
    names = spaces.short_names(list(config.sweep.space))
    for key, axis in config.sweep.space.items():
        if isinstance(axis, Range):
            kind = hiplot.ValueType.NUMERIC_LOG if axis.log else hiplot.ValueType.NUMERIC
            experiment.parameters_definition[_plain(names[key])].type = kind
    columns = list(dict.fromkeys(name for point in found for name in point))
    # HiPlot draws the last column leftmost.
    experiment.display_data(hiplot.Displays.PARALLEL_PLOT).update({"hide": HIDDEN, "order": columns[::-1]})
    experiment.display_data(hiplot.Displays.TABLE).update({"hide": [*HIDDEN, "from_uid"]})
    return experiment.to_html()


def _number(one: Trial) -> float | None:
    value = one.value if one.value is not None else next(iter(one.curve[::-1]), None)
    return value if value is not None and math.isfinite(value) else None


def _value(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else spaces.label(value)


def _plain(name: str) -> str:
    # HiPlot writes column names into a script as they are.
    return re.sub(r"[^\w .-]", "_", name)
