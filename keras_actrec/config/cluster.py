"""The section `training.cluster`: several processes, on one machine or on many, that train one network."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from keras_actrec.config.section import Positive, Section


class ClusterConfig(Section):
    """The processes that train one network together; most say it in the environment variable TF_CONFIG instead."""

    workers: tuple[str, ...] = ()
    """`host:port` of each process, the chief first; empty: as the environment variable TF_CONFIG says, if it is set."""
    index: Annotated[int, Field(ge=0)] | None = None
    """Which of `workers` this process is, from 0; not given: as SLURM_PROCID says."""
    timeout_sec: Positive = 120.0
    """A process that does not come within this time, or gives no sign of life for so long, ends the run of all."""
