"""`predict` on files: answers as they come, what could not be read, and the annotated video."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.serving import annotate, ending, output, predict_command, targets
from keras_actrec.serving.answers import Answer
from keras_actrec.serving.predictor import UNKNOWN, Predictor
from keras_actrec.serving.session import Session
from keras_actrec.serving.sheet import Sheet
from keras_actrec.serving.windows import Sliding
from keras_actrec.training.progress import Progress


def check(options: argparse.Namespace, paths: Sequence[Path]) -> None:
    """Look at where the results are to go, before anything takes time.

    Raises:
        UserError: they cannot go there.
    """
    output.chosen(options.format, options.out)
    if options.out is not None:
        targets.check_file(options.out, "--out")
        for path in paths:
            if Path(options.out).exists() and path.exists() and path.samefile(options.out):
                raise UserError(f"--out {options.out} would overwrite one of the videos; name another file.")
    if options.annotate is None:
        return
    if len(paths) != 1:
        raise UserError(f"--annotate writes one video, so it wants one; got {len(paths)}.")
    annotate.check_target(options.annotate, paths[0])
    targets.check_file(options.annotate, "--annotate")


def run(options: argparse.Namespace, paths: Sequence[Path], predictor: Predictor, cut: Sliding | None) -> None:
    """Answer about files.

    Raises:
        UserError: some could not be read.
        SystemExit: it was interrupted; the answers before that are kept.
    """
    with ending.as_interrupt():
        failed, last = _answered(options, paths, predictor, cut)
        if options.out:
            predict_command.tell(f"answers: {_shown(options.out)} ({len(paths) - failed} of {len(paths)} videos)")
        if options.annotate is not None and last is not None:
            annotate.write(options.annotate, paths[0], last)
            predict_command.tell(f"annotated: {_shown(options.annotate)}")
    if failed:
        raise UserError(f"{failed} of {len(paths)} videos could not be read; {len(paths) - failed} were answered.")


def _answered(
    options: argparse.Namespace, paths: Sequence[Path], predictor: Predictor, cut: Sliding | None
) -> tuple[int, Answer | None]:
    """Write the answers; return how many files could not be read, and the last answer."""
    kind = output.chosen(options.format, options.out)
    write = _writer(kind, paths, predictor)
    lines = Sheet(options.out, output.heading(kind), predict_command.tell)
    try:
        with lines.opened(), Progress("predict", "videos") as progress:
            return _all(options, paths, predictor, cut, lambda path, told: lines.add(write(path, told)), progress)
    except KeyboardInterrupt:
        if not (options.out and lines.answers):
            raise
        many = f"{lines.answers} of {len(paths)} videos"
        predict_command.warn(f"interrupted: the answers so far are in {_shown(options.out)} ({many})")
        raise SystemExit(128 + signal.SIGINT) from None


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


def _shown(name: str) -> str:
    return output.printable(name)
