"""Which processes train one network together, and which of them this one is: from TF_CONFIG or the configuration."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from keras_actrec.config import ClusterConfig
from keras_actrec.errors import UserError

VARIABLE = "TF_CONFIG"
SLURM_INDEX = "SLURM_PROCID"
EXAMPLE = '{"cluster": {"worker": ["node1:2222", "node2:2222"]}, "task": {"type": "worker", "index": 0}}'
_CHIEF, _WORKER = "chief", "worker"


@dataclasses.dataclass(frozen=True)
class Place:
    """The place of this process among those that train together.

    Attributes:
        workers: host:port of each process; the first is the chief, who alone writes anything.
        index: which of them this one is.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints, history and report, and evaluates."""
        return self.index == 0

    def name(self, index: int) -> str:
        """Return what a process is called in messages."""
        return f"{'the chief' if index == 0 else f'worker {index}'} ({self.workers[index]})"


def find_place(settings: ClusterConfig, environment: Mapping[str, str]) -> Place | None:
    """Return the place of this process; None where neither TF_CONFIG nor the configuration names other processes.

    Raises:
        UserError: what they say cannot be understood, or makes no cluster.
    """
    text = environment.get(VARIABLE, "").strip()
    if settings.workers and text:
        raise UserError(f"both training.cluster.workers and {VARIABLE} name the processes: remove one of the two.")
    if settings.workers:
        return _checked(settings.workers, _index(settings, environment), "training.cluster.workers")
    if settings.index is not None:
        raise UserError("training.cluster.index points into training.cluster.workers, which is empty: list them there.")
    return _from_variable(text) if text else None


def _index(settings: ClusterConfig, environment: Mapping[str, str]) -> int:
    if settings.index is not None:
        return settings.index
    number = environment.get(SLURM_INDEX, "")
    if not number.isdigit():
        raise UserError(
            f"which of training.cluster.workers is this process? Set training.cluster.index=0, 1, .. or {SLURM_INDEX}."
        )
    return int(number)


def _from_variable(text: str) -> Place | None:
    """Return what TF_CONFIG says; a chief that it names apart comes before the workers, as TensorFlow counts them."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{VARIABLE} is no JSON ({error}); expected such as {EXAMPLE}, got {text[:200]}") from None
    try:
        cluster, task = document.get("cluster", {}), document.get("task", {})
        if not cluster:
            return None
        strange = sorted(set(cluster) - {_CHIEF, _WORKER})
        chiefs, workers = (_addresses(cluster.get(kind, [])) for kind in (_CHIEF, _WORKER))
        kind, index = task["type"], task["index"]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{VARIABLE} is not understood ({error!r}); expected such as {EXAMPLE}, got {text}") from None
    if strange or len(chiefs) > 1:
        raise UserError(
            f"{VARIABLE}: expected workers, and one chief at most, got {', '.join(strange or ['several chiefs'])}; "
            "parameter servers and evaluators are not used, the chief evaluates."
        )
    named = chiefs if kind == _CHIEF else workers if kind == _WORKER else ()
    if type(index) is not int or not 0 <= index < len(named):
        raise UserError(f"{VARIABLE}: expected a task that the cluster names, got {json.dumps(task)}.")
    return _checked((*chiefs, *workers), index + (len(chiefs) if kind == _WORKER else 0), VARIABLE)


def _addresses(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise TypeError(f"no list of addresses: {value!r}")
    return tuple(value)


def _checked(workers: tuple[str, ...], index: int, source: str) -> Place:
    for address in workers:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise UserError(f"{source}: expected addresses such as node1:2222, got '{address}'.")
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise UserError(f"{source}: expected brackets around an IPv6 address, as in [::1]:2222, got '{address}'.")
    if len(set(workers)) < len(workers):
        raise UserError(f"{source}: expected different addresses, got {', '.join(workers)}.")
    if len(workers) < 2:
        raise UserError(
            f"{source} names one process, {workers[0]}, and it takes two to train together: name all of them, or none "
            "to train on this machine alone."
        )
    if index >= len(workers):
        raise UserError(f"{source} names {len(workers)} processes: expected an index below that, got {index}.")
    return Place(workers, index)
