"""The configuration of a sweep: that of a run, and the section `sweep`. Imports no Keras."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from keras_actrec import config as configuration
from keras_actrec.cluster.settings import RaySection
from keras_actrec.config import Count, Positive, RunConfig, Section
from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.sweep import space as spaces
from keras_actrec.sweep.space import Point, Range, Values

_OF_NO_INFLUENCE = (
    *(("sweep", name) for name in ("trials", "hours", "workers", "launcher", "ray")),
    ("data", "workers"),
)
"""Keys that change neither a trial nor the choice among them."""
UNKNOWN_BEFOREHAND = ("name", "output", "folds")
"""Keys that a sweep sets itself, or that would make its trials incomparable."""


class SweepSection(Section):
    """What varies, how values are chosen, and when it ends."""

    space: Annotated[dict[str, Range | Values], Field(min_length=1)]
    """Key of the configuration -> a list of values, or a range {low, high, log, step}. A value that is a
    section, such as {frames: 10, stride: 4} of `data`, is merged into the one that is there."""
    search: Literal["tpe", "random", "grid"] = "tpe"
    """`tpe`: Optuna's tree-structured Parzen estimator, which learns from the trials so far. `random`. `grid`: all."""
    trials: Count | None = None
    """How many trials; default: 30, of a grid all."""
    hours: Positive | None = None
    """No trial begins after so many hours of work, over all sessions; those that run are finished."""
    workers: Count | None = None
    """Trials at a time, each in a process of its own; here cores and GPUs are dealt out among them. Default: 1, and on
    a Ray cluster as many as fit."""
    launcher: Literal["local", "ray"] = "local"
    """Where trials run: on this machine, or wherever a Ray cluster has room."""
    ray: RaySection = RaySection()
    """Which Ray cluster, and what each trial gets of it."""
    pruner: Literal["none", "median", "halving"] = "none"
    """Ends hopeless trials early. `median`: worse than the median of the earlier ones at that epoch. `halving`: not
    among the best quarter at epochs 1, 4, 16, ... (asynchronous successive halving)."""
    pruner_startup_trials: Annotated[int, Field(ge=0)] = 5
    """`median` ends none before so many have gone their whole way."""
    pruner_warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """No trial is ended within its first epochs."""
    test: bool = False
    """Measure each trial on the test split, too, as a paper's table of settings does. The choice stays with validation;
    still, a test split that is looked at often tells less about the one that is chosen."""

    @field_validator("space", mode="before")
    @classmethod
    def _read_axes(cls, space: Any) -> Any:
        return (
            {str(key): spaces.axis_of(key, axis) for key, axis in space.items()} if isinstance(space, dict) else space
        )

    @model_validator(mode="after")
    def _is_a_search(self) -> SweepSection:
        for key, axis in self.space.items():
            if isinstance(axis, tuple) and (not axis or len({json.dumps(v, sort_keys=True) for v in axis}) < len(axis)):
                raise ValueError(f"space: '{key}' must list at least one value, and each once")
            if key.split(".")[0] in (*UNKNOWN_BEFOREHAND, "sweep") or not all(key.split(".")):
                raise ValueError(f"space: '{key}' is no key that can vary")
        if self.search == "grid" and spaces.size(self.space) is None:
            raise ValueError("search: grid needs lists of values, or ranges with a step, for all keys")
        return self

    @property
    def count(self) -> int:
        """Number of trials."""
        points = spaces.size(self.space)
        wanted = self.trials or (points if self.search == "grid" else 30)
        return wanted if points is None else min(wanted, points)

    @property
    def several_at_once(self) -> bool:
        """Whether trials may run at the same time."""
        return (self.workers or (2 if self.launcher == "ray" else 1)) > 1


class SweepConfig(RunConfig):
    """A run, some of whose keys are looked for."""

    sweep: SweepSection

    @model_validator(mode="after")
    def _trials_are_comparable(self) -> SweepConfig:
        if self.folds == "all":
            raise ValueError(
                "a sweep looks at one fold per trial: set folds: one, or let data.fold vary in sweep.space"
            )
        if self.joint:
            raise ValueError("a sweep judges trials by one data set: remove `joint`")
        return self


def load_sweep_config(path: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read the configuration of a sweep, and try each value of its space.

    Raises:
        UserError: a mistake in it; a key that does not exist, or a value that it does not take.
    """
    config = configuration.load_config(path, overrides, kind=SweepConfig)
    _check_keys(config)
    for key, value in spaces.corners(config.sweep.space):
        _check(config, key, value)
    return config


def run_config(config: SweepConfig, point: Point, output: str | None = None) -> RunConfig:
    """Return the configuration of one trial, or of the run that is trained with its values in the end.

    Args:
        config: of the sweep.
        point: values of its keys.
        output: of the run; default: that of the sweep.

    Raises:
        UserError: the values do not go together.
    """
    document = config.model_dump(mode="json", exclude={"sweep"}, exclude_unset=True)
    document = spaces.insert(document, point) | {"name": config.name}
    if output is not None:
        document["output"] = output
    return configuration.parse_config(document, origin=told(point))


def metric_of(config: RunConfig) -> tuple[str, Literal["maximize", "minimize"]]:
    """Return what trials are judged by, the number that chooses a run's epoch, and its good direction."""
    select_by = config.training.select_by
    if select_by.endswith("loss"):
        return select_by, "minimize"
    return "val_accuracy", "maximize"


def directory(config: SweepConfig) -> Path:
    """Return where a sweep lies: another place for whatever changes trials or their choice, the same for more of them.

    So the same command goes on where an interrupted one stopped, and one with more trials or hours adds to it.
    """
    # Keys that a later version of the package adds change nothing as long as they have their defaults.
    document = config.model_dump(mode="json", exclude={"output", "name"}, exclude_defaults=True)
    for section, name in _OF_NO_INFLUENCE:
        document.get(section, {}).pop(name, None)
    document = {name: value for name, value in document.items() if value != {}}
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    return Path(config.output) / f"{config.name}-{digest[:8]}"


def _check_keys(config: SweepConfig) -> None:
    """Tell of keys whose section does not exist; what an architecture or optimiser takes is told by trying values."""
    sections = set(RunConfig.model_fields)
    for key in config.sweep.space:
        first = key.split(".")[0]
        if first not in sections:
            raise UserError(f"sweep.space: unknown key '{key}'.{did_you_mean(first, sections)}")


def _check(config: SweepConfig, key: str, value: Any) -> None:
    """Try a value alone; it may still need another key's value beside it, so only what names the key is told."""
    try:
        run_config(config, {key: value})
    except UserError as error:
        if key in str(error).partition(": ")[2]:
            raise UserError(f"sweep.space: {error}") from None


def told(point: Point) -> str:
    """Return the values of a point by their whole keys, as they would stand in a command."""
    return ", ".join(f"{key}={spaces.label(value)}" for key, value in point.items()) or "the configuration"
