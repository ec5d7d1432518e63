"""What a comparison leaves for people: a text, CSV and JSON files, and one HTML page that needs no network."""

from __future__ import annotations

import csv
import importlib.resources
import io
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.config import dump_yaml
from keras_actrec.evaluation import markup, paired
from keras_actrec.evaluation.markup import Safe, join, paragraph, plot, points, section, table, tag
from keras_actrec.swarm import compare_plot, compare_table
from keras_actrec.swarm.compare_settings import ARMS, CONTROL, PULL, CompareConfig
from keras_actrec.swarm.compare_summary import MEASURES, PULLS, Results

REPORT = "report.html"
STYLE = """
.six { font-variant-numeric: tabular-nums; white-space: nowrap; }
.six th, .six td { padding: 4px 8px; text-align: right; }
.six .group { text-align: center; border-left: 1px solid var(--line); }
"""
AGAINST = {CONTROL: "independent runs", PULL: "the step towards the best alone"}


def write(directory: Path, config: CompareConfig, results: Results, summary: Mapping[str, Any]) -> None:
    """Publish everything beside the results.

    Args:
        directory: of the comparison.
        config: of it.
        results: of every swarm.
        summary: see `compare_summary.summarise`.
    """
    files.write_json(directory / "summary.json", summary)
    files.write_text(directory / "table.txt", text(summary) + "\n")
    files.write_text(directory / "results.csv", _csv(_result_rows(results)))
    files.write_text(directory / "table.csv", _csv(compare_table.rows(summary)))
    files.write_text(directory / "differences.csv", _csv(_difference_rows(summary)))
    files.write_text(directory / REPORT, html(config, summary))


def text(summary: Mapping[str, Any]) -> str:
    """Return table, differences and conclusion as plain text."""
    parts = [_about(summary), compare_table.text(summary)]
    for against, measure in _families(summary):
        rows = _family(summary, against, measure)
        title = f"Paired differences to {AGAINST[against]}, {MEASURES[measure]} (points of test accuracy)"
        parts.append("\n".join([title, *_lines(rows, summary["confidence"])]))
    parts.append(_how(summary))
    parts.append("\n".join(f"- {line}" for line in summary["conclusion"]))
    return "\n\n".join(parts)


