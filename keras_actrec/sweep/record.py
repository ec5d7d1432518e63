"""What is kept of a trial: a JSON file for each, published whole. The files are the sweep; all else is made of them."""

from __future__ import annotations

import csv
import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.sweep.space import Point

FOLDER = "records"


class State(enum.Enum):
    """How a trial stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    """Ended early, as others were better at that epoch."""
    DIVERGED = "diverged"
    """Its loss was no number any more."""
    FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        number: counted from 1.
        point: its values.
        state: how it stands.
        curve: the number that trials are judged by, epoch by epoch.
        value: the number of the epoch that was chosen; None where the trial has not gone its whole way.
        seconds: of training, over all sessions; those of a running trial are not known yet.
        reason: why it failed, diverged or was ended.
        results: what else was measured, such as {"test.top1": ..., "parameters": ...}.
    """

    number: int
    point: Point
    state: State = State.RUNNING
    curve: tuple[float, ...] = ()
    value: float | None = None
    seconds: float | None = None
    reason: str = ""
    results: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.state is not State.RUNNING


def path_of(directory: Path, number: int) -> Path:
    """Return where a trial's record lies."""
    return directory / FOLDER / f"{number:04}.json"


def write(directory: Path, trial: Trial) -> None:
    """Publish a record."""
    document = dataclasses.asdict(trial) | {"state": trial.state.value, "curve": [_plain(x) for x in trial.curve]}
    files.write_json(path_of(directory, trial.number), document)


def read_all(directory: Path) -> list[Trial]:
    """Return the trials of a sweep in their order.

    Raises:
        UserError: a record is damaged.
    """
    return [_read(path) for path in sorted((directory / FOLDER).glob("[0-9]*.json"))]


def best(trials: Sequence[Trial], direction: str) -> Trial | None:
    """Return the best complete trial, the earlier one of equals; None without any."""
    known = [trial for trial in trials if trial.state is State.COMPLETE and trial.value is not None]
    sign = 1 if direction == "minimize" else -1
    return min(known, key=lambda trial: (sign * trial.value, trial.number), default=None)


def read_curve(history: Path, metric: str) -> tuple[float, ...]:
    """Return a column of a run's history.csv, as far as the run is; empty before its first epoch."""
    try:
        with history.open(newline="", encoding="utf-8") as file:
            return tuple(float(row[metric]) for row in csv.DictReader(file))
    except FileNotFoundError:
        return ()


def _read(path: Path) -> Trial:
    try:
        document = files.read_json(path)
        curve = tuple(math.nan if number is None else number for number in document["curve"])
        return Trial(**{**document, "state": State(document["state"]), "curve": curve})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is no record of a trial ({error}); delete it, and the trial is made again.") from None


def _plain(number: float) -> float | None:
    return number if math.isfinite(number) else None
