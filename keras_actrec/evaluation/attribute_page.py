"""The page of a confusion matrix folded by attributes: one chart for each, in the style of a run's report."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec import files
from keras_actrec.evaluation import markup, plots, report
from keras_actrec.evaluation.markup import Safe, paragraph, percent, plot, section, table, tag

Folded = Mapping[str, Mapping[str, Any]]


def write(path: str | os.PathLike[str], title: str, document: Mapping[str, Any]) -> None:
    """Publish the page.

    Args:
        path: the HTML file.
        title: of the run.
        document: as `attribute_command` publishes it.
    """
    folded = document["attributes"]
    body = markup.join([overview(document), *(chart(name, part) for name, part in folded.items())])
    about = f"{document['model']} on {document['dataset']}, {document['split']} split, fold {document['fold']}"
    files.write_text(path, report.page(title, f"which attribute goes wrong: {about}", body))


def overview(document: Mapping[str, Any]) -> Safe:
    """Return the table of accuracies, and how many attributes are wrong at once."""
    rows = [
        [name, len(part["values"]), *((percent(part[key]), part[key]) for key in ("accuracy", "chance"))]
        for name, part in document["attributes"].items()
    ]
    rows.append(["the class itself", document["classes"], (percent(document["top1"]), document["top1"]), ""])
    header = ["Attribute", "Values", "Accuracy", "Always the most frequent value"]
    words = paragraph(
        "A clip counts as right for an attribute when the predicted class has the true value of it, whatever else is "
        "wrong. The most frequent value is that of the clips shown here.",
        css="small",
    )
    together = paragraph("How many attributes of a clip are wrong at once:", css="small")
    accuracies, counts = table(header, rows, css="numbers"), _together(document["wrong"])
    return section("overview", "Overview", words, accuracies, together, counts)


def chart(name: str, part: Mapping[str, Any]) -> Safe:
    """Return the section of one attribute: its matrix, rows being true values."""
    values = part["values"]
    width = max(320, 90 + plots.confusion_size(values))
    matrix = plot(plots.confusion(part["confusion"], values), f"Confusion of {name}", width)
    words = paragraph(percent(part["accuracy"]), " right. Rows are true values, columns predicted ones.", css="small")
    return section(_anchor(name), name[:1].upper() + name[1:], words, tag("div", matrix, style=_narrow(width)))


def _together(wrong: Sequence[int]) -> Safe:
    total = max(sum(wrong), 1)
    rows = [[number, clips, (percent(clips / total), clips)] for number, clips in enumerate(wrong)]
    return table(["Wrong", "Clips", "Share"], rows, css="numbers")


def _anchor(name: str) -> str:
    """Return the attribute's name as the page's navigation takes it: small letters alone."""
    return "attribute" + re.sub("[^a-z]", "", name.lower())


def _narrow(width: int) -> str:
    return f"max-width:{max(width, 480)}px"
