"""How a cluster is reached and what is asked of it: the section `ray` of a swarm, a sweep or a comparison."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from keras_actrec.config import NonNegative, Positive, Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class RaySection(Section):
    """Which Ray cluster, and what each process gets of it."""

    address: str | None = None
    """Of a cluster that runs: HOST:PORT, or `auto` for the one that this machine is a node of. Default: the environment
    variable RAY_ADDRESS, and without it a cluster of this machine alone, which ends with the command."""
    num_cpus: Positive | None = None
    """Cores that Ray reserves for each process, and as many threads; below 1, several share a core. Default: 1, and on
    a cluster of this machine alone an equal share of its cores."""
    num_gpus: NonNegative | None = None
    """GPUs for each process; 0.5: two share one. Default: one where there are enough, else the share with which all
    fit; none on a cluster without GPUs."""
    wait_sec: NonNegative = 300.0
    """Time to wait for nodes with room before giving up; what is committed stays."""
    environment: tuple[Name, ...] = ()
    """Names of environment variables that the processes get from this one, beside KERAS_*, TF_* and XLA_*."""

    @field_validator("address")
    @classmethod
    def _is_no_client_address(cls, address: str | None) -> str | None:
        if address is not None and "://" in address:
            raise ValueError(
                "expected HOST:PORT or auto: processes must reach this command, so it runs on a node of the cluster; "
                "log in there"
            )
        return address
