"""Processes that train together, played by threads of one process."""

import concurrent.futures
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

from keras_actrec.training.cluster import Place
from keras_actrec.training.links import Links
from keras_actrec.training.meeting import meet


def free_addresses(count: int) -> tuple[str, ...]:
    """Return addresses of this machine at which nobody listens."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(f"127.0.0.1:{server.getsockname()[1]}" for server in servers)


def differ(chief: Any, other: Any) -> str:
    return "" if chief == other else f"{chief} there, {other} here"


def as_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Return what `work` gives in each of the threads, its exception where it fails."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work, index) for index in range(count)]
        return [future.exception(30) or future.result() for future in futures]


def link(count: int = 2, timeout_sec: float = 20.0) -> list[Links]:
    """Return the links of processes that have met."""
    addresses = free_addresses(count)

    def join(index: int) -> Links:
        place = Place(addresses, index)
        return Links(place, meet(place, "alike", differ, 20), timeout_sec)

    return as_threads(count, join)


@contextlib.contextmanager
def linked(count: int = 2, timeout_sec: float = 20.0) -> Iterator[list[Links]]:
    """Leave in order after the block."""
    links = link(count, timeout_sec)
    try:
        yield links
    finally:
        for one in links:
            one.close()
