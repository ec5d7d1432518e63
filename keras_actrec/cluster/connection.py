"""A connection to a Ray cluster: one that runs, or one of this machine alone that ends with it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import keras_actrec
from keras_actrec.cluster import shares
from keras_actrec.cluster.guardian import Guardian
from keras_actrec.cluster.settings import RaySection
from keras_actrec.cluster.shares import Demand, Node
from keras_actrec.errors import UserError

CONNECT_SEC = 10.0
LOOK_SEC = 2.0
"""The list of nodes is asked for no more often than this."""
STORE_BYTES = 100 * 2**20
"""Nothing but small messages goes through Ray's object store."""
HANDED_ON = ("KERAS_", "TF_", "XLA_")


class Cluster:
    """A cluster that this process is connected to. Use as a context.

    Args:
        section: which cluster, and what each process gets.
        setting: where the section is set, such as "swarm.ray".
        count: processes at a time.
        cores: that each of them has by default, on a cluster of this machine alone.

    Attributes:
        demand: of each process.
        own: whether it is of this machine alone, and ends with the connection.

    Raises:
        UserError: Ray is not installed, there is no such cluster, or one of this machine alone has too little.
    """

    def __init__(self, section: RaySection, setting: str, count: int, cores: int = 1) -> None:
        self._ray = _import_ray()
        self._section, self._setting = section, setting
        address = section.address or os.environ.get("RAY_ADDRESS")
        self.own = address in (None, "", "local")
        self._looked, self._nodes = 0.0, []
        cpus = section.num_cpus or (cores if self.own else 1)
        if self.own:
            # What is not asked for need not be there: particles share cores, as those of the local launcher do.
            self._start(max(_cores(), 0 if section.num_cpus else math.ceil(cpus * count)))
        else:
            self._join(str(address))
        gpus = shares.gpu_share(self.nodes, count) if section.num_gpus is None else section.num_gpus
        self.demand = Demand(cpus, gpus)
        if self.own and (lack := self.shortage(count)):
            self.close()
            raise UserError(f"{lack}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; processes that were started over this connection end."""
        self._ray.shutdown()

    @property
    def nodes(self) -> Sequence[Node]:
        """The living nodes, as they were a moment ago."""
        if time.monotonic() - self._looked > LOOK_SEC or not self._nodes:
            self._nodes = [_node(row) for row in self._ray.nodes() if row["Alive"]]
            self._looked = time.monotonic()
        return self._nodes

    @property
    def threads(self) -> int:
        """Threads of each process."""
        return max(1, int(self.demand.cpus))

    @property
    def address(self) -> str:
        """By which other nodes reach this machine."""
        return self._ray.util.get_node_ip_address()

    def lives(self, node: str) -> bool:
        """Whether a node lives, by Ray's name of it; asks anew."""
        self._looked = 0.0
        return any(other.identity == node for other in self.nodes)

    def shortage(self, count: int) -> str | None:
        """Return what the cluster lacks for so many processes, with what to do; None where all fit."""
        lack = shares.shortage(self.nodes, self.demand, count)
        return lack and f"{lack}: ask for fewer or smaller ones ({self._setting}.num_cpus, .num_gpus), or add nodes"

    def waiting_for(self, count: int) -> str:
        """Return why a process, one of so many on the cluster, has no place."""
        if lack := self.shortage(count):
            return f"no place: {lack}"
        free = self._ray.available_resources()  # without what is reserved for a worker that Ray is starting
        has = Demand(free.get("CPU", 0.0), free.get("GPU", 0.0))
        return f"no place yet: it needs {self.demand}; not reserved are {has}, {shares.on(self.nodes)}"

    def description(self, count: int) -> str:
        """Return a line about the cluster, and what is asked of it."""
        cpus, gpus = (sum(getattr(node, name) for node in self.nodes) for name in ("cpus", "gpus"))
        whose = "of this machine" if self.own else shares.on(self.nodes)
        line = f"Ray cluster {whose} with {Demand(cpus, gpus)}: {count} x {self.demand}"
        lack = self.shortage(count)
        return line if lack is None else f"{line}\n{lack}; waiting up to {self.wait_sec:.0f} s"

    @property
    def wait_sec(self) -> float:
        """Time to wait for a place."""
        return self._section.wait_sec

    def actor(self) -> Any:
        """Ask for a place for a process, and return the handle of the actor that will look after it there."""
        options = {"num_cpus": self.demand.cpus, "num_gpus": self.demand.gpus, "scheduling_strategy": "SPREAD"}
        # Ray does not start it again: what a process had committed, and where it goes on, its owner knows.
        return self._ray.remote(Guardian).options(max_restarts=0, max_concurrency=4, **options).remote()

    def environment(self) -> dict[str, str]:
        """Return the variables of this process that those on the cluster get."""
        wanted = set(self._section.environment)
        own = {"CUDA_VISIBLE_DEVICES": ""} if self._section.num_gpus == 0 else {}
        return own | {name: v for name, v in os.environ.items() if name in wanted or name.startswith(HANDED_ON)}

    def _start(self, cpus: int) -> None:
        os.environ.setdefault("RAY_worker_niceness", "0")  # as polite as the command itself, not more
        try:
            self._init("local", num_cpus=cpus, include_dashboard=False, object_store_memory=STORE_BYTES)
        except Exception as error:  # Ray raises no kind of its own here
            self._ray.shutdown()
            raise UserError(
                f"Ray could not start a cluster of this machine: {_told(error)} A machine that is very busy may be too "
                "slow for Ray, which waits 30 s."
            ) from error

    def _join(self, address: str) -> None:
        _check_answers(address, self._setting)
        try:
            self._init(address)
        except Exception as error:
            self._ray.shutdown()
            raise UserError(
                f"expected a Ray cluster at {address} ({self._setting}.address), but: {_told(error)} Start one with "
                "ray start --head, or leave the address out for one of this machine alone. A cluster that asks for a "
                "token wants RAY_AUTH_MODE=token here, too."
            ) from error

    def _init(self, address: str, **options: Any) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        package = str(Path(keras_actrec.__file__).parent)
        with _own_signals():
            self._ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"py_modules": [package], "excludes": ["**/__pycache__"]},
                **options,
            )


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this command's way of ending: Ray puts its own in place of it."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"a launcher 'ray' needs Ray, but it cannot be imported ({error}): pip install 'keras_actrec[ray]', "
            "or pip install -c requirements.txt ray"
        ) from None
    return ray


def _told(error: Exception) -> str:
    """Return what Ray says of a failure, as one sentence."""
    return " ".join(str(error).split()).rstrip(".") + "."


def _check_answers(address: str, setting: str) -> None:
    """Tell in seconds what Ray tells in minutes: nobody listens there."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SEC).close()
    except OSError as error:
        raise UserError(
            f"expected a Ray cluster at {address} ({setting}.address), but nobody answers there ({error}); "
            "ray status on its head node tells its address."
        ) from None


def _node(row: dict[str, Any]) -> Node:
    offers = row["Resources"]
    return Node(
        row["NodeID"], row["NodeManagerAddress"], row["NodeManagerHostname"], offers.get("CPU", 0), offers.get("GPU", 0)
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
