"""Running the application until somebody ends it: what is under way is answered, nothing new is taken."""

from __future__ import annotations

import asyncio
import math
import signal
import socket

import uvicorn
from fastapi import FastAPI

from keras_actrec.errors import UserError
from keras_actrec.web.listening import Web, address_of

_BACKLOG = 256
_CONNECTIONS = 512
"""Beyond so many connections at a time uvicorn answers 503 by itself."""
_KEEP_ALIVE_SEC = 10


def serve(app: FastAPI, connection: socket.socket, end_sec: float) -> None:
    """Serve until SIGTERM or Ctrl-C; a second one ends at once.

    Args:
        app: of `application.create_app`.
        connection: listening.
        end_sec: how long requests that are under way are waited for.
    """
    settings = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="on",
        backlog=_BACKLOG,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SEC,
        timeout_graceful_shutdown=math.ceil(end_sec),
        server_header=False,
        ws="none",
    )
    asyncio.run(_Server(Web(settings), app, connection).run())


class _Server:
    def __init__(self, web: Web, app: FastAPI, connection: socket.socket) -> None:
        self._web, self._app, self._connection = web, app, connection

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        serving = asyncio.create_task(self._web.serve(sockets=[self._connection]))
        while not (self._web.started or serving.done()):
            await asyncio.sleep(0.02)
        if self._web.started:
            print(f"page: {address_of(self._connection)}", flush=True)
        await serving
        if not self._web.started:
            raise UserError("the server did not start; what went wrong stands above.")
        print("ended", flush=True)

    def _end(self) -> None:
        if self._app.state.service.draining:
            self._web.force_exit = True
        else:
            print(f"ending: {self._app.state.service.under_way} requests are under way", flush=True)
        self._app.state.service.drain()
        self._web.should_exit = True
