"""The FiftyOne App on this machine: a free port, an address to print, and an end that leaves nothing running."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from typing import Any

from keras_actrec.data.fiftyone_sets.mongo import free_port
from keras_actrec.errors import UserError

HOST = "127.0.0.1"
"""The App's server gives any file that its user may read to whoever can reach it, so it is reached from here alone."""
USUAL_PORT = 5151
_LAST_PORT = 65535
START_SEC = 300.0
_NEIGHBOURS = 20
_LOOK_SEC = 0.5


def choose_port(wanted: int | None) -> int:
    """Return the port that was asked for, or else FiftyOne's usual one or the next that is free.

    Raises:
        UserError: somebody listens on the one that was asked for, or it is none.
    """
    if wanted is not None:
        if not 0 < wanted <= _LAST_PORT:
            raise UserError(f"--port: expected a number from 1 to {_LAST_PORT}, got {wanted}.")
        if not is_free(wanted):
            raise UserError(
                f"port {wanted} is taken by another program, or not for all to use; choose another one with --port."
            )
        return wanted
    return next(filter(is_free, range(USUAL_PORT, USUAL_PORT + _NEIGHBOURS)), None) or free_port()


def is_free(port: int) -> bool:
    """Tell whether a server can listen on a port of this machine."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


@contextlib.contextmanager
def opened(fiftyone: Any, dataset: Any, port: int) -> Iterator[str]:
    """Serve the App as long as the block lasts, and yield its address.

    Raises:
        UserError: its server does not come up.
    """
    from fiftyone.core.session import session as sessions

    service = _start(port)
    sessions._server_services[port] = service  # or launch_app starts one, and waits for it no longer than a minute
    try:
        session = fiftyone.launch_app(dataset, port=port, address=HOST, remote=True)
        session._disable_wait_warning = True
        try:
            yield f"http://{HOST}:{port}/datasets/{dataset.slug}"
        finally:
            fiftyone.close_app()
    finally:
        sessions._server_services.pop(port, None)
        service.stop()


def _start(port: int) -> Any:
    """Return FiftyOne's server once it listens, also on a machine that is busy with other things."""
    from fiftyone.core import service

    class Server(service.ServerService):
        def _wait_for_child_port(self, port: int | None = None, timeout: int = int(START_SEC)) -> int:
            return super()._wait_for_child_port(port, timeout)

    try:
        return Server(port, address=HOST, do_not_track=True)
    except service.ServiceException as error:
        raise UserError(
            f"the App's server did not start within {START_SEC:.0f} s ({error}); try again, or another --port."
        ) from error


def wait(port: int) -> None:
    """Return when the user has had enough: at Ctrl-C, a hang-up or a request to terminate.

    Raises:
        UserError: the App's server has ended by itself.
    """
    enough = threading.Event()
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, lambda *_: enough.set()) for name in names}
    try:
        while not enough.wait(_LOOK_SEC):
            if is_free(port):
                raise UserError("the App's server has ended; start the command again, perhaps with another --port.")
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def show(address: str) -> None:
    """Open the address in the user's browser, where there is a screen."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)
