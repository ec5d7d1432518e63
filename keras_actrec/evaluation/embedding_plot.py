"""The picture of a network's features: points of a plane, a colour for each class, as a page and as a PNG."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_actrec import files
from keras_actrec.evaluation import markup, report
from keras_actrec.evaluation.markup import Safe, paragraph, percent, plot, section, table, tag
from keras_actrec.evaluation.plots import Figure, base_layout, text

COLOURS = (
    *("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#92400e", "#475569"),
    *("#60a5fa", "#fbbf24", "#34d399", "#f87171", "#c084fc", "#22d3ee", "#f472b6", "#a3e635", "#d6a77a", "#a3b1c6"),
)
"""Ten strong colours, then ten light ones."""
MOST_CLASSES = len(COLOURS)
PNG_SIDE, PNG_LEGEND, PNG_ROW = 1000, 360, 40
"""Of the PNG, in pixels."""


def figure(points: np.ndarray, labels: np.ndarray, paths: Sequence[str], classes: Sequence[str]) -> Figure:
    """Return the chart.

    Args:
        points: (N, 2).
        labels: (N,), numbers of classes; at most `MOST_CLASSES` distinct ones.
        paths: of the N clips, shown at the pointer.
        classes: names of all classes.
    """
    traces = []
    for colour, label in zip(COLOURS, np.unique(labels), strict=False):
        rows = np.flatnonzero(labels == label)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": text(classes[label]),
                "x": _plain(points[rows, 0]),
                "y": _plain(points[rows, 1]),
                "text": [text(paths[row]) for row in rows],
                "marker": {"color": colour, "size": 8, "opacity": 0.8, "line": {"color": "#ffffff", "width": 0.5}},
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
            }
        )
    # The axes of t-SNE have no unit and no meaning; only distances of near points have.
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    legend = {"orientation": "v", "x": 1.01, "y": 1, "itemsizing": "constant"}
    square = {**hidden, "scaleanchor": "x"}
    return {"data": traces, "layout": base_layout(640, xaxis=hidden, yaxis=square, legend=legend)}


def write_page(path: str | os.PathLike[str], title: str, document: Mapping[str, Any], chart: Figure) -> None:
    """Publish the page.

    Args:
        path: the HTML file.
        title: of the run.
        document: as `training.embed` publishes it.
        chart: see `figure`.
    """
    near, plane = document["neighbours"], document["neighbours_in_plane"]
    cards = [
        (
            "clips drawn",
            f"{document['clips']:,}",
            f"of {document['clips_of_split']:,} of the {document['split']} split",
        ),
        ("neighbours of the same class", percent(near["share"]), f"of the {near['k']} nearest, all dimensions"),
        ("by chance", percent(near["chance"]), "random neighbours"),
        ("in the plane", percent(plane["share"]), "the same, between the points below"),
    ]
    overview = section("overview", "Overview", tag("div", *map(_card, cards), css="cards"))
    drawn = section("features", "Features", _words(document), plot(chart, "Features of the clips, by class", 720))
    body = markup.join([_banner(document), overview, drawn, _classes(document)])
    about = (
        f"features of {document['model']} on {document['dataset']}, {document['split']} split, fold {document['fold']}"
    )
    files.write_text(path, report.page(title, about, body))


def picture(points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Draw the points and a legend: uint8 (H, W, 3), blue first, as OpenCV writes it."""
    import cv2

    present = np.unique(labels)
    canvas = np.full((max(PNG_SIDE, PNG_ROW * (len(present) + 1)), PNG_SIDE + PNG_LEGEND, 3), 255, np.uint8)
    places = _to_pixels(points)
    for position, (colour, label) in enumerate(zip(COLOURS, present, strict=False)):
        bgr = _bgr(colour)
        for x, y in places[labels == label]:
            cv2.circle(canvas, (int(x), int(y)), 7, bgr, -1, cv2.LINE_AA)
            cv2.circle(canvas, (int(x), int(y)), 7, (255, 255, 255), 1, cv2.LINE_AA)
        row = PNG_ROW * (position + 1)
        cv2.circle(canvas, (PNG_SIDE + 20, row - 6), 9, bgr, -1, cv2.LINE_AA)
        name = classes[label].encode("ascii", "replace").decode()
        cv2.putText(canvas, name, (PNG_SIDE + 42, row), cv2.FONT_HERSHEY_SIMPLEX, 0.65, (50, 36, 28), 1, cv2.LINE_AA)
    return canvas


def write_picture(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Publish a picture as PNG."""
    import cv2

    done, data = cv2.imencode(".png", image)
    if not done:
        raise ValueError(f"OpenCV could not encode the picture for {path}")
    with files.publish(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _banner(document: Mapping[str, Any]) -> Safe:
    if not document["contaminated"]:
        return Safe("")
    words = "The network has learnt from some of these clips: new ones may lie less neatly."
    return tag("div", tag("b", "Contaminated. "), words, css="banner bad")


def _words(document: Mapping[str, Any]) -> Safe:
    left_out = document["classes_of_run"] - len(document["classes"])
    rest = f" {left_out} of the run's {document['classes_of_run']} classes are left out." if left_out else ""
    return paragraph(
        "Each point is a clip: what the classifier sees of it, the mean over its views, laid out by t-SNE (perplexity "
        f"{document['perplexity']:g}, seed {document['seed']}). Points that are near in the plane mostly are near in "
        f"all {document['dimensions']} dimensions; how far groups lie apart, and how large they are, means little."
        f"{rest} A click on a class hides it, a double click shows it alone.",
        css="small",
    )


def _classes(document: Mapping[str, Any]) -> Safe:
    rows = [
        [name, row["clips"], (percent(row["neighbours"]), row["neighbours"]), (percent(row["chance"]), row["chance"])]
        for name, row in document["classes"].items()
    ]
    header = ["Class", "Clips", "Neighbours of the same class", "By chance"]
    return section("classes", "Per class", table(header, rows, css="numbers", sortable=True))


def _card(parts: tuple[str, Any, str]) -> Safe:
    title, value, note = parts
    inner = zip(("title", "value", "note"), (title, value, note), strict=True)
    return tag("div", *(tag("div", content, css=css) for css, content in inner), css="card")


def _to_pixels(points: np.ndarray) -> np.ndarray:
    """Scale points, both axes alike, into the square of the PNG; y upwards, as on the page."""
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (PNG_SIDE - 60) / max(float((high - low).max()), 1e-12)
    centred = (points - (low + high) / 2) * scale
    return np.round(centred * [1, -1] + PNG_SIDE / 2).astype(int)


def _plain(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


def _bgr(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return blue, green, red
