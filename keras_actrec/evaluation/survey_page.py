"""The page of a data set: one HTML file that needs no network, in the style of a run's report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec import files
from keras_actrec.data.manifest import SPLITS
from keras_actrec.evaluation import markup, report, survey_plots
from keras_actrec.evaluation.markup import Safe, join, number, paragraph, plot, section, table, tag
from keras_actrec.evaluation.survey_pictures import Strip
from keras_actrec.evaluation.survey_plots import NO_LABEL

Numbers = Mapping[str, Any]


def write(path: str | os.PathLike[str], numbers: Numbers, pictures: Mapping[str, Sequence[Strip]], root: str) -> None:
    """Publish the page.

    Args:
        path: the HTML file.
        numbers: see `survey_numbers.build`.
        pictures: see `survey_pictures.strips`.
        root: folder of the videos, for the headline.
    """
    body = join(
        [
            overview(numbers),
            clips(numbers),
            lengths(numbers),
            formats(numbers),
            motion(numbers),
            samples(numbers, pictures),
            class_table(numbers),
            unreadable(numbers),
        ]
    )
    files.write_text(path, report.page(numbers["dataset"], f"fold {numbers['fold']}, in {root}", body))


def overview(numbers: Numbers) -> Safe:
    """Return the cards with the main numbers."""
    seconds, lost = numbers["seconds"], numbers["clips"] - numbers["readable"]
    trained = [row for row in numbers["classes"].values() if row["splits"].get("train")]
    sizes, rates = numbers["sizes"], numbers["rates"]
    median, longest = (None, "") if seconds is None else (seconds["median"], f"{_span(seconds)} s")
    cards = [
        _card("clips", f"{numbers['clips']:,}", f"{numbers['hours']:.2f} hours", main=True),
        _card("classes", len(trained), "with training clips"),
        _card("median length", join([number(median, 1), _unit("s")]), longest),
        _card("frame sizes", len(sizes), f"most often {next(iter(sizes), '-')}"),
        _card("frame rates", len(rates), f"most often {next(iter(rates), '-')} per second"),
        _card("unreadable", lost, "named below" if lost else "every file opens"),
    ]
    return section("overview", "Overview", tag("div", *cards, css="cards"))


def clips(numbers: Numbers) -> Safe:
    """Return the chart of clips per class and split."""
    classes = numbers["classes"]
    chart = plot(survey_plots.clips(classes), "Clips per class and split", survey_plots.width_over(classes))
    return section("clips", "Clips per class", chart)


def lengths(numbers: Numbers) -> Safe:
    """Return the histograms of lengths, in seconds and in frames."""
    if numbers["seconds"] is None:
        return Safe("")
    charts = [
        tag("div", plot(survey_plots.histogram(numbers[name], f"length in {name}"), f"Lengths in {name}"), css="half")
        for name in ("seconds", "frames")
    ]
    words = paragraph(
        f"From {_span(numbers['seconds'])} s and {_span(numbers['frames'], 0)} frames. The dotted line is the median; "
        "the last bar holds all that is longer.",
        css="small",
    )
    return section("lengths", "Lengths", words, tag("div", *charts, css="halves"))


def formats(numbers: Numbers) -> Safe:
    """Return the charts of frame sizes and frame rates."""
    named = {"sizes": "frame size (width x height)", "rates": "frames per second"}
    charts = [
        tag("div", plot(survey_plots.kinds(numbers[name], title), f"Clips by {title}"), css="half")
        for name, title in named.items()
        if numbers[name]
    ]
    return section("formats", "Sizes and rates", tag("div", *charts, css="halves")) if charts else Safe("")


def motion(numbers: Numbers) -> Safe:
    """Return the chart of mean motion per class."""
    classes, taken = numbers["classes"], numbers["motion_sample"]
    if all(row["motion"] is None for row in classes.values()):
        return Safe("")
    words = paragraph(
        f"Mean absolute difference of adjacent frames, in grey values of 0 to 255: {taken['pairs_per_clip']} pairs of "
        f"frames from all over the clip, at {taken['size']} x {taken['size']} pixels, of at most "
        f"{taken['clips_per_class']} clips per class (always the same ones). The lines are the standard deviation over "
        "clips. A moving camera counts as motion, and at a higher frame rate frames differ less.",
        css="small",
    )
    chart = plot(survey_plots.motion(classes), "Mean motion per class", survey_plots.width_over(classes))
    return section("motion", "Motion", words, chart)


def samples(numbers: Numbers, pictures: Mapping[str, Sequence[Strip]]) -> Safe:
    """Return the sheet of sample frames."""
    cards = [_sheet(name, pictures[name]) for name in numbers["classes"] if pictures.get(name)]
    words = paragraph("Each row is one clip: early, in the middle, late.", css="small")
    return section("samples", "Sample frames", words, tag("div", *cards, css="examples")) if cards else Safe("")


def class_table(numbers: Numbers) -> Safe:
    """Return all numbers of each class in a table."""
    classes = numbers["classes"]
    splits = [split for split in SPLITS if any(split in row["splits"] for row in classes.values())]
    rows = [
        [
            name or NO_LABEL,
            *((row["splits"].get(split, 0),) * 2 for split in splits),
            _sortable(row["median_seconds"]),
            _sortable(row["motion"]),
            row["unreadable"],
        ]
        for name, row in classes.items()
    ]
    header = ["Class", *splits, "Median seconds", "Motion", "Unreadable"]
    words = paragraph("A click on a heading sorts by it.", css="small")
    return section("classes", "Per class", words, table(header, rows, css="numbers", sortable=True))


def unreadable(numbers: Numbers) -> Safe:
    """Return the clips that cannot be read, with their reasons."""
    words = paragraph(
        "Of each file the index and the first frame were read, and of the clips above and those whose motion was "
        "measured, frames from all over the clip. Damage deeper in the other files shows when they are trained on, or "
        "when frames are prepared (python -m keras_actrec prepare).",
        css="small",
    )
    rows = [[entry["split"], entry["path"], entry["reason"]] for entry in numbers["unreadable"]]
    found = table(["Split", "Clip", "Reason"], rows, css="texts", sortable=True) if rows else paragraph("None.")
    return section("unreadable", "Unreadable clips", words, found)


def _card(title: str, value: Any, note: str, *, main: bool = False) -> Safe:
    parts = [("title", title), ("value", value), ("note", note)]
    return tag("div", *(tag("div", content, css=css) for css, content in parts), css="card main" if main else "card")


def _unit(name: str) -> Safe:
    return tag("span", f" {name}", css="unit")


def _span(found: Mapping[str, Any], digits: int = 1) -> str:
    return f"{found['least']:,.{digits}f} to {found['most']:,.{digits}f}"


def _sortable(value: float | None) -> tuple[Safe, float | None]:
    return number(value, 1), value


def _sheet(name: str, members: Sequence[Strip]) -> Safe:
    images = join(_image(markup.escape(strip.path), strip.image) for strip in members)
    return tag("div", tag("h3", name or NO_LABEL), images, css="example plain")


def _image(path: Safe, data: str) -> Safe:
    return Safe(f'<img alt="frames of {path}" title="{path}" src="{data}">')
