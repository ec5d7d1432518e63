"""One trial, in a process of its own: an ordinary run, trained at a given place; or the data of all, made beforehand.

    python -m keras_actrec.sweep.trial --directory DIR --number 7
    python -m keras_actrec.sweep.trial --directory DIR --prepare

A sweep starts it, and holds its standard input open: when that ends, the sweep is gone, and this process goes too.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path

from keras_actrec import cli, files
from keras_actrec import config as configuration
from keras_actrec.errors import DivergedError, UserError
from keras_actrec.sweep import space as spaces
from keras_actrec.sweep.settings import SweepConfig, run_config

CONFIG, RUNS, RESULT = "config.yaml", "trials", "trial.json"
DIVERGED = 3
"""Exit code of a trial whose loss was no number any more."""
ORPHANED = 4
LOCK_SEC = 60.0
"""A trial of a sweep that was killed ends by itself in less."""


def place(directory: Path, number: int) -> Path:
    """Return the run directory of a trial."""
    return directory / RUNS / f"{number:04}"


def numbers(directory: Path) -> list[int]:
    """Return the numbers of the trials that have a run directory, also of those whose record was deleted."""
    return [int(path.name) for path in (directory / RUNS).glob("[0-9]*") if path.name.isdecimal() and path.is_dir()]


def config_path(directory: Path, number: int) -> Path:
    """Return where the configuration of a trial is published before it begins."""
    return directory / RUNS / f"{number:04}.yaml"


def train(directory: Path, number: int, test: bool) -> None:
    """Train a trial, from its last whole epoch if it was interrupted.

    Args:
        directory: of the sweep.
        number: of the trial.
        test: measure it on the test split, too.

    Raises:
        UserError: a mistake in its values or in the data; its loss is no number any more.
    """
    from keras_actrec.training import datasets, distribution, fold
    from keras_actrec.training.run_directory import RunDirectory

    config = configuration.load_config(config_path(directory, number))
    fold.check_model(config)
    hardware = distribution.set_up(config.training)
    manifest = datasets.load(config)
    with RunDirectory.at(place(directory, number), config, manifest, LOCK_SEC) as run:
        if run.finished:
            return
        if test:
            fold.run_fold(run, manifest, hardware)
            network = None
        else:
            network = fold.train_only(run, manifest, hardware).network
        _keep_result(run.path, network)
        run.mark_finished()


def prepare(config: SweepConfig) -> None:
    """Make what all trials share, and try the values of the space on the architectures.

    Raises:
        UserError: a mistake in the space, the architecture or the data.
    """
    from keras_actrec.training import datasets, fold

    base = run_config(config, {})
    for key, value in spaces.corners(config.sweep.space):
        if key.startswith("model"):
            _check_model(config, key, value)
    manifest = datasets.load(base)
    datasets.open_source(base.data, manifest)
    fold.check_model(base)


def _check_model(config: SweepConfig, key: str, value: object) -> None:
    """Tell of a value that no trial can have; one that needs another key's value beside it is left to the trials."""
    from keras_actrec.training import fold

    try:
        fold.check_model(run_config(config, {key: value}))
    except UserError as error:
        if key.rpartition(".")[2] in str(error):
            raise UserError(f"sweep.space: {key}={spaces.label(value)}: {error}") from None


def _keep_result(path: Path, network: object) -> None:
    """Put down the size of the network; its weights are those of any run with these values, and are not kept."""
    if network is None:
        return
    files.write_json(path / RESULT, {"parameters": network.count_params()})
    for state in (path / "checkpoints").glob("*.safetensors"):
        state.unlink()


def _leave_with_parent() -> None:
    """End this process when its standard input does; what is published by then is whole."""
    while os.read(0, 1):  # not sys.stdin, whose lock would be held when Python ends
        pass
    os._exit(ORPHANED)


def main() -> int:
    """Do as the command line says."""
    cli.begin()
    parser = argparse.ArgumentParser(description="One trial of a sweep; started by the command sweep.")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--number", type=int)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--prepare", action="store_true")
    options = parser.parse_args()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    return cli.leave(cli.guard(lambda: _run(options)))


def _run(options: argparse.Namespace) -> None:
    if options.prepare:
        prepare(configuration.load_config(options.directory / CONFIG, kind=SweepConfig))
        return
    try:
        train(options.directory, options.number, options.test)
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(DIVERGED) from None


if __name__ == "__main__":
    sys.exit(main())
