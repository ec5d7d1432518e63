"""The command `predict`: what do videos show? Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_actrec.errors import UserError

if TYPE_CHECKING:
    from keras_actrec.serving.predictor import Predictor
    from keras_actrec.serving.windows import Sliding

FORMATS = ("table", "csv", "jsonl")


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what videos show: files, folders, patterns, or a live camera; long ones get a timeline.

    Several runs answer together: their probabilities are averaged.

    Example: python -m keras_actrec predict --run runs/quickstart-20250101-120000-ab12 videos/ --out answers.csv
    """
    parser.add_argument(
        "--run", nargs="+", action="append", required=True, metavar="DIR", dest="runs", help="run directories"
    )
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="files, folders or patterns such as 'clips/*.mp4'")
    _add_cutting(parser)
    _add_answers(parser)
    _add_output(parser)
    live = parser.add_argument_group("a live source in place of files")
    live.add_argument(
        "--camera",
        metavar="SOURCE",
        help="number of a camera, address of a stream, or a file, played as if it were one",
    )
    live.add_argument("--seconds", type=float, metavar="S", help="stop after so many seconds (default: never)")


def _add_cutting(parser: argparse.ArgumentParser) -> None:
    cutting = parser.add_argument_group("long videos")
    cutting.add_argument(
        "--window", type=float, metavar="S", help="seconds of a window (default: as long as the training videos)"
    )
    cutting.add_argument("--hop", type=float, metavar="S", help="seconds between windows (default: a quarter of one)")
    cutting.add_argument(
        "--smooth",
        type=float,
        metavar="S",
        help="seconds over which windows are averaged (default: half of one; 0: not)",
    )
    cutting.add_argument("--whole", action="store_true", help="one answer for each video, however long it is")


def _add_answers(parser: argparse.ArgumentParser) -> None:
    answers = parser.add_argument_group("answers")
    answers.add_argument("--top", type=int, default=5, metavar="K", help="likeliest classes that are told (default: 5)")
    answers.add_argument(
        "--threshold", type=float, default=0.0, metavar="P", help='"unknown" below this probability (default: 0)'
    )
    answers.add_argument(
        "--repository",
        action="store_true",
        help='answer with the actions of the run\'s repository, "unknown" by its gamma',
    )
    answers.add_argument(
        "--batch-size", type=int, metavar="N", help="clips in one pass (default: what fits memory, up to 16)"
    )
    answers.add_argument("--workers", type=int, metavar="N", help="videos read at a time (default: one per core)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--format", choices=FORMATS, help="default: by the suffix of --out, else table")
    output.add_argument("--out", metavar="FILE", help="write the answers there instead of printing them")
    output.add_argument("--annotate", metavar="FILE.mp4", help="write the (one) video with labels and a timeline in it")


def run(options: argparse.Namespace) -> None:
    """Predict as the options say.

    Raises:
        UserError: a mistake in the options, or videos that could not be read; the others are done.
    """
    runs, words = runs_and_videos(options.runs, options.videos)
    _check(options, words)
    if options.camera is not None:
        from keras_actrec.serving import live_command

        live_command.run(options, lambda: open_predictor(options, runs))
        return
    from keras_actrec.serving import file_command, inputs

    paths = inputs.videos(words)
    file_command.check(options, paths)
    predictor = open_predictor(options, runs)
    file_command.run(options, paths, predictor, sliding(options, predictor))


def runs_and_videos(given: Sequence[Sequence[str]], videos: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return run directories and videos: argparse takes a video behind --run DIR for one of the former."""
    runs, words = [], []
    for group in given:
        for place, word in enumerate(group):
            is_run = not place or (Path(word) / "config.yaml").is_file()
            (runs if is_run else words).append(word)
    return runs, [*words, *videos]


def open_predictor(options: argparse.Namespace, runs: Sequence[str]) -> Predictor:
    """Open the runs."""
    from keras_actrec.serving import predictor

    return predictor.open_predictor(
        runs, most_clips=options.batch_size, least=options.threshold, with_repository=options.repository
    )


def sliding(options: argparse.Namespace, predictor: Predictor) -> Sliding | None:
    """Return how long videos are cut."""
    from keras_actrec.serving.predictor import default_sliding

    return None if options.whole else default_sliding(predictor, options.window, options.hop)


def smooth_sec(options: argparse.Namespace, cut: Sliding | None) -> float:
    """Return over how many seconds to either side windows are averaged."""
    if options.smooth is not None:
        return options.smooth
    return cut.window_sec / 2 if cut else 0.0


def _check(options: argparse.Namespace, words: Sequence[str]) -> None:
    for name in ("top", "batch_size", "workers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')}: expected 1 or more, got {value}.")
    for name in ("smooth", "seconds"):
        value = getattr(options, name)
        if value is not None and not value >= 0:
            raise UserError(f"--{name}: expected 0 seconds or more, got {value:g}.")
    if options.whole and (options.window is not None or options.hop is not None):
        raise UserError("--whole takes each video as one; leave --window and --hop out.")
    if options.camera is not None and (words or options.annotate or options.whole):
        raise UserError("--camera is instead of videos, and goes with neither --annotate nor --whole.")
    if options.camera is None and not words:
        raise UserError("which videos? Name files, folders or patterns, or a live source with --camera.")
    if options.camera is None and options.seconds is not None:
        raise UserError("--seconds is for --camera.")


def tell(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print a line beside the answers."""
    print(text, file=sys.stderr, flush=True)
