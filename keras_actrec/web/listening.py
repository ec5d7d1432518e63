"""The socket that a server listens at, and a web server that leaves signals to whoever runs it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from keras_actrec.errors import UserError


@contextlib.contextmanager
def listen(host: str, port: int, host_setting: str, port_setting: str) -> Iterator[socket.socket]:
    """Yield a listening socket, so that a port in use is told before anything is begun.

    Args:
        host: name or address of this machine.
        port: 0: any free one.
        host_setting: how the host is set, such as "swarm.host=".
        port_setting: how the port is set, likewise.

    Raises:
        UserError: no address of this machine, or a port in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        connection = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"{host_setting}{host} is no address of this machine: {error}.") from None
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            connection.bind(address)
            connection.listen(128)
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}, port {port}: {error.strerror}; choose another with "
                f"{port_setting}{port + 1}, or {port_setting}0 for any free one."
            ) from None
        yield connection


def address_of(connection: socket.socket) -> str:
    """Return what a listening socket is reached by, as an URL."""
    host, port = connection.getsockname()[:2]
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


class Web(uvicorn.Server):
    """The web server; signals are left to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
