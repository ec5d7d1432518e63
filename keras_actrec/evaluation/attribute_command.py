"""The command `attributes`: a finished run's confusions by the attributes of its classes. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_actrec import files
from keras_actrec.errors import UserError

if TYPE_CHECKING:
    from keras_actrec.evaluation.attributes import AttributeTable

PAGE, NUMBERS = "attributes.html", "attributes.json"


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Show which attribute of the classes a finished run gets wrong, such as the take-off or the twists of a dive.

    The table is a CSV (class,ATTRIBUTE,...), or the official Diving48_vocab.json.

    Example: python -m keras_actrec attributes --run runs/ctn-20250101-120000-ab12 --table Diving48_vocab.json
    """
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory", dest="directory")
    parser.add_argument("--table", required=True, metavar="FILE", help="class -> value of each attribute")
    parser.add_argument("--metrics", metavar="FILE", help="as `evaluate` writes it (default: DIR/metrics.json)")
    parser.add_argument("--out", metavar="FOLDER", help="default: DIR/attributes")


def run(options: argparse.Namespace) -> None:
    """Fold the confusion matrix as the options say, and print accuracies and the paths of the files."""
    from keras_actrec.evaluation import attribute_page, attributes

    path = Path(options.metrics) if options.metrics else Path(options.directory) / "metrics.json"
    document = build(read_metrics(path), attributes.read(options.table))
    folder = Path(options.out) if options.out else Path(options.directory) / "attributes"
    files.write_json(folder / NUMBERS, document)
    attribute_page.write(folder / PAGE, Path(options.directory).resolve().name, document)
    for name, part in document["attributes"].items():
        print(f"{name}: {_percent(part['accuracy'])} (always the most frequent value: {_percent(part['chance'])})")
    print(f"numbers: {folder / NUMBERS}")
    print(f"page: {folder / PAGE}")


def read_metrics(path: Path) -> dict[str, Any]:
    """Read what a run's evaluation left.

    Raises:
        UserError: there is none, or it is of another kind, as that of several folds.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there; finish the run, or name the file that `evaluate` wrote with --metrics.")
    metrics = files.read_json(path)
    if not {"classes", "test"} <= set(metrics) or "confusion" not in metrics["test"]:
        raise UserError(f"{path} holds no confusion matrix of a run; of several folds, name one: DIR/fold-1.")
    return metrics


def build(metrics: dict[str, Any], table: AttributeTable) -> dict[str, Any]:
    """Return the numbers by attribute.

    Args:
        metrics: content of `metrics.json`.
        table: has the classes of the run.

    Raises:
        UserError: a class is not in the table.
    """
    from keras_actrec.evaluation import attributes

    classes, confusion = metrics["classes"], metrics["test"]["confusion"]
    return {
        **{name: metrics[name] for name in ("model", "dataset", "fold")},
        "split": metrics.get("split", "test"),
        "classes": len(classes),
        "top1": metrics["test"]["top1"],
        "attributes": attributes.fold(confusion, classes, table),
        "wrong": attributes.joint_errors(confusion, classes, table),
    }


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
