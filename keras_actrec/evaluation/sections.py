"""The sections of the report, each a function from the measured numbers to HTML."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from keras_actrec.evaluation import markup, plots
from keras_actrec.evaluation.folds import lookup
from keras_actrec.evaluation.markup import Safe, join, number, paragraph, percent, plot, points, section, table, tag

Metrics = Mapping[str, Any]


def banners(metrics: Metrics) -> Safe:
    """Return what a reader must know before any number."""
    parts = []
    if metrics.get("contaminated"):
        counts = metrics.get("contaminated_clips", {})
        seen = " and ".join(f"{count} in its {split} list" for split, count in counts.items())
        text = "These numbers say little about new videos: the model has learnt from clips that it was evaluated on"
        parts.append(tag("div", tag("b", "Contaminated. "), f"{text} ({seen}).", css="banner bad"))
    missing = metrics["test"]["expected"] - metrics["test"]["evaluated"]
    if missing:
        text = (
            f"{missing} of {metrics['test']['expected']} {split_name(metrics)} clips could not be read. They are not in"
        )
        rest = (
            f"the accuracy below; counting them as wrong, top-1 is {percent(metrics['test']['top1_of_all'])}. "
            'The <a href="#data">quarantine list</a> has the reasons.'
        )
        parts.append(tag("div", tag("b", "Coverage below 100 %. "), f"{text} ", Safe(rest), css="banner warn"))
    if _gives_one_answer(metrics["test"]["confusion"]):
        text = "It has learnt nothing that tells the classes apart; its accuracy is the share of that class."
        parts.append(tag("div", tag("b", "The model gives the same answer for every clip. "), text, css="banner warn"))
    return join(parts)


def _gives_one_answer(confusion: Sequence[Sequence[int]]) -> bool:
    true = sum(any(row) for row in confusion)
    answered = sum(any(column) for column in zip(*confusion, strict=True))
    return answered == 1 and true > 1


def split_name(metrics: Metrics) -> str:
    """Return the name of the split whose numbers stand under "test"."""
    return str(metrics.get("split", "test"))


def headline(metrics: Metrics) -> Safe:
    """Return the cards with the main numbers, and how to read them."""
    test, frame = metrics["test"], lookup(metrics, "baseline.single_frame.top1")
    interval, split = test["top1_interval"], split_name(metrics)
    chooser = lookup(metrics, "validation.top1")
    gain = None if frame is None or test["top1"] is None else test["top1"] - frame
    cards = [
        _card(f"{split} top-1", percent(test["top1"]), _interval(interval), css="main"),
        _card("over the baseline", _with_unit(gain), Safe(f"single frame: {percent(frame)}"))
        if frame is not None
        else "",
        _card("top-5", percent(test["top5"]), _answers(metrics)),
        _card("mean class accuracy", percent(test["mean_class"]), "every class counts alike"),
        _card("coverage", percent(test["coverage"]), f"{test['evaluated']:,} of {test['expected']:,} clips"),
        _card("validation top-1", percent(chooser), _epoch(metrics)) if chooser is not None else "",
        _card(
            "parameters", markup.large(metrics["params"]), Safe(f"{markup.large(metrics['trainable_params'])} trained")
        ),
        _card("FLOPs per clip", markup.large(metrics["flops"]), "multiply and add = 2"),
    ]
    return section("results", "Results", tag("div", *cards, css="cards"), _reading(metrics))


def _answers(metrics: Metrics) -> str:
    sizes = [len(head["classes"]) for head in metrics["test"].get("heads", {}).values()]
    return f"of {math.prod(sizes)} combinations" if sizes else f"of {len(metrics['classes'])} classes"


def _card(title: str, value: Any, note: Any, css: str = "") -> Safe:
    parts = (tag("div", title, css="title"), tag("div", value, css="value"), tag("div", note, css="note"))
    return tag("div", *parts, css=f"card {css}".strip())


def _interval(interval: Sequence[float] | None) -> Safe:
    if interval is None:
        return Safe("nothing was measured")
    return Safe(f"95&nbsp;% interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f}")


def _with_unit(difference: float | None) -> Safe:
    return Safe(f'{points(difference)}<span class="unit"> points</span>')


def _epoch(metrics: Metrics) -> str:
    best = metrics.get("best_epoch")
    if metrics.get("select_by") == "last":
        return "of the last epoch"
    return "chose the epoch" if best is None else f"chose epoch {best}"


def _reading(metrics: Metrics) -> Safe:
    test, split = metrics["test"], split_name(metrics)
    views = test["clips"] * test["crops"]
    many = f"{test['clips']} clips x {test['crops']} crops per video, probabilities averaged"
    how = "one clip per video, centre crop" if views == 1 else many
    aside = " The test split has no part in training or in the choice of the epoch." if split == "test" else ""
    return paragraph(
        f"Measured on the {split} split of {metrics['dataset']}, fold {metrics['fold']}, with seed {metrics['seed']}; "
        f"{how}.{aside} The interval (Wilson) covers the chance in drawing these clips. It does not cover how the "
        "result changes with another seed, and clips of one group are more alike than it assumes.",
        css="small",
    )


def time_order(metrics: Metrics) -> Safe:
    """Return the comparison with the baseline and the frame-order probe, and the temporal pairs."""
    known = [name for name in ("temporal", "baseline") if metrics.get(name)]
    if not known or metrics["test"]["top1"] is None:
        return Safe("")
    words = paragraph(
        "The single-frame baseline has the same backbone and training budget, and sees one frame per clip. "
        if "baseline" in known
        else "",
        "The probe shows the same clips to the same model with their frames shuffled, reversed, or one frame held: "
        "what it loses is what it gets from the order of the frames."
        if "temporal" in known
        else "",
        css="small",
    )
    chart = plot(plots.comparison(metrics), "Accuracy of the model, the frame-order probe and the baseline")
    return section("time", "Does it use time?", words, chart, _pairs(metrics))


def _pairs(metrics: Metrics) -> Safe:
    each = lookup(metrics, "test.pairs.each") or {}
    if not each:
        return Safe("")
    columns = {"This model": "test"}
    columns |= {"Single frame": "baseline.single_frame"} if metrics.get("baseline") else {}
    columns |= {f"Frames {order}": f"temporal.{order}" for order in metrics.get("temporal", {})}
    # Names of pairs may hold dots, so only the way to the table is looked up by a dotted key.
    found = [lookup(metrics, f"{where}.pairs.each") or {} for where in columns.values()]
    rows = [
        [name, entry["clips"], *(percent((column.get(name) or {}).get("accuracy")) for column in found)]
        for name, entry in each.items()
    ]
    means = [percent(lookup(metrics, f"{where}.pairs.mean")) for where in columns.values()]
    rows.append([tag("b", "mean"), sum(entry["clips"] for entry in each.values()), *(tag("b", mean) for mean in means)])
    words = "Within each group only its own classes are compared, so guessing reaches "
    chances = sorted({f"{100 * entry['chance']:.0f} %" for entry in each.values()})
    return join(
        [
            tag("h3", "Classes that only time tells apart"),
            paragraph(f"{words}{' or '.join(chances)}.", css="small"),
            table(["Group", "Clips", *columns], rows, css="numbers"),
        ]
    )


OF_ITS_OWN = (
    "Training minimises {}, a loss of codes; the validation loss is the cross entropy of the logits that the classes' "
    "centres give, so the two curves are not of one kind. Training accuracy is measured with the centres of the epoch "
    "before."
)


def training(
    history: Sequence[Mapping[str, float]],
    best_epoch: int | None,
    objective: str = "cross_entropy",
    select_by: str | None = None,
) -> Safe:
    """Return the curves over the epochs.

    What was minimised is said where it is not the cross entropy; `select_by` is "last" where validation chose nothing.
    """
    figures = plots.curves(history, best_epoch)
    parts = [tag("div", tag("h3", title), plot(figure, title), css="half") for title, figure in figures.items()]
    chosen = "The dotted line marks the epoch that validation chose; its weights were kept and measured."
    if select_by == "last":
        chosen = "The weights of the last epoch were kept and measured; validation had no part in the choice."
    words = paragraph(chosen, css="small") if best_epoch is not None else ""
    other = paragraph(OF_ITS_OWN.format(objective), css="small") if objective != "cross_entropy" else ""
    return section("training", "Training", words, other, tag("div", *parts, css="halves thirds")) if parts else Safe("")


def data(metrics: Metrics, counts: Mapping[str, Mapping[str, int]], quarantined: Sequence[Any]) -> Safe:
    """Return clips per split and class, and the clips that could not be read, with their reasons."""
    lost = Counter(entry.split for entry in quarantined)
    sizes = {split: sum(members.values()) for split, members in counts.items()}
    used = {"train", "validation", "test"} | lost.keys()
    rows = [[split, size, lost.get(split, 0) if split in used else None] for split, size in sizes.items()]
    summary = table(["Split", "Clips", "Unreadable"], rows, css="numbers")
    parts = [summary, _readable(metrics), _tailored(metrics), _counts(counts), _quarantine(quarantined), _hash(metrics)]
    return section("data", "Data", *parts)


def _readable(metrics: Metrics) -> Safe:
    """Return how many clips of all splits that the run reads it could read."""
    if "coverage" not in metrics:
        return Safe("")
    counts = metrics["coverage"]
    return paragraph(f"{counts['readable']:,} of {counts['clips']:,} clips could be read.")


def _tailored(metrics: Metrics) -> Safe:
    """Return where the person boxes came from, if clips were cut towards people."""
    if "tailor" not in metrics:
        return Safe("")
    origins = {name: count for name, count in metrics["tailor"]["boxes"].items() if count}
    listed = ", ".join(f"{name} {count:,} clips" for name, count in origins.items())
    others = metrics["tailor"].get("whole_frame_cameras", [])
    cameras = f"; camera{'s' if len(others) > 1 else ''} {', '.join(map(str, others))}: whole frames" if others else ""
    return paragraph(f"Clips are cut towards the person. Person boxes: {listed or 'none'}{cameras}.")


def _counts(counts: Mapping[str, Mapping[str, int]]) -> Safe:
    names = sorted({name for members in counts.values() for name in members})
    rows = [[name or "(no label)", *((members.get(name, 0),) * 2 for members in counts.values())] for name in names]
    return tag(
        "details",
        tag("summary", "Clips per class and split"),
        table(["Class", *counts], rows, css="numbers", sortable=True),
    )


def _quarantine(quarantined: Sequence[Any]) -> Safe:
    if not quarantined:
        return paragraph("Every clip that was asked for could be read.", css="small")
    rows = [[entry.split, getattr(entry, "name", entry.path), entry.reason] for entry in quarantined]
    return tag(
        "details",
        tag("summary", f"Quarantine: {len(rows)} clips that could not be read"),
        table(["Split", "Clip", "Reason"], rows, css="texts", sortable=True),
        open="open" if len(rows) <= 25 else None,
    )


def _hash(metrics: Metrics) -> Safe:
    return paragraph("Manifest ", tag("code", metrics["manifest_hash"]), css="small")


def reproduction(command: str, config: str, environment: Mapping[str, Any], timing: Mapping[str, Any]) -> Safe:
    """Return what another person needs to get the same: command, configuration, environment; and the times taken."""
    parts = [tag("h3", "Command"), tag("pre", command)] if command else []
    for title, content in (
        ("Configuration", config),
        ("Environment", _listing(environment)),
        ("Times", _listing(timing)),
    ):
        if content:
            parts.append(tag("details", tag("summary", title), tag("pre", content)))
    return section("reproduce", "Reproduce", *parts) if parts else Safe("")


def _listing(values: Any, indent: str = "") -> str:
    """Return nested dictionaries and lists as indented lines."""
    if not isinstance(values, Mapping):
        values = {str(position): value for position, value in enumerate(values, start=1)}
    lines = []
    for key, value in values.items():
        if isinstance(value, list) and not any(isinstance(entry, Mapping | list) for entry in value):
            value = " ".join(map(str, value))
        nested = isinstance(value, Mapping | list)
        lines.append(f"{indent}{key}:" if nested else f"{indent}{key}: {value}")
        lines.extend([_listing(value, indent + "  ")] if nested else [])
    return "\n".join(lines)


def fold_summary(summary: Mapping[str, Any], links: Mapping[int, str]) -> Safe:
    """Return mean and standard deviation over folds, as chart and table."""
    from keras_actrec.evaluation.folds import format_spread

    def fold(number_: int) -> Safe:
        return (
            tag("a", f"fold {number_}", href=links[number_]) if number_ in links else markup.escape(f"fold {number_}")
        )

    rows = [
        [tag("code", key), tag("b", format_spread(key, row)), *(_fold_value(key, value) for value in row["values"])]
        for key, row in summary["summary"].items()
    ]
    seeds = ", ".join(map(str, summary["seeds"]))
    words = paragraph(
        f"Mean ± sample standard deviation (n - 1) over {len(summary['folds'])} folds; seeds {seeds}. The deviation "
        "shows how the folds differ. The folds' training lists overlap, so it is no interval for the mean.",
        css="small",
    )
    chart = plot(plots.folds(summary), "Accuracy of each fold")
    marks = (
        tag(
            "div",
            tag("b", "Contaminated. "),
            "At least one fold was evaluated on clips that its model learnt from.",
            css="banner bad",
        )
        if summary["contaminated"]
        else ""
    )
    body = table(["Number", "Mean ± deviation", *map(fold, summary["folds"])], rows, css="numbers")
    return join([marks, section("folds", "All folds", words, chart, body)])


def _fold_value(key: str, value: float | None) -> Safe:
    return number(value) if key.endswith(".nll") else percent(value)
