"""Where particles on other machines reach the server, when its page is for this machine alone. Imports no Keras."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import APIRouter, FastAPI

from keras_actrec.swarm.dashboard import security
from keras_actrec.web.listening import Web, address_of, listen
from keras_actrec.web.security import Gate, is_everywhere, is_loopback

PARTICLES = ("/particles",)


class Door:
    """A listener for particles alone: whoever comes needs the swarm's token, and finds neither page nor buttons.

    Args:
        connection: where it listens.
        router: the particles' routes, which check the token.
        host: address that particles call it by.

    Attributes:
        url: how particles reach it.
        web: its server.
    """

    def __init__(self, connection: socket.socket, router: APIRouter, host: str) -> None:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(router)
        app.add_middleware(Gate, door=security.DOOR, host=host, token=None, open_paths=PARTICLES)
        settings = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        self.connection, self.url, self.web = connection, address_of(connection), Web(settings)


@contextlib.contextmanager
def opened(
    host: str, page: socket.socket, outside: str | None, router: APIRouter, *, local: bool = False
) -> Iterator[tuple[str, Door | None]]:
    """Yield the address for particles, and the door that has to be served for it, if the page's is not enough.

    Args:
        host: of the page.
        page: where the page listens.
        outside: address by which other machines reach this one; None: by what the page is told to listen on.
        router: the particles' routes.
        local: whether all particles are on this machine, whose own name need not lead to it.
    """
    if local and is_everywhere(host):
        loopback = "[::1]" if ":" in host else "127.0.0.1"
        yield f"http://{loopback}:{page.getsockname()[1]}", None
    elif outside is None or not (is_loopback(host) or is_everywhere(host)):
        yield address_of(page), None
    elif is_everywhere(host):
        shown = f"[{outside}]" if ":" in outside else outside
        yield f"http://{shown}:{page.getsockname()[1]}", None
    else:
        with listen(outside, 0, "swarm.host=", "swarm.port=") as connection:
            door = Door(connection, router, outside)
            yield door.url, door
