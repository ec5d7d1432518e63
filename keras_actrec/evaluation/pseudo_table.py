"""`pseudo_labels.csv`: what each network's pseudo-labels were worth in each epoch, one row per network and class.

A pseudo-label is the class that a network gives an unlabelled clip; it is accepted when the network is confident. The
columns are

    epoch              from 1
    network            "primary" or "auxiliary": who gives the pseudo-labels
    class              name
    clips              clips that were shown and whose true class this is
    accepted_of_class  those of them whose pseudo-label, right or wrong, was accepted
    given              accepted pseudo-labels that say this class
    given_known        those of them for clips whose true class is known
    correct            those of them that are right
    precision          correct / given_known; empty where there are none
    recall             correct / clips; empty where there are none

A clip counts each time that it is shown.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.errors import UserError

_COUNTS = ("clips", "accepted_of_class", "given", "given_known", "correct")
_SHARES = ("precision", "recall")
COLUMNS = ("epoch", "network", "class", *_COUNTS, *_SHARES)

Row = Mapping[str, Any]


def make_row(
    epoch: int,
    network: str,
    name: str,
    *,
    clips: int,
    accepted_of_class: int,
    given: int,
    given_known: int,
    correct: int,
) -> dict[str, Any]:
    """Return the row of one network and class; a share of nothing is None."""
    return {
        "epoch": epoch,
        "network": network,
        "class": name,
        "clips": clips,
        "accepted_of_class": accepted_of_class,
        "given": given,
        "given_known": given_known,
        "correct": correct,
        "precision": correct / given_known if given_known else None,
        "recall": correct / clips if clips else None,
    }


def read_pseudo_labels(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the rows; an empty list when there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    path = Path(path)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        try:
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError("other columns")
            return [_parsed(row) for row in reader]
        except (ValueError, TypeError, KeyError, csv.Error):
            raise UserError(
                f"{path} is damaged: expected the columns {', '.join(COLUMNS)} with numbers in them; remove the file, "
                "and the epochs from now on will be written anew."
            ) from None


def write_pseudo_labels(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Publish all rows; the numbers read back exactly, and equal rows give equal bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_written(row[name]) for name in COLUMNS] for row in rows)
    files.write_text(path, text.getvalue())


def _written(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _parsed(row: Mapping[str, str]) -> dict[str, Any]:
    numbers = {name: int(row[name]) for name in ("epoch", *_COUNTS)}
    shares = {name: float(row[name]) if row[name] else None for name in _SHARES}
    found = {"network": row["network"], "class": row["class"], **numbers, **shares}
    return {name: found[name] for name in COLUMNS}
