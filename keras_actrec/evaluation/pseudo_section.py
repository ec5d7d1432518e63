"""The sections of the report about semi-supervised training: its networks side by side, and their pseudo-labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_actrec.evaluation import plots
from keras_actrec.evaluation.markup import Safe, number, paragraph, percent, plot, section, table, tag

Metrics = Mapping[str, Any]
History = Sequence[Mapping[str, float]]
Rows = Sequence[Mapping[str, Any]]

_COLOURS = {"primary": plots.BLUE, "auxiliary": plots.ORANGE}
_TERMS = {
    "supervised_loss": ("labelled clips", plots.BLUE, "solid"),
    "auxiliary_supervised_loss": ("labelled clips, auxiliary", plots.ORANGE, "solid"),
    "pseudo_loss": ("pseudo-labels", plots.BLUE, "dot"),
    "auxiliary_pseudo_loss": ("pseudo-labels, auxiliary", plots.ORANGE, "dot"),
    "contrastive_loss": ("contrastive", plots.GREEN, "solid"),
}
"""Column of history.csv -> name in the chart, colour, dash."""


def networks(metrics: Metrics) -> Safe:
    """Return the test accuracy of the primary network, the auxiliary, and both together; see `ensemble.document`."""
    found = metrics.get("semi_supervised")
    if not found:
        return Safe("")
    others = f"and {found['unlabelled']:,} without" if found["unlabelled"] else "alone"
    words = paragraph(f"Trained on {found['labelled']:,} clips with their labels {others}.", css="small")
    if "auxiliary" not in found:
        return section("semi", "Semi-supervised training", words)
    rows = [
        _network_row("primary only", metrics["test"]),
        _network_row("auxiliary", found["auxiliary"]),
        _network_row("ensemble", found["ensemble"]),
    ]
    header = ["Network", "Top-1", "95 % interval", "Top-5", "Loss", "Clips"]
    how = paragraph(
        "The results above are the primary network's, which is the one that is kept. The ensemble is the mean of both "
        "networks' probabilities.",
        css="small",
    )
    return section("semi", "Semi-supervised training", words, table(header, rows, css="numbers"), how)


def _network_row(name: str, numbers: Metrics) -> list[Any]:
    interval = numbers.get("top1_interval")
    span = None if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
    of = f"{numbers['evaluated']:,} of {numbers['expected']:,}"
    return [name, percent(numbers["top1"]), span, percent(numbers["top5"]), number(numbers["loss"]), of]


def pseudo_labels(history: History, rows: Rows = (), best_epoch: int | None = None) -> Safe:
    """Return what the pseudo-labels were worth; nothing for a run that had none.

    Args:
        history: rows of `history.csv`.
        rows: of `pseudo_labels.csv`, see `pseudo_table`.
        best_epoch: is marked.
    """
    if not history or "pseudo_share" not in history[0]:
        return Safe("")
    charts = [_half("Above the threshold, and right", shares(history, rows, best_epoch))]
    if _has_terms(history[0]):
        charts.append(_half("Terms of the loss", terms(history, best_epoch)))
    both = tag("div", *charts, css="halves")
    return section("pseudo", "Pseudo-labels", _words(history[0]), both, *_about_terms(history[0]), *_class_table(rows))


def shares(history: History, rows: Rows = (), best_epoch: int | None = None) -> plots.Figure:
    """Return per network the share above the threshold (dotted) and the precision, and the networks' agreement.

    The precision has a gap where no pseudo-label of known truth was accepted.
    """
    data = []
    for role, prefix in _roles(history[0]):
        known = _known(rows, role)
        precise = [
            row[f"{prefix}pseudo_precision"]
            if row[f"{prefix}pseudo_share"] and known.get(int(row["epoch"]), True)
            else None
            for row in history
        ]
        above = [row[f"{prefix}pseudo_share"] for row in history]
        data.append(_line(history, precise, f"{role}: precision", _COLOURS[role], "solid", ".1%"))
        data.append(_line(history, above, f"{role}: above the threshold", _COLOURS[role], "dot", ".1%"))
    if "agreement" in history[0]:
        agreed = [row["agreement"] for row in history]
        data.append(_line(history, agreed, "agreement of the two", plots.GREY, "dash", ".1%"))
    layout = _layout(best_epoch, history)
    layout["yaxis"] |= {"tickformat": ".0%", "range": [0, 1.02]}
    return {"data": data, "layout": layout}


def terms(history: History, best_epoch: int | None = None) -> plots.Figure:
    """Return the terms of the training loss, before they are weighted, as far as the run has them."""
    data = [
        _line(history, [row[name] for row in history], title, colour, dash, ".4g")
        for name, (title, colour, dash) in _TERMS.items()
        if name in history[0]
    ]
    layout = _layout(best_epoch, history)
    layout["yaxis"] |= {"rangemode": "tozero"}
    return {"data": data, "layout": layout}


def _line(
    history: History, values: Sequence[float | None], name: str, colour: str, dash: str, form: str
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(history) <= 40 else "lines",
        "name": name,
        "x": [row["epoch"] for row in history],
        "y": [value if value is not None and math.isfinite(value) else None for value in values],
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"size": 5},
        "hovertemplate": f"%{{y:{form}}}",
    }


def _layout(best_epoch: int | None, history: History) -> plots.Figure:
    """Return the layout of both charts: their names stand below, as there are too many for one line above."""
    layout = plots.base_layout(
        360,
        xaxis=plots.axis("epoch"),
        yaxis=plots.axis(),
        hovermode="x unified",
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top"},
        margin={"l": 48, "r": 12, "t": 16, "b": 130},
    )
    if best_epoch in {row["epoch"] for row in history}:
        layout["shapes"] = [plots.mark(best_epoch)]
    return layout


def _half(title: str, figure: plots.Figure) -> Safe:
    return tag("div", tag("h3", title), plot(figure, f"{title}, over the epochs"), css="half")


def _roles(columns: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each network that gave pseudo-labels, with the prefix of its columns."""
    for role, prefix in (("primary", ""), ("auxiliary", "auxiliary_")):
        if f"{prefix}pseudo_share" in columns:
            yield role, prefix


