"""Which property of a class a network gets wrong: its confusion matrix, folded by the attributes of the classes.

The classes of Diving48 are combinations of a take-off, somersaults, twists and a flight position; Fig. 3.8 of the
thesis on video Transformers shows one confusion matrix for each. Any data set whose classes share properties can be
looked at so: what is needed is a table, class -> value of each attribute.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec.data.official import diving48
from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.evaluation import metrics

CLASS_COLUMN = "class"
DIVING48_VOCABULARY = "Diving48_vocab.json"


@dataclasses.dataclass(frozen=True)
class AttributeTable:
    """Values of attributes for each class.

    Attributes:
        names: of the attributes.
        rows: class -> value of each attribute, in the order of `names`.
    """

    names: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]

    def values(self, attribute: str, classes: Sequence[str]) -> tuple[str, ...]:
        """Return the distinct values of an attribute among some classes, in natural order (2 before 10)."""
        column = self.names.index(attribute)
        return tuple(sorted({self.rows[name][column] for name in classes}, key=_natural))

    def positions(self, attribute: str, classes: Sequence[str]) -> np.ndarray:
        """Return the position of each class's value among `values`, int64 (K,)."""
        column, values = self.names.index(attribute), self.values(attribute, classes)
        return np.array([values.index(self.rows[name][column]) for name in classes], np.int64)


def read(path: str | os.PathLike[str]) -> AttributeTable:
    """Read a table: a CSV whose first column is `class`, or the official `Diving48_vocab.json`.

    Raises:
        UserError: the file is missing or malformed; names file and line.
    """
    path = Path(path)
    if path.name == DIVING48_VOCABULARY:
        found = diving48.attributes(path.parent)
        return AttributeTable(diving48.ATTRIBUTES, {name: tuple(values.values()) for name, values in found.items()})
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a table of attributes: {error}") from None
    if len(header) < 2 or header[0] != CLASS_COLUMN or len(set(header)) < len(header):
        raise UserError(f"{path}: expected a first line 'class,ATTRIBUTE,...' with different names, got {header}.")
    return AttributeTable(tuple(header[1:]), _rows(path, header, lines))


def fold(confusion: Sequence[Sequence[int]], classes: Sequence[str], table: AttributeTable) -> dict[str, Any]:
    """Fold a confusion matrix between classes into one for each attribute.

    Args:
        confusion: (K, K), rows are true classes.
        classes: their K names.
        table: has all of them.

    Returns:
        attribute -> `values`, `confusion` between them, `accuracy` (share of clips whose predicted class has the true
        value; None without clips), `chance` (of always naming the value with the most clips), and `per_value` as
        `metrics.per_class` has it.

    Raises:
        UserError: a class is not in the table.
    """
    for name in classes:
        if name not in table.rows:
            raise UserError(f"the table of attributes has no class '{name}'.{did_you_mean(name, table.rows)}")
    matrix = np.asarray(confusion, np.int64)
    return {attribute: _fold(matrix, classes, table, attribute) for attribute in table.names}


def joint_errors(confusion: Sequence[Sequence[int]], classes: Sequence[str], table: AttributeTable) -> list[int]:
    """Return how many clips have 0, 1, 2, ... of their attributes wrong; the first are right in all."""
    matrix = np.asarray(confusion, np.int64)
    wrong = np.zeros(matrix.shape, np.int64)
    for attribute in table.names:
        position = table.positions(attribute, classes)
        wrong += position[:, None] != position
    return np.bincount(wrong.ravel(), weights=matrix.ravel(), minlength=len(table.names) + 1).astype(int).tolist()


def _fold(matrix: np.ndarray, classes: Sequence[str], table: AttributeTable, attribute: str) -> dict[str, Any]:
    values, position = table.values(attribute, classes), table.positions(attribute, classes)
    members = np.eye(len(values), dtype=np.int64)[position]  # (K, values)
    folded = members.T @ matrix @ members
    total = int(folded.sum())
    return {
        "values": list(values),
        "confusion": folded.tolist(),
        "accuracy": float(np.trace(folded) / total) if total else None,
        "chance": float(folded.sum(axis=1).max() / total) if total else None,
        "per_value": metrics.per_class(folded, values),
    }


def _rows(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    rows: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        if len(line) != len(header) or not all(line):
            raise UserError(f"{path}, line {number}: expected {len(header)} values, got {line}.")
        if line[0] in rows:
            raise UserError(f"{path}, line {number}: the class '{line[0]}' is there twice.")
        rows[line[0]] = tuple(line[1:])
    return rows


def _natural(value: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts "2" before "10" and words by their letters."""
    parts = re.findall(r"\d+|\D+", value)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
