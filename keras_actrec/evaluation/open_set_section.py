"""The section of the report about unknown actions: how well they are told from the known ones, and where gamma lies."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from keras_actrec.evaluation import plots
from keras_actrec.evaluation.markup import Safe, join, number, paragraph, percent, plot, section, table, tag

Metrics = Mapping[str, Any]
TITLES = {"distance": "Distance to the nearest centre", "max_softmax": "Largest probability", "energy": "Energy"}
_SHORT = {"distance": "Distance", "max_softmax": "Probability", "energy": "Energy"}
_AXES = {"distance": "minus the distance", "max_softmax": "largest probability", "energy": "log sum exp of the logits"}
_COLOURS = {"distance": plots.BLUE, "max_softmax": plots.ORANGE, "energy": plots.GREEN}


def open_set(metrics: Metrics) -> Safe:
    """Return the numbers and pictures of `open_set.measure`; nothing for a run that measured none."""
    found = metrics.get("open_set")
    if not found:
        return Safe("")
    scores = {name: found["scores"][name] for name in TITLES if name in found["scores"]}
    parts = [_words(found), _score_table(scores), *_classes(found, scores), *_gamma(found)]
    if found["known"] and found["unknown"]:
        parts.append(plot(curves(scores), "Share of known clips kept over share of unknown clips let in"))
        parts += [_distribution(name, numbers, found) for name, numbers in scores.items()]
    return section("unknown", "Unknown actions", *parts)


def curves(scores: Mapping[str, Metrics]) -> plots.Figure:
    """Return the ROC curve of each score, and dotted its OSCR curve, which counts only clips classified correctly."""
    data = []
    for name, numbers in scores.items():
        for key, dash, what in (("tpr", "solid", "kept"), ("ccr", "dot", "kept and right")):
            line = {
                "type": "scatter",
                "mode": "lines",
                "name": f"{TITLES[name]}: {what}",
                "x": numbers["curve"]["fpr"],
                "y": numbers["curve"][key],
                "line": {"color": _COLOURS[name], "width": 2, "dash": dash},
                "hovertemplate": "%{x:.1%} of unknown clips let in, %{y:.1%} of known ones<extra></extra>",
            }
            data.append(line)
    shares = {"range": [0, 1.02], "tickformat": ".0%"}
    layout = plots.base_layout(
        420,
        xaxis=plots.axis("unknown clips let in") | shares,
        yaxis=plots.axis("known clips") | shares,
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
        margin={"l": 48, "r": 12, "t": 16, "b": 130},
    )
    return {"data": data, "layout": layout}


def distribution(name: str, numbers: Metrics, gamma: float | None = None) -> plots.Figure:
    """Return the histogram of one score for known and unknown clips, as shares of each, with gamma marked.

    Args:
        name: of the score.
        numbers: of it.
        gamma: distance up to which clips are accepted, where there is one for all actions.
    """
    histogram = numbers["histogram"]
    edges = histogram["edges"]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    data = []
    for kind, colour in (("known", plots.BLUE), ("unknown", plots.ORANGE)):
        total = sum(histogram[kind]) or 1
        data.append(
            {
                "type": "bar",
                "name": kind,
                "x": middles,
                "y": [count / total for count in histogram[kind]],
                "width": [high - low for low, high in itertools.pairwise(edges)],
                "customdata": histogram[kind],
                "marker": {"color": colour, "opacity": 0.55},
                "hovertemplate": f"%{{customdata}} {kind} clips<extra></extra>",
            }
        )
    layout = plots.base_layout(
        260,
        xaxis=plots.axis(_AXES[name]),
        yaxis=plots.axis("share of clips") | {"tickformat": ".0%"},
        barmode="overlay",
    )
    if gamma is not None:
        line = {"color": plots.INK, "width": 1.5, "dash": "dot"}
        layout["shapes"] = [
            {"type": "line", "x0": -gamma, "x1": -gamma, "yref": "paper", "y0": 0, "y1": 1, "line": line}
        ]
        layout["annotations"] = [
            {"x": -gamma, "y": 1, "yref": "paper", "text": "gamma", "showarrow": False, "xanchor": "left", "xshift": 4}
        ]
    return {"data": data, "layout": layout}


def _words(found: Metrics) -> Safe:
    return paragraph(
        f"{found['known']} clips of the test split are compared with {found['unknown']} clips of actions that the "
        "network was not trained on. AUROC is how often a known clip scores higher than an unknown one (50 % is "
        "guessing); OSCR counts only known clips that are classified correctly, so it is at most the accuracy. The "
        "last column is what of the unknown clips is let in when 95 % of the known ones are.",
        css="small",
    )


def _score_table(scores: Mapping[str, Metrics]) -> Safe:
    rows = [
        [TITLES[name], *(percent(numbers[key]) for key in ("auroc", "oscr", "top1", "fpr95"))]
        for name, numbers in scores.items()
    ]
    return table(["Score", "AUROC", "OSCR", "Top-1", "Unknown at 95 % known"], rows, css="numbers")


def _classes(found: Metrics, scores: Mapping[str, Metrics]) -> list[Safe]:
    if not found["unknown_classes"]:
        return []
    rows = [
        [name, count, *(percent(numbers["per_class"][name]) for numbers in scores.values())]
        for name, count in found["unknown_classes"].items()
    ]
    header = ["Unknown action", "Clips", *(_SHORT[name] for name in scores)]
    return [tag("h3", "AUROC of each unknown action"), table(header, rows, css="numbers", sortable=True)]


def _gamma(found: Metrics) -> list[Safe]:
    """Return what the repository's gamma accepts."""
    held = found.get("repository")
    if not held:
        return []
    values = sorted(value for value in held["gammas"].values() if value is not None)
    if not values:
        how = "gamma is not set: there were no validation clips to set it by"
    elif held["rule"] == "global":
        how = f"gamma is {values[0]:.4g} for all actions"
    else:
        how = f"each action has its own gamma, {values[0]:.4g} to {values[-1]:.4g}"
    words = paragraph(
        f"The repository holds {held['codes']:,} codes of {held['code_size']} numbers, of {held['actions']} actions; "
        f"{how}. It was set on validation clips of known actions alone, for at most "
        f"{100 * held['false_accepts_asked']:g} % of false accepts: each clip was looked at as if its own action were "
        "unknown.",
        css="small",
    )
    rows = [
        ["Unknown clips that are accepted", percent(held["false_accepts"])],
        ["Known clips that are accepted", percent(held["known_accepted"])],
        ["Known clips that are accepted and right", percent(held["known_right"])],
        ["Accepted known clips that are right", percent(held["accepted_right"])],
        ["Top-1 without gamma", percent(held["top1"])],
    ]
    return [
        join([tag("h3", "Recognition within gamma"), words, table(["On the test split", "Share"], rows, css="numbers")])
    ]


def _distribution(name: str, numbers: Metrics, found: Metrics) -> Safe:
    held = found.get("repository") or {}
    values = set(held.get("gammas", {}).values())
    gamma = values.pop() if name == "distance" and held.get("rule") == "global" and len(values) == 1 else None
    title = tag("h3", f"{TITLES[name]}, AUROC ", number(numbers["auroc"]))
    return join([title, plot(distribution(name, numbers, gamma), f"Distribution of the score: {TITLES[name]}")])