def _known(rows: Rows, role: str) -> dict[int, bool]:
    """Return epoch -> whether the truth of any accepted clip was known, as far as the rows tell."""
    found: dict[int, bool] = {}
    for row in rows:
        if row["network"] == role:
            found[row["epoch"]] = found.get(row["epoch"], False) or row["given_known"] > 0
    return found


def _words(columns: Mapping[str, Any]) -> Safe:
    two = "auxiliary_pseudo_share" in columns
    who = "one network gives an unlabelled clip, for the other to learn" if two else "the network gives itself to learn"
    return paragraph(
        f"A pseudo-label is the class that {who}, where its confidence is above the threshold. Precision is the share "
        "of right ones among those that were accepted. The truth was only hidden, and is looked at for these numbers "
        "alone: training never sees it. Clips whose truth is not known count in the share above the threshold, not in "
        "the precision.",
        css="small",
    )


def _has_terms(columns: Mapping[str, Any]) -> bool:
    return any(name in columns for name in _TERMS)


def _about_terms(columns: Mapping[str, Any]) -> list[Safe]:
    """Say how the terms and the two curves of the loss go together."""
    if not _has_terms(columns):
        return []
    words = (
        "The training loss is the weighted sum of these terms; the validation loss is the cross entropy of the primary "
        "network alone, so the two curves of the loss are not of one kind. Training accuracy is that of the labelled "
        "clips."
    )
    return [paragraph(words, css="small")]


def _class_table(rows: Rows) -> list[Safe]:
    """Return the numbers per class of the last epoch, the networks one below the other."""
    if not rows:
        return []
    epoch = max(row["epoch"] for row in rows)
    last = [row for row in rows if row["epoch"] == epoch]
    networks = list(dict.fromkeys(row["network"] for row in last))
    classes = list(dict.fromkeys(row["class"] for row in last))
    last.sort(key=lambda row: (classes.index(row["class"]), networks.index(row["network"])))
    words = paragraph(
        f"Epoch {epoch}: clips shown whose true class it is, how many of them were above the threshold, pseudo-labels "
        "that say this class, the share of right ones among those, and the share of the class's clips that got the "
        "right one. A click on a heading sorts by it.",
        css="small",
    )
    header = ["Class", *_if_two(networks, "Given by"), "Clips", "Accepted", "Given", "Precision", "Recall"]
    body = table(header, [_cells(row, networks) for row in last], css="numbers", sortable=True)
    summary = tag("summary", "Per class in the last epoch")
    return [tag("details", summary, words, body, open="open" if len(classes) <= 25 else None)]


def _cells(row: Mapping[str, Any], networks: Sequence[str]) -> list[Any]:
    return [
        row["class"],
        *_if_two(networks, row["network"]),
        *((row[name], row[name]) for name in ("clips", "accepted_of_class", "given")),
        *((percent(row[name]), row[name]) for name in ("precision", "recall")),
    ]


def _if_two(networks: Sequence[str], cell: str) -> list[str]:
    return [cell] if len(networks) > 1 else []
