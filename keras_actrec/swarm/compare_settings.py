"""What `swarm-compare` compares: the arms, and the configuration with a section `compare`. Imports no Keras."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from keras_actrec import config as configuration
from keras_actrec.cluster.settings import RaySection
from keras_actrec.config import Count, Section
from keras_actrec.swarm.settings import SwarmConfig

CONTROL, PULL, ENSEMBLE = "independent", "towards_best", "ensemble"
"""The arm that all others are compared with; the pull to the best alone; the control's networks asked together."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train N networks.

    Attributes:
        name: in files.
        title: for people.
        changes: of the section `swarm`; None where nothing of its own is trained.
    """

    name: str
    title: str
    changes: dict[str, str] | None

    @property
    def collaborates(self) -> bool:
        """Whether it is one of the paper's dynamics."""
        return self.changes is not None and self.changes["dynamic"] in ("dynamic_1", "dynamic_2")


def _dynamic(number: int, variant: str, said: str) -> Arm:
    changes = {"dynamic": f"dynamic_{number}", "variant": variant}
    return Arm(f"dynamic_{number}_{variant}", f"Dynamic {number} ({said})", changes)


ARMS = {
    arm.name: arm
    for arm in (
        Arm(CONTROL, "Independent", {"dynamic": "none", "variant": "paper"}),
        _dynamic(1, "paper", "paper"),
        _dynamic(1, "released", "released"),
        _dynamic(2, "paper", "paper"),
        _dynamic(2, "released", "released"),
        _dynamic(2, "attract", "attracting"),
        Arm("average", "Weight averaging", {"dynamic": "average", "variant": "paper"}),
        Arm(PULL, "Step towards the best", {"dynamic": "towards_best", "variant": "paper"}),
        Arm(ENSEMBLE, "Ensemble of the independent", None),
    )
}
Name = Literal[tuple(ARMS)]


class CompareSection(Section):
    """What is compared, and over what."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = (1, 2, 3, 4, 5)
    """Each seed is one repetition of all arms: first weights, order of the data, random draws."""
    folds: tuple[Annotated[int, Field(ge=1)], ...] = (1,)
    """Official splits; each seed runs on each of them."""
    arms: tuple[Name, ...] = tuple(ARMS)
    """`independent` must be among them."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the intervals; 1 - confidence is the level of the tests."""
    processes: Count | None = None
    """So many seeds at a time, each in a process of its own; here the cores are divided among them. Default: 1, and on
    a Ray cluster as many as fit."""
    launcher: Literal["local", "ray"] = "local"
    """Where they run: on this machine, or wherever a Ray cluster has room."""
    ray: RaySection = RaySection()
    """Which Ray cluster, and what each process gets of it."""

    @model_validator(mode="after")
    def _fits_together(self) -> CompareSection:
        for name in ("seeds", "folds", "arms"):
            given = getattr(self, name)
            if not given or len(set(given)) != len(given):
                raise ValueError(f"{name} must name at least one, and each once, not {list(given)}")
        if CONTROL not in self.arms:
            raise ValueError(f"arms must hold '{CONTROL}', which the others are compared with")
        return self


class CompareConfig(SwarmConfig):
    """A swarm, and the ways of collaborating that are compared in it."""

    compare: CompareSection = CompareSection()

    @model_validator(mode="after")
    def _can_be_compared(self) -> CompareConfig:
        if self.training.regime != "end_to_end":
            raise ValueError("swarm-compare trains whole networks: training.regime must be end_to_end")
        return self


def load_compare_config(path: str | Path, overrides: Sequence[str] = ()) -> CompareConfig:
    """Read the configuration of a comparison, as `config.load_config` does that of a run."""
    return configuration.load_config(path, overrides, kind=CompareConfig)


def pairs(config: CompareConfig) -> list[tuple[int, int]]:
    """Return the repetitions: (seed, fold)."""
    return [(seed, fold) for fold in config.compare.folds for seed in config.compare.seeds]


def trained(config: CompareConfig) -> list[Arm]:
    """Return the arms that train networks of their own, the control first."""
    arms = [ARMS[name] for name in config.compare.arms if ARMS[name].changes is not None]
    return sorted(arms, key=lambda arm: arm.name != CONTROL)


def swarm_config(config: CompareConfig, arm: Arm, seed: int, fold: int) -> SwarmConfig:
    """Return the configuration of one swarm: the same for all arms but in how the particles exchange."""
    document: dict[str, Any] = config.model_dump(exclude={"compare"})
    document["seed"] = seed
    document["data"]["fold"] = fold
    document["swarm"] |= arm.changes or {}
    return configuration.parse_config(document, origin=arm.title, kind=SwarmConfig)


def directory(config: CompareConfig) -> Path:
    """Return where the results are: another place for whatever changes a swarm, the same for more seeds or arms."""
    document = config.model_dump(mode="json", exclude={"compare", "output", "name", "seed"})
    for name in ("dynamic", "variant", "host", "port", "token", "launcher", "ray"):
        del document["swarm"][name]
    document["swarm"]["launch"] = "local"  # as the digest has had it from the first version on
    del document["data"]["fold"]
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    return Path(config.output) / f"{config.name}-{digest[:8]}"
