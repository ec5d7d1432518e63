"""The report of a run: one HTML file that needs no network, readable on a phone.

It holds everything: numbers, charts (plotly's bundled JavaScript, once), frames of example clips, and how to get the
same again. A content security policy in the page forbids it to load anything.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.resources
import os
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.evaluation import class_sections, head_section, markup, open_set_section, pseudo_section, sections
from keras_actrec.evaluation.markup import Safe
from keras_actrec.evaluation.thumbnails import Example


@dataclasses.dataclass(frozen=True)
class Content:
    """What a report is made of; only the metrics are required.

    Attributes:
        metrics: content of `metrics.json` (see `results.build`).
        title: name of the run.
        history: rows of `history.csv` (see `read_history`).
        counts: split -> class -> clips (`Manifest.counts`).
        quarantined: entries of `Quarantine`: path, split, reason.
        examples: see `thumbnails.examples`.
        config_yaml: the resolved configuration.
        environment: content of `environment.json`.
        command: the command line of the run.
        timing: content of `timing.json`.
        pseudo_labels: rows of `pseudo_labels.csv` (see `pseudo_table.read_pseudo_labels`).
    """

    metrics: Mapping[str, Any]
    title: str = "run"
    history: Sequence[Mapping[str, float]] = ()
    counts: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    quarantined: Sequence[Any] = ()
    examples: Sequence[Example] = ()
    config_yaml: str = ""
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: str = ""
    timing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pseudo_labels: Sequence[Mapping[str, Any]] = ()


def write(path: str | os.PathLike[str], content: Content) -> None:
    """Publish the report of a run."""
    files.write_text(path, render(content))


def render(content: Content) -> str:
    """Return the report of a run as HTML."""
    metrics = content.metrics
    parts = [
        sections.banners(metrics),
        sections.headline(metrics),
        head_section.heads(metrics),
        sections.time_order(metrics),
        pseudo_section.networks(metrics),
        open_set_section.open_set(metrics),
        sections.training(
            content.history,
            metrics.get("best_epoch"),
            metrics.get("objective", "cross_entropy"),
            metrics.get("select_by"),
        ),
        pseudo_section.pseudo_labels(content.history, content.pseudo_labels, metrics.get("best_epoch")),
        class_sections.confusions(metrics),
        class_sections.class_table(metrics),
        class_sections.calibration(metrics),
        class_sections.example_clips(content.examples),
        sections.data(metrics, content.counts, content.quarantined),
        sections.reproduction(content.command, content.config_yaml, content.environment, content.timing),
    ]
    about = f"{metrics['model']} on {metrics['dataset']}, fold {metrics['fold']}, seed {metrics['seed']}"
    return page(content.title, about, markup.join(parts))


def write_folds(
    path: str | os.PathLike[str],
    summary: Mapping[str, Any],
    *,
    title: str = "folds",
    links: Mapping[int, str] | None = None,
) -> None:
    """Publish the report of several folds.

    Args:
        path: the HTML file.
        summary: see `folds.summarise`.
        title: name of the run.
        links: fold -> address of its own report, relative to this one.
    """
    about = f"{summary['model']} on {summary['dataset']}, {len(summary['folds'])} folds"
    files.write_text(path, page(title, about, sections.fold_summary(summary, links or {})))


def read_history(path: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Read `history.csv`: one row of numbers per epoch; an empty list when there is none."""
    path = Path(path)
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError):
        raise UserError(
            f"{path} is damaged: expected a row of numbers per epoch; resume the run to write it anew."
        ) from None


def page(title: str, about: str, body: Safe) -> str:
    """Return a whole page around sections: style, navigation and charts' code in one file."""
    from plotly.offline import get_plotlyjs

    template = string.Template(_resource("report.html"))
    return template.substitute(
        title=markup.escape(title),
        about=markup.escape(about),
        navigation=_navigation(body),
        body=body,
        style=_resource("report.css"),
        script=_resource("report.js"),
        plotly=get_plotlyjs(),
    )


def _navigation(body: Safe) -> Safe:
    found = re.findall(r'<section id="([a-z]+)"><h2>([^<]+)</h2>', body)
    return markup.join(markup.tag("a", Safe(title), href=f"#{anchor}") for anchor, title in found)


def _resource(name: str) -> str:
    return importlib.resources.files("keras_actrec.evaluation").joinpath(name).read_text(encoding="utf-8")
