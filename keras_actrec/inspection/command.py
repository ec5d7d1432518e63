"""The command `inspect`: a data set, or what a run says of it, in the FiftyOne App. Imports nothing heavy at first."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keras_actrec.inspection.answers import Answers
    from keras_actrec.inspection.opening import Opened
    from keras_actrec.inspection.shown import Shown

SPLITS = ("train", "validation", "test", "unlabelled", "unknown")
"""As in `keras_actrec.data.manifest`."""


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Look at a data set, or at what a finished run says of it, in the FiftyOne App.

    Shows labels, splits, groups, person boxes and clips that cannot be read with their reasons; of a run also its
    predictions, right and wrong, explanations and a map of its features. Ends at Ctrl-C and leaves nothing running.

    Example: python -m keras_actrec inspect --run runs/quickstart-20250101-120000-ab12
    """
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--data", metavar="PATH", help="a configuration, a folder of videos, or a manifest (CSV)")
    which.add_argument("--config", metavar="FILE", help="run configuration (YAML), for its data set")
    which.add_argument("--run", metavar="DIR", help="run directory", dest="directory")
    parser.add_argument(
        "--split", nargs="+", choices=SPLITS, metavar="NAME", help="splits that are shown (default: all)"
    )
    parser.add_argument(
        "--predict",
        nargs="+",
        choices=SPLITS[:3],
        metavar="NAME",
        help="of a run: splits whose clips are predicted, and shown (default: those of --split, else test)",
    )
    parser.add_argument("--port", type=int, metavar="N", help="of the App (default: 5151, or the next that is free)")
    parser.add_argument("--no-browser", action="store_true", help="print the address alone")
    parser.add_argument("--export", metavar="FOLDER", help="write the dataset there, and do not open the App")
    parser.add_argument("--keep", metavar="NAME", help="keep the dataset in your FiftyOne database under this name")
    parser.add_argument("--overwrite", action="store_true", help="with --keep: replace the dataset of that name")
    parser.add_argument("--no-boxes", action="store_true", help="leave the person boxes out, which is faster")
    parser.add_argument("--depth", action="store_true", help="show depth videos, too")
    parser.add_argument("--receipt", metavar="FILE", help="of `verify` (default: the one in the data set's root)")
    parser.add_argument("--cache", metavar="FOLDER", help="for copies of videos that browsers do not play")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="key=value", dest="overrides", help="such as data.root=PATH"
    )


def run(options: argparse.Namespace) -> None:
    """Inspect as the options say."""
    from keras_actrec.errors import UserError
    from keras_actrec.inspection import app, findings

    if options.overwrite and not options.keep:
        raise UserError("--overwrite replaces the dataset that --keep names; give it a name.")
    _check_places(options)
    port = None if options.export else app.choose_port(options.port)
    opened = _open(options)
    findings.chosen_receipt(options.receipt, opened.manifest)  # before the network and the videos take their time
    predicted = _predicted(options, opened)
    answers = _answers(options, opened, predicted)
    shown = _shown(options, opened, predicted)
    _serve(options, opened, answers, shown, port)


def _check_places(options: argparse.Namespace) -> None:
    """Refuse a folder or a name that is taken, before the network and the videos take their time."""
    from keras_actrec.data.fiftyone_sets import connection
    from keras_actrec.inspection import export, names

    if options.export:
        export.check_folder(Path(options.export))
    if options.keep:
        with connection.database(own=False) as fiftyone:
            names.check(fiftyone, options.keep, overwrite=options.overwrite)


def _open(options: argparse.Namespace) -> Opened:
    from keras_actrec.config import load_config
    from keras_actrec.inspection import opening

    if options.directory:
        return opening.open_run(options.directory, options.overrides)
    if options.config:
        return opening.open_config(load_config(options.config, options.overrides))
    return opening.open_data(options.data, options.overrides)


def _predicted(options: argparse.Namespace, opened: Opened) -> list[str]:
    """Return the splits whose clips are predicted: of those that are shown, where none are named."""
    if opened.run is None:
        return []
    if options.predict is None and options.split:
        return [split for split in SPLITS[:3] if split in options.split and opened.manifest.split(split)]
    return options.predict or ["test"]


def _answers(options: argparse.Namespace, opened: Opened, predicted: Sequence[str]) -> Mapping[str, Answers]:
    """Return what the run says of each split that is asked for."""
    if not predicted:
        return {}
    from keras_actrec.inspection import answers

    return {
        split: answers.of_split(opened.run, opened.config, opened.manifest, split, options.overrides)
        for split in predicted
    }


def _shown(options: argparse.Namespace, opened: Opened, predicted: Sequence[str]) -> list[Shown]:
    from keras_actrec.data.fiftyone_sets import writing
    from keras_actrec.data.threads import default_workers
    from keras_actrec.errors import UserError
    from keras_actrec.inspection import cache, shown
    from keras_actrec.training.progress import Progress

    fold, wanted = opened.manifest.fold, {*(options.split or SPLITS), *predicted}
    rows = [row for row in writing.rows(opened.manifests) if row.splits.get(fold) in wanted]
    if not rows:
        raise UserError(f"{opened.manifest.name} has no {' or '.join(sorted(wanted))} clips in fold {fold}.")
    folder = Path(options.cache) if options.cache else cache.folder(opened.manifest.root)
    workers = opened.config.data.workers or default_workers()
    wish = shown.Wish(boxes=not options.no_boxes, depth=options.depth, workers=workers)
    with Progress("looking at videos", unit="clips") as progress:
        return shown.show(rows, opened.source, folder, wish, progress)


def _serve(
    options: argparse.Namespace,
    opened: Opened,
    answers: Mapping[str, Answers],
    shown: list[Shown],
    port: int | None,
) -> None:
    from keras_actrec.data.fiftyone_sets import connection
    from keras_actrec.inspection import building, export, names

    name = options.keep or (opened.run.name if opened.run else opened.manifest.name)
    with connection.database(own=not options.keep) as fiftyone:
        if not options.keep:
            name = names.usable(fiftyone, name)
        dataset = building.build(fiftyone, name, opened, answers, shown, options)
        try:
            print(building.summary(dataset, shown))
            if options.export:
                for path in export.export(dataset, opened.manifests, Path(options.export)):
                    print(f"written: {path}")
            else:
                _open_app(fiftyone, dataset, port, options)
        finally:
            if not options.keep:
                fiftyone.delete_dataset(name)
    if options.keep:
        print(f"kept: the dataset '{name}' in FiftyOne's database ({connection.where(fiftyone)})")


def _open_app(fiftyone: Any, dataset: Any, port: int, options: argparse.Namespace) -> None:
    from keras_actrec.inspection import app

    with app.opened(fiftyone, dataset, port) as address:
        print(f"App: {address}  (dataset '{dataset.name}'; Ctrl-C ends it)", flush=True)
        if not options.no_browser:
            app.show(address)
        app.wait(port)
    print("closed")