def html(config: CompareConfig, summary: Mapping[str, Any]) -> str:
    """Return the page."""
    from plotly.offline import get_plotlyjs

    body = join(
        [
            section("conclusion", "What it shows", tag("ul", *(tag("li", line) for line in summary["conclusion"]))),
            section("accuracy", "Test accuracy", compare_table.html(summary), paragraph(_columns(), css="small")),
            *(_compared(summary, against) for against in AGAINST),
            section("coupling", "How much of the moves was collaboration", *_coupling(summary)),
            section("configuration", "Configuration", tag("pre", dump_yaml(config))),
        ]
    )
    resources = importlib.resources.files("keras_actrec.evaluation")
    template = string.Template(resources.joinpath("report.html").read_text(encoding="utf-8"))
    found = re.findall(r'<section id="([a-z]+)"><h2>([^<]+)</h2>', body)
    return template.substitute(
        title=markup.escape(f"{config.name}: does collaboration help?"),
        about=markup.escape(_about(summary)),
        navigation=markup.join(tag("a", Safe(title), href=f"#{anchor}") for anchor, title in found),
        body=body,
        style=resources.joinpath("report.css").read_text(encoding="utf-8") + STYLE,
        script=resources.joinpath("report.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )


def _about(summary: Mapping[str, Any]) -> str:
    rates = ", ".join(
        f"{rate[0]:g} to {rate[1]:g}" if isinstance(rate, tuple | list) else f"{rate:g}" for rate in summary["rates"]
    )
    return (
        f"{summary['model']} ({summary['weights']:,} weights) on {summary['dataset']}: {summary['particles']} networks "
        f"x {summary['rounds']} rounds in every arm, {len(summary['pairs'])} repetitions (seed, fold); learning rates "
        f"{rates}; {' or '.join(map(str, summary['evaluated']))} test clips{_coverage(summary)}"
    )


def _coverage(summary: Mapping[str, Any]) -> str:
    if summary["evaluated"] == summary["expected"]:
        return ""
    return f" of {' or '.join(map(str, summary['expected']))}, as the others could not be read"


def _columns() -> str:
    return (
        "In percent: mean, standard deviation over the repetitions, maximum. PSO-1, 2, ...: the single networks; "
        "chosen: the one with the best validation; mean: over the networks. Each network met the test split once, with "
        "the weights of its best round by validation."
    )


def _how(summary: Mapping[str, Any]) -> str:
    count = len(summary["pairs"])
    exact = f" With {count} pairs the sign-flip test cannot go below {paired.smallest_sign_flip(count):.3g}."
    folds = {fold for _, fold in summary["pairs"]}
    overlap = " Folds share clips, so their pairs are not quite independent and the intervals too narrow."
    return (
        f"Intervals: Student's, {100 * summary['confidence']:g} %, of the mean paired difference. p: paired t-test; "
        "p (Holm): corrected for the rows of the same table; p (flip): exact sign-flip test."
        f"{exact if count <= paired.LARGEST_EXACT else ''}{overlap if len(folds) > 1 else ''}"
    )


def _families(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(against, measure) for against in AGAINST for measure in MEASURES if _family(summary, against, measure)]


def _family(summary: Mapping[str, Any], against: str, measure: str) -> list[Mapping[str, Any]]:
    return [row for row in summary["differences"] if (row["against"], row["measure"]) == (against, measure)]


def _lines(rows: Sequence[Mapping[str, Any]], confidence: float) -> list[str]:
    width = max(len(ARMS[row["arm"]].title) for row in rows) + 2
    interval = f"{100 * confidence:g} % interval"
    head = f"{'':<{width}}{'mean':>7}  {interval:>18}{'p':>8}{'p (Holm)':>10}{'p (flip)':>10}"
    return [head, *(f"{ARMS[row['arm']].title:<{width}}{_numbers(row)}  {row['verdict']}" for row in rows)]


def _numbers(row: Mapping[str, Any]) -> str:
    interval = "-" if row["interval"] is None else " to ".join(f"{100 * end:+.2f}" for end in row["interval"])
    chances = [_chance(row[name]) for name in ("p", "p_holm", "p_exact")]
    return f"{100 * row['mean']:>+7.2f}  {interval:>18}{chances[0]:>8}{chances[1]:>10}{chances[2]:>10}"


def _chance(value: float | None) -> str:
    return "-" if value is None else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _compared(summary: Mapping[str, Any], against: str) -> Safe:
    parts = []
    for measure, said in MEASURES.items():
        rows = _family(summary, against, measure)
        if rows:
            label = f"paired differences to {AGAINST[against]}, {said}"
            figure = compare_plot.paired(rows, summary["pairs"], AGAINST[against])
            parts += [tag("h3", f"{said[0].upper()}{said[1:]}"), plot(figure, label, min_width=560), _table(rows)]
    how = [paragraph(_how(summary), css="small")] if parts else []
    anchor = "independent" if against == CONTROL else "pull"
    return section(anchor, f"Against {AGAINST[against]}", *parts, *how)


def _table(rows: Sequence[Mapping[str, Any]]) -> Safe:
    header = ("", "mean", "interval", "p", "p (Holm)", "p (flip)", "verdict")
    body = [
        (
            ARMS[row["arm"]].title,
            points(row["mean"]),
            None if row["interval"] is None else Safe(" to ".join(points(end) for end in row["interval"])),
            *(_chance(row[name]) for name in ("p", "p_holm", "p_exact")),
            row["verdict"],
        )
        for row in rows
    ]
    return table(header, body, css="numbers last")


def _coupling(summary: Mapping[str, Any]) -> list[Safe]:
    coupled = [arm for arm in summary["arms"] if arm["coupling"]]
    if not coupled:
        return []
    header = ("", "weight f", "neighbours", "own best", "neighbourhood's best", "follows itself", "diverged")
    body = [
        (
            arm["title"],
            _small(arm["coupling"]["weight"]),
            *(_small(arm["coupling"]["terms"][name]) for name in PULLS),
            markup.percent(arm["coupling"]["follows_itself"]),
            f"{arm['failed']} networks" if arm["failed"] else "none",
        )
        for arm in coupled
    ]
    note = (
        "Medians over rounds and networks. Weight f: of a neighbour's displacement. The other columns are the sizes of "
        "the terms of the update, measured by the particle's own displacement in the round: where that of the "
        "neighbours is near zero, the swarm is little more than its pull to the best. Distances: "
        f"{summary['distance']}. Follows itself: share of the moves whose best position was the particle's own."
    )
    return [table(header, body, css="numbers"), paragraph(note, css="small")]


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _result_rows(results: Results) -> Iterable[dict[str, Any]]:
    for (arm, seed, fold), result in results.items():
        for row in result["particles"]:
            yield {
                "arm": arm,
                "seed": seed,
                "fold": fold,
                "particle": row["particle"] + 1,
                "chosen": int(row["particle"] == result["chosen"]),
                **{name: row[name] for name in ("test_top1", "val_accuracy", "fitness", "best_round", "failed_round")},
                "ensemble": result["ensemble"],
            }


def _difference_rows(summary: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for row in summary["differences"]:
        low, high = row["interval"] or (None, None)
        names = ("against", "measure", "arm", "mean", "std", "p", "p_holm", "p_exact", "verdict")
        yield {name: row[name] for name in names} | {"low": low, "high": high, "pairs": len(row["values"])}


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()
