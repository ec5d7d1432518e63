"""The pages of a running sweep, served to this machine alone: they are made anew for each visit."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from keras_actrec.sweep import parallel, sweep_page
from keras_actrec.sweep.sweep import Sweep
from keras_actrec.web.listening import Web, address_of

HOST, PORT = "127.0.0.1", 8601
REFRESH_SEC = 10
END_SEC = 5.0
_FORBIDS = {"cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def application(sweep: Sweep) -> Starlette:
    """Return the web application of a sweep: `/` its report, `/hiplot` its lines."""

    def report(request: Request) -> HTMLResponse:
        page = sweep_page.render(sweep.path.name, sweep.config, sweep.search, sweep.trials)
        return HTMLResponse(page, headers={**_FORBIDS, "refresh": str(REFRESH_SEC)})

    def hiplot(request: Request) -> HTMLResponse:
        return HTMLResponse(parallel.render(sweep.config, sweep.trials), headers=_FORBIDS)

    # Other web sites in the same browser must not read it by a name that leads here.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=[Route("/", report), Route("/hiplot", hiplot)], middleware=[hosts])


@contextlib.contextmanager
def serving(sweep: Sweep, port: int) -> Iterator[str]:
    """Serve while the block runs, and yield the address.

    Args:
        sweep: is shown as it stands.
        port: 0, or one that is taken: any free one.
    """
    with _listen(port) as connection:
        settings = uvicorn.Config(application(sweep), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        server = Web(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [connection]}, daemon=True)
        thread.start()
        try:
            yield address_of(connection)
        finally:
            server.should_exit = True
            thread.join(END_SEC)


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError:
        return socket.create_server((HOST, 0))
