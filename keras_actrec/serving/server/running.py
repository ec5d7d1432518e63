"""Running the application until somebody ends it: what is under way is answered, nothing new is taken.

Who asks a second time does not wait: requests are refused, and the process ends whatever its threads are doing.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from keras_actrec.errors import UserError
from keras_actrec.web.listening import Web, address_of

_BACKLOG = 256
_CONNECTIONS = 512
"""Beyond so many connections at a time uvicorn answers 503 by itself."""
_KEEP_ALIVE_SEC = 10
_REFUSE_SEC = 1.0
"""After a second signal, so long the refusals may take to reach those who wait."""


def serve(app: FastAPI, connection: socket.socket, end_sec: float) -> None:
    """Serve until SIGTERM or Ctrl-C; a second one ends the process at once.

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
        self._forced = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        serving = asyncio.create_task(self._web.serve(sockets=[self._connection]))
        while not (self._web.started or serving.done()):
            await asyncio.sleep(0.02)
        if self._web.started:
            print(f"page: {address_of(self._connection)}", flush=True)
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait((serving, forced), return_when=asyncio.FIRST_COMPLETED)
        if self._app.state.service.aborted and self._web.started:
            await self._leave(serving)
        forced.cancel()
        await serving
        if not self._web.started:
            raise UserError("the server did not start; what went wrong stands above.")
        print("ended", flush=True)

    def _end(self) -> None:
        service = self._app.state.service
        if service.draining:
            service.abort()
            asyncio.get_running_loop().call_later(_REFUSE_SEC, self._forced.set)
        else:
            print(f"ending: {service.under_way} requests are under way", flush=True)
        service.drain()
        self._web.should_exit = True

    async def _leave(self, serving: asyncio.Task[None]) -> NoReturn:
        """End the process: a pass of a network cannot be interrupted, and Python would wait for its threads."""
        if not serving.done():  # somebody is still sending, and the web server would wait for him
            await self._web.lifespan.shutdown()
        print("ended", flush=True)
        sys.stderr.flush()
        os._exit(0)
