"""What fits on which nodes: plain arithmetic, and the sentence for what does not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

_TINY = 1e-9
"""Shares such as a third add up to a little less or more than a whole."""


@dataclasses.dataclass(frozen=True)
class Node:
    """A living machine of a cluster, and what it offers in all.

    Attributes:
        identity: Ray's name of it.
        address: by which the others reach it.
        host: its name.
        cpus, gpus: what Ray may give away there, used or not.
    """

    identity: str
    address: str
    host: str
    cpus: float
    gpus: float


@dataclasses.dataclass(frozen=True)
class Demand:
    """What one process asks for."""

    cpus: float
    gpus: float = 0.0

    def __str__(self) -> str:
        parts = [counted(self.gpus, "GPU")] if self.gpus else []
        return " and ".join([*parts, counted(self.cpus, "CPU")])


def counted(number: float, what: str) -> str:
    """Return a number with its noun: 1 CPU, 2 CPUs, 0.5 GPU."""
    return f"{number:.3g} {what}" + ("s" if number > 1 or number == 0 else "")


def on(nodes: Sequence[Node]) -> str:
    """Return how many nodes there are, in words."""
    return f"on {len(nodes)} node" + ("" if len(nodes) == 1 else "s")


def room(nodes: Sequence[Node], demand: Demand) -> int:
    """Return how many processes of a demand fit on nodes that do nothing else."""
    return sum(min(_fit_cpus(node.cpus, demand.cpus), _fit_gpus(node.gpus, demand.gpus)) for node in nodes)


def gpu_share(nodes: Sequence[Node], count: int) -> float:
    """Return the GPUs of each of `count` processes: 1, or 1/k, the smallest k with which all fit; 0 without any."""
    gpus = sum(math.floor(node.gpus + _TINY) for node in nodes)
    return 0.0 if gpus == 0 else 1.0 / math.ceil(count / gpus)


def shortage(nodes: Sequence[Node], demand: Demand, count: int) -> str | None:
    """Return what a cluster lacks for `count` processes, in words; None where all fit."""
    if room(nodes, demand) >= count:
        return None
    where = on(nodes)
    for need, has, what, fit in (
        (demand.gpus, sum(node.gpus for node in nodes), "GPU", _fit_gpus),
        (demand.cpus, sum(node.cpus for node in nodes), "CPU", _fit_cpus),
    ):
        if need and fit(has, need) < count:
            return f"asked for {count} x {counted(need, what)}; the cluster has {has:.3g}, {where}"
    offers = ", ".join(str(Demand(node.cpus, node.gpus)) for node in nodes)
    return f"asked for {count} x ({demand}); {room(nodes, demand)} fit {where}, which have {offers}"


def _fit_cpus(cpus: float, each: float) -> int:
    return math.floor(cpus / each + _TINY)


def _fit_gpus(gpus: float, each: float) -> int:
    """Count processes; Ray gives a share below one from a single GPU."""
    if each <= 0:
        return 2**31
    if each < 1:
        return math.floor(gpus + _TINY) * math.floor(1 / each + _TINY)
    return math.floor(gpus / each + _TINY)
