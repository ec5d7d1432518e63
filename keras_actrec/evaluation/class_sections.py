"""The sections of the report that look at classes and clips: confusions, table per class, calibration, examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_actrec.evaluation import markup, plots
from keras_actrec.evaluation.folds import lookup
from keras_actrec.evaluation.markup import Safe, join, number, paragraph, percent, plot, points, section, table, tag
from keras_actrec.evaluation.thumbnails import Example

Metrics = Mapping[str, Any]


def confusions(metrics: Metrics) -> Safe:
    """Return the confusion matrix and its largest entries off the diagonal."""
    matrix, classes = metrics["test"]["confusion"], metrics["classes"]
    chart = confusion_chart(matrix, classes)
    rows = [
        [classes[true], classes[answer], count, percent(count / sum(matrix[true]))]
        for count, true, answer in largest_confusions(matrix)
    ]
    most = join([tag("h3", "Most frequent confusions"), _confusion_table(rows)]) if rows else ""
    words = paragraph("Rows are true classes, columns the answers; colour is the share of the row.", css="small")
    return section("confusion", "Confusion matrix", words, chart, most)


def confusion_chart(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Safe:
    """Return a confusion matrix as a picture, wide enough for the names of its classes."""
    longest = max(map(len, classes), default=0) * 0.62 * plots.tick_size(len(classes))
    cell = 18 if len(classes) <= 20 else 13 if len(classes) <= 55 else 9
    wide = round(longest + cell * len(classes) + 30)
    return plot(plots.confusion(matrix, classes), "Confusion matrix", min_width=wide)


def _confusion_table(rows: Sequence[Sequence[Any]]) -> Safe:
    return table(["True class", "Taken for", "Clips", "Share of the class"], rows, css="numbers two")


def largest_confusions(matrix: Sequence[Sequence[int]], most: int = 12) -> list[tuple[int, int, int]]:
    """Return (clips, true class, answer) of the largest entries off the diagonal."""
    entries = [
        (count, true, answer)
        for true, row in enumerate(matrix)
        for answer, count in enumerate(row)
        if count and true != answer
    ]
    return sorted(entries, key=lambda entry: (-entry[0], entry[1:]))[:most]


def class_table(metrics: Metrics) -> Safe:
    """Return the table per class, with the baseline beside it."""
    each, baseline = metrics["test"]["per_class"], lookup(metrics, "baseline.single_frame.per_class") or {}
    header = ["Class", "Clips", "Accuracy", *(["Baseline", "Gain"] if baseline else []), "Precision", "F1", "Taken for"]
    rows = [
        [
            name,
            (row["support"], row["support"]),
            _bar(row["recall"]),
            *(_beside(row["recall"], (baseline.get(name) or {}).get("recall")) if baseline else ()),
            (percent(row["precision"]), row["precision"]),
            (percent(row["f1"]), row["f1"]),
            _taken_for(metrics["test"]["confusion"][index], index, metrics["classes"]),
        ]
        for index, (name, row) in enumerate((name, each[name]) for name in metrics["classes"])
    ]
    words = paragraph("Accuracy of a class is its recall. A click on a heading sorts by it.", css="small")
    return section("classes", "Per class", words, table(header, rows, css="numbers wide", sortable=True))


def _bar(share: float | None) -> tuple[Safe, float | None]:
    if share is None:
        return markup.escape(None), None
    filled = tag("span", css="fill", style=f"width:{100 * share:.1f}%")
    return join([tag("span", filled, css="bar"), percent(share)]), share


def _beside(ours: float | None, theirs: float | None) -> Iterator[tuple[Safe, float | None]]:
    gain = None if ours is None or theirs is None else ours - theirs
    colour = "" if not gain else "up" if gain > 0 else "down"
    yield percent(theirs), theirs
    yield tag("span", points(gain), css=colour or None), gain


def _taken_for(row: Sequence[int], own: int, classes: Sequence[str]) -> str:
    others = [(count, -index) for index, count in enumerate(row) if index != own and count]
    if not others:
        return ""
    count, index = max(others)
    return f"{classes[-index]} ({count})"


def calibration(metrics: Metrics) -> Safe:
    """Return the reliability diagram and the numbers beside it."""
    test = metrics["test"]
    if not test["evaluated"]:
        return Safe("")
    rows = [
        ("Expected calibration error", percent(test["ece"]), "mean gap between confidence and accuracy; 0 is best"),
        ("Negative log likelihood", number(test["nll"]), "nats per clip; 0 is best"),
        ("Brier score", number(test["brier"]), "squared distance to the true class; 0 is best, 2 worst"),
    ]
    chart = tag("div", plot(plots.reliability(test["reliability"]), "Reliability diagram"), css="half")
    side = tag("div", table(["Measure", "Value", "Meaning"], rows, css="numbers last"), css="half")
    words = paragraph(
        "Of the answers given with so much confidence, how many are right? Bars on the dotted line: as many "
        "as the model says; below it: the model is too sure. Paler bars hold fewer clips.",
        css="small",
    )
    return section("calibration", "Calibration", words, tag("div", chart, side, css="halves"))


def example_clips(examples: Sequence[Example]) -> Safe:
    """Return strips of frames of wrong and right clips."""
    groups = [
        ("Wrong, the surest first", [example for example in examples if not example.right]),
        ("Right, from the surest to the least sure", [example for example in examples if example.right]),
    ]
    parts = [
        join([tag("h3", title), tag("div", *map(_example, members), css="examples")])
        for title, members in groups
        if members
    ]
    return section("examples", "Example clips", *parts) if parts else Safe("")


def _example(example: Example) -> Safe:
    answers = join(_answer(name, share, name == example.label) for name, share in example.answers)
    image = Safe(f'<img alt="frames of {markup.escape(example.path)}" src="{example.image}">')
    truth = paragraph("true: ", tag("b", example.label), " ", tag("span", example.path, css="path"))
    return tag("div", image, truth, tag("ol", answers), css=f"example {'right' if example.right else 'wrong'}")


def _answer(name: str, share: float, true: bool) -> Safe:
    bar = tag("span", css="share", style=f"width:{100 * share:.1f}%")
    return tag("li", bar, tag("b" if true else "span", name), tag("span", percent(share, 0)))
