"""`predict` on files: answers as they come, what could not be read, and the annotated video."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_actrec import files
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.serving import annotate, output, predict_command
from keras_actrec.serving.answers import Answer
from keras_actrec.serving.predictor import UNKNOWN, Predictor
from keras_actrec.serving.session import Session
from keras_actrec.serving.windows import Sliding
from keras_actrec.training.progress import Progress


def run(options: argparse.Namespace, paths: Sequence[Path], predictor: Predictor, cut: Sliding | None) -> None:
    """Answer about files.

    Raises:
        UserError: some could not be read.
    """
    kind = output.chosen(options.format, options.out)
    write = _writer(kind, paths, predictor)
    with _Sheet(options.out) as sheet, Progress("predict", "videos") as progress:
        for line in output.heading(kind):
            sheet.add(line)
        failed, last = _all(options, paths, predictor, cut, lambda path, told: sheet.add(*write(path, told)), progress)
    if options.out:
        predict_command.tell(f"answers: {options.out} ({len(paths) - failed} of {len(paths)} videos)")
    if options.annotate is not None and last is not None:
        annotate.write(options.annotate, paths[0], last)
        predict_command.tell(f"annotated: {options.annotate}")
    if failed:
        raise UserError(f"{failed} of {len(paths)} videos could not be read; {len(paths) - failed} were answered.")


def _all(
    options: argparse.Namespace,
    paths: Sequence[Path],
    predictor: Predictor,
    cut: Sliding | None,
    told: Callable[[Path, Answer | str], None],
    progress: Progress,
) -> tuple[int, Answer | None]:
    """Return how many files could not be read, and the last answer."""
    failed, last = 0, None
    smoothing = predict_command.smooth_sec(options, cut)
    settings = {"smooth_sec": smoothing, "top": options.top, "workers": options.workers}
    with Session(predictor, cut, **settings) as session:
        for done, (path, found) in enumerate(session.answers(paths), 1):
            if isinstance(found, UnreadableVideoError):
                failed += 1
                told(path, found.reason)
                if options.out:
                    predict_command.warn(f"not readable: {output.printable(str(path))}: {found.reason}")
            else:
                last = found
                told(path, found)
            if options.out:
                progress(done, len(paths))
    return failed, last


def _writer(kind: str, paths: Sequence[Path], predictor: Predictor) -> output.Lines:
    if kind == "table":
        return output.table_lines(paths, (*predictor.classes, UNKNOWN))
    return output.csv_lines if kind == "csv" else output.json_lines


class _Sheet:
    """Prints lines, or keeps them for a file, which is published at the end: also of work that was interrupted."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._lines: list[str] = []

    def __enter__(self) -> _Sheet:
        return self

    def add(self, *lines: str) -> None:
        if self._path is None:
            for line in lines:
                predict_command.tell(line)
        else:
            self._lines += lines

    def __exit__(self, *error: object) -> None:
        if self._path is not None:
            files.write_text(self._path, "".join(f"{line}\n" for line in self._lines))
