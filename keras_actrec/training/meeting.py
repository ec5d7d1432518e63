"""How the processes that train together find each other, and make sure that they were started alike.

The chief listens at its address, the others call until it answers. Each says what it was started with; the chief
compares, and tells all of them to begin, or why not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable
from typing import Any

from keras_actrec.errors import UserError
from keras_actrec.training.cluster import Place
from keras_actrec.training.messages import read, write

Compare = Callable[[Any, Any], str]
"""Returns a phrase about the first difference between the chief's facts and another process'; empty when alike."""
HELLO_SEC = 5.0
RETRY_SEC = 0.3
_MOST_BYTES = 1 << 24
_TALK, _PULSE = "talk", "pulse"


@dataclasses.dataclass(frozen=True)
class Met:
    """Connections by the index of the process at the other end; all of the chief's, or the one to the chief.

    Attributes:
        talk: for what is said in turn.
        pulse: for signs of life.
    """

    talk: dict[int, socket.socket]
    pulse: dict[int, socket.socket]

    def all(self) -> list[socket.socket]:
        """Return all of them."""
        return [*self.talk.values(), *self.pulse.values()]


def meet(place: Place, facts: Any, compare: Compare, timeout_sec: float) -> Met:
    """Return the connections of this process, once all processes are there and were started alike.

    Args:
        place: of this process.
        facts: what it was started with (JSON).
        compare: is called by the chief.
        timeout_sec: so long it waits for the others.

    Raises:
        UserError: the address cannot be used, a process has not come, or was started with something else.
    """
    deadline = time.monotonic() + timeout_sec
    _check_free(place)
    met = _gather(place, facts, compare, deadline) if place.is_chief else _call(place, facts, deadline, timeout_sec)
    for connection in met.all():
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return met


def _gather(place: Place, facts: Any, compare: Compare, deadline: float) -> Met:
    met, hellos = Met({}, {}), {}
    with _listen(place.workers[0]) as listener:
        while not _are_there(met, hellos, len(place.workers) - 1):
            connection = _accept(listener, deadline)
            if connection is None:
                _forget_ended(met, hellos)
                break
            hello = _hello(connection)
            if hello is not None:
                _take_in(met, hellos, connection, hello)
            else:
                connection.close()
    problem = _different(place, facts, hellos, compare) or _missing(place, met)
    for connection in met.talk.values():
        with contextlib.suppress(OSError):
            write(connection, {"refused": problem})
    if problem:
        _close(met)
        raise UserError(problem)
    return met


def _take_in(met: Met, hellos: dict[int, Any], connection: socket.socket, hello: dict[str, Any]) -> None:
    """Keep a connection; of two processes with one index the second one is told, and the first one stays.

    It takes the place of one that has ended, such as a process that was stopped and started again.
    """
    kept = met.talk if hello["for"] == _TALK else met.pulse
    index = hello["index"]
    _forget_ended(met, hellos)
    if index in kept or (index in hellos and hellos[index] != hello["who"]):
        with contextlib.suppress(OSError):
            write(connection, {"refused": f"another process says already that it has the index {index}."})
        connection.close()
        return
    kept[index] = connection
    hellos[index] = hello["who"]


def _are_there(met: Met, hellos: dict[int, Any], count: int) -> bool:
    """Return whether both connections of so many processes are kept; what has ended since is forgotten."""
    if len(met.all()) < 2 * count:
        return False
    _forget_ended(met, hellos)
    return len(met.all()) == 2 * count


def _forget_ended(met: Met, hellos: dict[int, Any]) -> None:
    """Close both connections of each process that has ended one of them, and forget what it said."""
    kept = met.talk, met.pulse
    for index in {index for one in kept for index, connection in one.items() if _has_ended(connection)}:
        del hellos[index]
        for connection in (one.pop(index, None) for one in kept):
            if connection is not None:
                connection.close()


def _has_ended(connection: socket.socket) -> bool:
    """Return whether the process at the other end has closed a connection, or was ended; nothing is taken from it."""
    connection.settimeout(0)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(HELLO_SEC)


def _missing(place: Place, met: Met) -> str:
    absent = [place.name(index) for index in range(1, len(place.workers)) if index not in met.talk.keys() & met.pulse]
    if not absent:
        return ""
    return (
        f"{', '.join(absent)} did not come in time: start the same command on every node, look at its output there, "
        "and see that the nodes reach each other there; training.cluster.timeout_sec says how long to wait."
    )


def _different(place: Place, facts: Any, hellos: dict[int, Any], compare: Compare) -> str:
    for index in sorted(hellos):
        difference = compare(facts, hellos[index]["facts"])
        if hellos[index]["workers"] != list(place.workers):
            difference = f"it names other processes: {', '.join(hellos[index]['workers'])}"
        if difference:
            name = place.name(index) if index < len(place.workers) else f"worker {index}"
            return (
                f"{name} was started otherwise than {place.name(0)}: {difference}. Start the same command with the "
                "same files on every node."
            )
    return ""


def _call(place: Place, facts: Any, deadline: float, timeout_sec: float) -> Met:
    # The number tells two processes with one index apart.
    who = {"process": f"{socket.gethostname()} {time.time_ns()}", "facts": facts, "workers": list(place.workers)}
    met = Met({}, {})
    try:
        for kept, purpose in ((met.talk, _TALK), (met.pulse, _PULSE)):
            kept[0] = _connect(place, deadline)
            write(kept[0], {"for": purpose, "index": place.index, "who": who})
        met.talk[0].settimeout(timeout_sec + HELLO_SEC)  # the chief may have begun to wait just now
        problem = read(met.talk[0])["refused"]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        _close(met)
        raise UserError(
            f"{place.name(0)} did not answer as the chief does ({error or type(error).__name__}); look at its output."
        ) from None
    if problem:
        _close(met)
        raise UserError(problem)
    return met


def _connect(place: Place, deadline: float) -> socket.socket:
    host, _, port = place.workers[0].rpartition(":")
    while True:
        try:
            return socket.create_connection((host.strip("[]"), int(port)), timeout=HELLO_SEC)
        except OSError as error:
            if time.monotonic() + RETRY_SEC > deadline:
                raise UserError(
                    f"{place.name(0)} cannot be reached ({error}): start the same command there too, and see that this "
                    "node may connect to it (training.cluster.timeout_sec says how long to wait)."
                ) from None
        time.sleep(RETRY_SEC)


def _check_free(place: Place) -> None:
    """TensorFlow listens at the address of each process, and says nothing clear when it cannot."""
    if not place.is_chief:
        _listen(place.workers[place.index]).close()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    # A name of this machine may stand for an address that others cannot see, so only "localhost" is taken at its word.
    where = host.strip("[]") if host in ("localhost", "127.0.0.1", "[::1]") else ""
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((where, int(port)), family=family, reuse_port=False)
    except OSError as error:
        raise UserError(
            f"this process cannot listen at {address} ({error.strerror}): is another run, or another process with the "
            "same index, there already? Choose another port in the list of all processes."
        ) from None


def _accept(listener: socket.socket, deadline: float) -> socket.socket | None:
    left = deadline - time.monotonic()
    if left <= 0:
        return None
    listener.settimeout(left)
    try:
        return listener.accept()[0]
    except TimeoutError:
        return None


def _hello(connection: socket.socket) -> dict[str, Any] | None:
    """Return what a caller says; None for a stranger."""
    connection.settimeout(HELLO_SEC)
    try:
        hello = read(connection, _MOST_BYTES)
        known = hello["for"] in (_TALK, _PULSE) and type(hello["index"]) is int and hello["index"] > 0
        return hello if known and {"facts", "workers", "process"} <= set(hello["who"]) else None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _close(met: Met) -> None:
    for connection in met.all():
        connection.close()
