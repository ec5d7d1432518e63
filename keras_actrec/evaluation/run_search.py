"""Finished runs below some folders, with what their tables need: configuration, numbers, times. Imports no Keras."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import config as configuration
from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.evaluation.folds import lookup

CONFIG, METRICS, TIMING, FINISHED, LOCK = "config.yaml", "metrics.json", "timing.json", "finished.json", "manifest.lock"
"""Files of a run directory (see `training.run_directory`, which this room may not import)."""
MODEL = "model.keras"


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its directory.
        config: the resolved configuration, nested dictionaries; keys that came after the run have their defaults.
        metrics: content of `metrics.json`; of several folds, their summary.
        timing: content of `timing.json`; empty without one.
        finished: when it ended.
    """

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    timing: dict[str, Any]
    finished: datetime.datetime

    @property
    def name(self) -> str:
        """Its `name` in the configuration."""
        return self.config["name"]

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.config["seed"]

    @property
    def fold(self) -> int | None:
        """The official split that it was trained on; None for all of them."""
        return self.config["data"]["fold"] if self.config["folds"] == "one" else None

    @property
    def repetition(self) -> tuple[int, int]:
        """What tells it from the other runs of a group: its fold (0 for all of them) and its seed."""
        return self.fold or 0, self.seed

    def value(self, dotted: str) -> float | None:
        """Return a number of `metrics.json`, or its mean over folds; None where there is none."""
        averaged = self.metrics.get("summary", {}).get(dotted)
        return lookup(self.metrics, dotted) if averaged is None else averaged.get("mean")

    @property
    def minutes(self) -> float | None:
        """How long the training took; None where that was not written down."""
        seconds = self.timing.get("training_sec")
        return None if seconds is None else seconds / 60

    def test_clips(self) -> str:
        """Return a hash of the test clips and their labels, whatever the other splits hold.

        Raises:
            UserError: there is no manifest beside the run, or it is damaged.
        """
        try:
            rows = _read(self.path / LOCK).get("clips", ())
        except UserError as error:
            raise UserError(f"{self.path}: {error}; which clips the run was tested on cannot be told.") from None
        clips = sorted(json.dumps(clip, sort_keys=True) for clip in rows if clip["split"] == "test")
        return hashlib.sha256("\n".join(clips).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        runs: finished ones, in the order in which they were named; those of one folder by their paths.
        left_out: directory -> why it is not among them.
    """

    runs: tuple[Run, ...]
    left_out: dict[Path, str]


def find(paths: Sequence[str | os.PathLike[str]]) -> Found:
    """Find finished runs.

    Args:
        paths: run directories, or folders that hold some at any depth. What lies within a run, such as its baseline
            or its folds, is part of it and not counted again.

    Raises:
        UserError: a folder that does not exist, or holds no run at all.
    """
    runs: dict[Path, Run] = {}
    left_out: dict[Path, str] = {}
    for path in map(Path, paths):
        directories = list(_directories(path))
        if not directories:
            raise UserError(f"{path} holds no run: expected folders with a {CONFIG}, as train.py makes them.")
        for directory in directories:
            if directory.resolve() not in runs:
                try:
                    runs[directory.resolve()] = open_run(directory)
                except UserError as error:
                    left_out[directory] = str(error).rstrip(".")
    return Found(tuple(runs.values()), left_out)


def open_run(path: Path) -> Run:
    """Read a finished run.

    Raises:
        UserError: it has not finished, is no run of one network on one data set, or a file of it is damaged.
    """
    if not (path / FINISHED).is_file():
        raise UserError("not finished")
    config = configuration.load_config(path / CONFIG).model_dump(mode="json")
    metrics = _read(path / METRICS)
    if "test" not in metrics and "summary" not in metrics:
        raise UserError(f"{METRICS} has no test accuracy of its own; of several data sets at once, name their folders")
    timing = _read(path / TIMING) if (path / TIMING).is_file() else {}
    return Run(path, config, metrics, timing, _time(path / FINISHED))


def check_one_network(path: Path) -> None:
    """Refuse a run of all folds, whose networks lie in folders of their own, where the network of one is asked for.

    Raises:
        UserError: it names the folders that hold a network.
    """
    found = sorted(path.glob(f"fold-*/{MODEL}"), key=lambda model: (len(model.parent.name), model.parent.name))
    if found:
        named = ", ".join(str(model.parent) for model in found)
        raise UserError(f"{path} holds a network for each fold; name one of them: {named}.")


def _directories(path: Path) -> Iterator[Path]:
    """Yield the folders at or below `path` that have a configuration and lie in no other one of a run."""
    if not path.is_dir():
        raise UserError(f"{path} is no folder; expected run directories, or folders that hold some.")
    for folder, names, contents in os.walk(path):
        names.sort()
        if CONFIG in contents and not _holds_others(Path(folder)):
            names.clear()
            yield Path(folder)


def _holds_others(path: Path) -> bool:
    """Tell whether a configuration is that of a swarm or a sweep, whose networks are runs of their own."""
    try:
        text = (path / CONFIG).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return any(line.startswith(("swarm:", "compare:", "sweep:")) for line in text.splitlines())


def _time(path: Path) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(_read(path)["finished"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path.name} is damaged: expected the time when the run ended") from None


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        document = files.read_json(path)
    except (OSError, ValueError):
        raise UserError(f"{path.name} is missing or damaged") from None
    if not isinstance(document, dict):
        raise UserError(f"{path.name} is damaged: expected an object")
    return document
