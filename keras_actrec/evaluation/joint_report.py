"""The results of one network on several data sets, side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from keras_actrec import files
from keras_actrec.evaluation import markup, report
from keras_actrec.evaluation.markup import paragraph, percent, section, table, tag


def summarise(results: Mapping[str, Mapping[str, Any]], *, best_epoch: int) -> dict[str, Any]:
    """Return the content of `metrics.json` of a joint run.

    Args:
        results: name of the data set -> its own `metrics.json`.
        best_epoch: that the mean of the validation numbers chose.
    """
    documents = list(results.values())
    return {
        "model": documents[0]["model"],
        "seed": documents[0]["seed"],
        "best_epoch": best_epoch,
        "params": {name: document["params"] for name, document in results.items()},
        "joint": {name: _short(document) for name, document in results.items()},
        "contaminated": any(document.get("contaminated", False) for document in documents),
    }


def write(path: str | os.PathLike[str], summary: Mapping[str, Any], *, title: str) -> None:
    """Publish the page that links the reports of the data sets."""
    about = f"{summary['model']} on {' and '.join(summary['joint'])} at once, seed {summary['seed']}"
    words = paragraph(
        "One body, one classifier for each data set, and a batch of each in every step. The epoch is chosen by the "
        "mean of the validation numbers. Each row has a report of its own, with curves, confusions and clips.",
        css="small",
    )
    head = ["Data set", "Test top-1", "95 % interval", "Top-5", "Mean class", "Coverage", "Validation top-1"]
    rows = [_row(name, numbers) for name, numbers in summary["joint"].items()]
    body = section("results", "All data sets", words, table(head, rows, css="numbers"))
    files.write_text(path, report.page(title, about, body))


def _short(document: Mapping[str, Any]) -> dict[str, Any]:
    test = document["test"]
    names = ("top1", "top1_interval", "top5", "mean_class", "coverage", "evaluated", "expected")
    return {
        "dataset": document["dataset"],
        "fold": document["fold"],
        "classes": len(document["classes"]),
        "test": {name: test[name] for name in names},
        "validation": {"top1": document["validation"]["top1"]},
    }


def _row(name: str, numbers: Mapping[str, Any]) -> list[Any]:
    test = numbers["test"]
    low, high = test["top1_interval"]
    return [
        tag("a", name, href=f"{name}/report.html"),
        tag("b", percent(test["top1"])),
        markup.join([percent(low), " to ", percent(high)]),
        percent(test["top5"]),
        percent(test["mean_class"]),
        percent(test["coverage"]),
        percent(numbers["validation"]["top1"]),
    ]
