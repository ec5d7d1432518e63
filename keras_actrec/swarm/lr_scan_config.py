"""The configuration of a learning-rate scan: that of a run, or of a swarm, trained for an epoch at each rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_actrec import config as configuration
from keras_actrec.config import RunConfig
from keras_actrec.swarm.settings import SwarmSection


class ScanConfig(RunConfig):
    """A run, or a swarm, whose learning rates are looked for."""

    swarm: SwarmSection | None = None


def load(path: str | Path, overrides: Sequence[str] = ()) -> ScanConfig:
    """Read the configuration of a run or of a swarm, as `config.load_config` does."""
    return configuration.load_config(path, overrides, kind=ScanConfig)


def scan_config(config: RunConfig, rates: Sequence[float], output: str | None = None) -> RunConfig:
    """Return the run that trains an epoch with each of `rates`, on one fold.

    Schedule, length and early stopping are replaced; the section `swarm` is left out; all else stays.

    Args:
        config: of a run or of a swarm.
        rates: ascending learning rates.
        output: folder in which its directory is made; default: that of `config`.
    """
    document = config.model_dump(include=set(RunConfig.model_fields))
    document["training"] |= {
        "epochs": len(rates),
        "patience": 0,
        "schedule": {"name": "listed", "rates": list(rates)},
    }
    document |= {"name": f"{config.name}-lr-scan", "folds": "one", "output": output or config.output}
    return configuration.parse_config(document, origin="the learning-rate scan")
