"""The section of the report about several heads, such as verb and noun: what each gets right, and what it confuses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from keras_actrec.evaluation import class_sections
from keras_actrec.evaluation.markup import Safe, join, paragraph, percent, section, table, tag

Metrics = Mapping[str, Any]


def heads(metrics: Metrics) -> Safe:
    """Return the numbers of each head beside those of all together; nothing for a network with one head."""
    test = metrics["test"]
    each = test.get("heads") or {}
    if not each:
        return Safe("")
    together = " and ".join(each)
    rows = [_row(name, head, len(head["classes"])) for name, head in each.items()]
    rows.append(_row(tag("b", together), test, math.prod(len(head["classes"]) for head in each.values())))
    words = paragraph(
        f"A clip counts as right for {together} when all of them are right; the five best of all combinations count "
        "for top-5. The confusion matrix, the table per class and the calibration below are about the most probable "
        "combination among those that the data set has.",
        css="small",
    )
    charts = [
        join(
            [tag("h3", f"Confusions of the {name}"), class_sections.confusion_chart(head["confusion"], head["classes"])]
        )
        for name, head in each.items()
    ]
    header = ["Head", "Classes", "Top-1", "Top-5", "Mean class accuracy"]
    return section("heads", "Heads", words, table(header, rows, css="numbers"), *charts)


def _row(name: str | Safe, numbers: Metrics, classes: int) -> list[Any]:
    return [name, classes, percent(numbers["top1"]), percent(numbers["top5"]), percent(numbers["mean_class"])]
