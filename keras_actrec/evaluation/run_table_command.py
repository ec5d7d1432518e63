"""The command `report`: finished runs side by side, over seeds and folds. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.errors import UserError

PAGE_SUFFIX = ".html"
NONE = "-"
_TESTED = ("mean", "std", "interval", "p", "p_holm", "p_exact")


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Show finished runs in a table: a row for each name, with mean and standard deviation over its seeds and folds.

    Runs of one row must differ in nothing but seed and fold. With --against, the others are compared with one row in
    pairs: mean difference, 95 % interval, paired t-test (with Holm's correction) and sign-flip test.

    Example: python -m keras_actrec report runs --against supervised --markdown table.md --html table.html
    """
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories, or folders that hold some")
    parser.add_argument(
        "--by",
        default="name",
        metavar="KEYS",
        help="keys of the configuration that make a row, such as name,training.epochs (default: name)",
    )
    parser.add_argument("--against", metavar="ROW", help="compare the other rows with this one, seed by seed")
    parser.add_argument("--newest", action="store_true", help="of several runs of one row and seed, take the newest")
    parser.add_argument("--csv", metavar="FILE", help="write the numbers as CSV, too")
    parser.add_argument("--markdown", metavar="FILE", help="write the table as Markdown, too")
    parser.add_argument("--html", metavar="FILE", help=f"write a page with a chart ({PAGE_SUFFIX})")


def run(options: argparse.Namespace) -> None:
    """Print the table, and write it where the options say."""
    from keras_actrec.evaluation import run_search, run_table

    html = Path(options.html) if options.html else None
    if html is not None and html.suffix != PAGE_SUFFIX:
        raise UserError(f"--html writes a page: expected a file named *{PAGE_SUFFIX}, got {html.name}.")
    found = run_search.find(options.runs)
    by = [key.strip() for key in options.by.split(",") if key.strip()] or ["name"]
    left_out = [f"left out: {path}: {reason}" for path, reason in found.left_out.items()]
    if not found.runs:
        raise UserError("; ".join(["no run has finished", *left_out]) + ".")
    table = run_table.build(found.runs, by, options.against, options.newest)
    left_out += [f"left out: {path}: not the newest of its seed" for path in table["superseded"]]
    print("\n".join([as_text(table), *table["notes"], *left_out]))
    if options.csv:
        files.write_text(options.csv, as_csv(table))
        print(f"csv: {options.csv}")
    if options.markdown:
        files.write_text(options.markdown, as_markdown(table))
        print(f"markdown: {options.markdown}")
    if html is not None:
        from keras_actrec.evaluation import run_table_page

        run_table_page.write(html, table)
        print(f"page: {html}")


def as_text(table: Mapping[str, Any]) -> str:
    """Return the table with aligned columns: numbers to the right, in percent; differences in points of top-1."""
    lines = _lines(table)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(_aligned(cells, widths)).rstrip() for cells in lines)


def as_markdown(table: Mapping[str, Any]) -> str:
    """Return the table as Markdown, with its notes below."""
    head, *rows = [[cell.replace("|", "\\|") for cell in line] for line in _lines(table)]
    ruler = ["---", *["---:"] * (len(head) - 1)]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ruler, *rows)]
    return "\n".join([*lines, *(f"\n{note}" for note in table["notes"]), ""])


def _lines(table: Mapping[str, Any]) -> list[list[str]]:
    """Return the head and a row for each group, as texts."""
    folds = ["folds"] if _several_folds(table) else []
    head = [", ".join(table["by"]), "runs", *folds, "seeds", *table["columns"].values(), *table["costs"].values()]
    head.append("minutes")
    if table["against"] is not None:
        head += [f"against {table['against']}", "95 % interval", "p", "p (Holm)", "p (sign flips)"]
    return [head, *(_cells(group, table) for group in table["groups"])]


def _several_folds(table: Mapping[str, Any]) -> bool:
    return len({fold for group in table["groups"] for fold in group["folds"]}) > 1


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = [(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]


def _cells(group: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    from keras_actrec.evaluation.folds import format_spread

    minutes = group["minutes"]["mean"]
    cells = [group["label"], str(len(group["runs"]))]
    if _several_folds(table):
        cells.append(" ".join(str(fold or "all") for fold in dict.fromkeys(group["folds"])))
    cells.append(_seeds(sorted(set(group["seeds"]))))
    cells += [format_spread(key, group["values"][key]) for key in table["columns"]]
    cells += [_large(group["costs"][key]) for key in table["costs"]]
    cells.append(NONE if minutes is None else f"{minutes:.1f}")
    return [*cells, *_tested(group["difference"])] if table["against"] is not None else cells


def _large(number: float | None) -> str:
    """Return a count with three digits and its unit, such as "11.7 M"."""
    if number is None:
        return NONE
    for factor, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:g}"


def _tested(difference: Mapping[str, Any] | None) -> list[str]:
    """Return the difference, its interval in points, and the values of the tests."""
    if difference is None:
        return [""] * 5
    interval = difference["interval"]
    between = NONE if interval is None else f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
    values = (difference[name] for name in ("p", "p_holm", "p_exact"))
    return [_difference(difference), between, *(NONE if value is None else f"{value:.2g}" for value in values)]


def _seeds(seeds: Sequence[int]) -> str:
    """Return "1 to 5" for five seeds in a row, else all of them."""
    in_a_row = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if in_a_row else " ".join(map(str, seeds))


def _difference(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    if difference["mean"] is None:
        return "no seed in common"
    deviation = "" if difference["std"] is None else f" ± {100 * difference['std']:.1f}"
    pairs = len(difference["seeds"])
    what = "pair" if len(set(difference["folds"])) > 1 else "seed"
    return f"{100 * difference['mean']:+.1f}{deviation} ({pairs} {what}{'s' if pairs > 1 else ''})"


def as_csv(table: Mapping[str, Any]) -> str:
    """Return a row per group; shares are not in percent, values of its runs are separated by spaces, paths by ";"."""
    rows = [_flat(group, table) for group in table["groups"]]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(group: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    row = {"group": group["label"], "runs": len(group["runs"]), "seeds": _joined(group["seeds"])}
    row |= {"folds": _joined([fold or "all" for fold in group["folds"]])}
    for key in table["columns"]:
        spread, name = group["values"][key], key.replace(".", "_")
        row |= {
            f"{name}_mean": spread["mean"],
            f"{name}_std": spread["std"],
            f"{name}_values": _joined(spread["values"]),
        }
    row |= {key: group["costs"][key] for key in table["costs"]}
    row["training_minutes"] = group["minutes"]["mean"]
    if table["against"] is not None:
        difference = group["difference"] or dict.fromkeys(_TESTED) | {"seeds": ()}
        row |= {"against": table["against"] if group["difference"] else None, "difference_mean": difference["mean"]}
        row |= {"difference_std": difference["std"], "difference_seeds": _joined(difference["seeds"])}
        row |= {f"difference_{name}": difference[name] for name in ("p", "p_holm", "p_exact")}
        low, high = difference["interval"] or (None, None)
        row |= {"difference_low": low, "difference_high": high}
    return row | {"directories": ";".join(group["runs"])}


def _joined(values: Sequence[Any]) -> str:
    return " ".join(NONE if value is None else str(value) for value in values)
