"""Answers as a table to read, as CSV, or as JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_actrec.errors import UserError
from keras_actrec.serving.answers import Answer

COLUMNS = ("file", "start_sec", "end_sec", "label", "confidence", "error")
"""Of a CSV file, which has a row for each segment of a timeline, and one for each file that cannot be read. Bytes of a
file's name that are no UTF-8 are written as JSON has them: \\udcff."""
_WORTH_TELLING = 0.005
"""Probability from which on a table tells a class that is not the likeliest."""
Lines = Callable[[Path, "Answer | str"], list[str]]
"""Turns a file and its answer, or the reason why there is none, into lines."""


def heading(kind: str) -> list[str]:
    """Return the lines before all answers."""
    return [",".join(COLUMNS)] if kind == "csv" else []


def csv_lines(path: Path, answer: Answer | str) -> list[str]:
    """Return a row per segment."""
    if isinstance(answer, str):
        return [_row((path, "", "", "", "", answer))]
    return [
        _row((path, f"{one.start_sec:.3f}", f"{one.end_sec:.3f}", one.label, f"{one.confidence:.6f}", ""))
        for one in answer.timeline
    ]


def json_lines(path: Path, answer: Answer | str) -> list[str]:
    """Return one line with all that is known."""
    told = {"error": answer} if isinstance(answer, str) else answer.to_json()
    return [json.dumps({"file": str(path), **told}, allow_nan=False)]


def table_lines(paths: Sequence[Path], classes: Sequence[str]) -> Lines:
    """Return what writes lines with aligned columns.

    Args:
        paths: all files to come.
        classes: all labels to come.
    """
    wide = max((len(printable(str(path))) for path in paths), default=0)
    label = max(map(len, classes), default=0)

    def lines(path: Path, answer: Answer | str) -> list[str]:
        name = f"{printable(str(path)):<{wide}}"
        if isinstance(answer, str):
            return [f"{name}  not readable: {printable(answer)}"]
        others = ", ".join(
            f"{one} {_percent(value)}"
            for one, value in answer.top[:3]
            if one != answer.label and value >= _WORTH_TELLING
        )
        first = f"{name}  {answer.label:<{label}}  {_percent(answer.top[0][1]):>7}{f'  ({others})' if others else ''}"
        if len(answer.windows) + len(answer.lost) == 1:
            return [first]
        parts = [
            f"  {clock(one.start_sec)} to {clock(one.end_sec)}  {one.label:<{label}}  {_percent(one.confidence):>7}"
            for one in answer.timeline
        ]
        lost = [
            f"  {clock(one.start_sec)} to {clock(one.end_sec)}  not readable: {printable(reason)}"
            for one, reason in answer.lost
        ]
        return [first, *parts, *lost]

    return lines


def chosen(kind: str | None, out: str | None) -> str:
    """Return the format: the one that is asked for, or else that of the file's suffix, or else the table.

    Raises:
        UserError: the suffix says another format than was asked for.
    """
    by_suffix = {".csv": "csv", ".jsonl": "jsonl"}.get(Path(out).suffix.lower()) if out else None
    if kind and by_suffix and kind != by_suffix:
        raise UserError(f"--out {out} ends like {by_suffix}, but --format says {kind}; change one of them.")
    return kind or by_suffix or "table"


def clock(seconds: float) -> str:
    """Return a time as h:mm:ss.s, or m:ss.s below an hour."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{text}" if hours else text.removeprefix("0")


def printable(text: str) -> str:
    """Return a text without characters that would move a terminal's cursor or colour it."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _row(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    # Python keeps bytes of a name that are no UTF-8 as lone surrogates, which no UTF-8 file can hold.
    return buffer.getvalue().encode("utf-8", "backslashreplace").decode()
