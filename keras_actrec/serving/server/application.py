"""The web application of the server: its routes behind its door."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keras_actrec import __version__
from keras_actrec.serving.server import api, site
from keras_actrec.serving.server.bounds import Bounds
from keras_actrec.serving.server.examples import Example
from keras_actrec.serving.server.models import Models
from keras_actrec.serving.server.refusals import RefusedError
from keras_actrec.serving.server.service import Service
from keras_actrec.serving.server.statistics import Statistics
from keras_actrec.web.security import Door, Gate, require_token

DOOR = Door("actrec", api.HEADER.lower(), "--token", "--host")
OPEN_PATHS = ("/health",)
"""Load balancers look at it without a token; where there is one, it does not tell which models there are."""
DESCRIPTION = (
    "What videos show: the bytes of a video file are posted, the likeliest actions are answered. Requests carry the "
    f"header {api.HEADER} with any value, and, where the server wants a token, `Authorization: Bearer TOKEN`."
)
Counted = Callable[[str, int, float], None]


def create_app(
    models: Callable[[Counted], Models],
    *,
    host: str,
    token: str | None,
    bounds: Bounds,
    workers: int,
    keep: Path | None = None,
    offered: tuple[Example, ...] = (),
) -> FastAPI:
    """Make the application; it opens its workers and threads when it is started, and closes them at its end.

    Args:
        models: opens the models; is given what counts their passes.
        host: address that the server will listen at; other `Host` headers are refused, unless it is 0.0.0.0 or ::.
        token: password of page and API; needed unless `host` is this machine's own.
        bounds: on uploads.
        workers: processes that decode.
        keep: folder for uploads and answers; None: nothing is kept.
        offered: example clips.

    Returns:
        The application; its `state.service` is a `Service`, its `state.uploads` the folder of uploads.

    Raises:
        UserError: `host` needs a token and there is none.
    """
    require_token(DOOR, host, token)
    statistics = Statistics(lambda: service.under_way, lambda: sum(one.batcher.waiting for one in service.models))
    service = Service(models(statistics.passed), bounds, workers, statistics.decoded)
    folder = tempfile.TemporaryDirectory(prefix="keras-actrec-uploads-")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with folder:
            async with service:
                yield

    app = FastAPI(
        title="keras_actrec",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service, app.state.uploads = service, Path(folder.name)
    app.add_exception_handler(RefusedError, _refuse)
    app.include_router(api.router(service, statistics, app.state.uploads, keep, offered, token is None))
    app.include_router(site.router(offered))
    app.add_middleware(Gate, door=DOOR, host=host, token=token, open_paths=OPEN_PATHS)
    app.add_middleware(Counting, told=statistics.answered)
    return app


class Counting:
    """ASGI middleware that counts requests.

    Args:
        app: what is behind it.
        told: called with (route, method, status, seconds) when a request has been answered.
    """

    def __init__(self, app: ASGIApp, told: Callable[[str, str, int, float], None]) -> None:
        self._app, self._told = app, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # The route's pattern: paths of strangers would make ever more counters.
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"
            self._told(route, method, status, time.perf_counter() - begin)


async def _refuse(request: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, RefusedError) else RefusedError(500, str(error))
    headers = {} if refusal.retry_sec is None else {"retry-after": str(refusal.retry_sec)}
    return JSONResponse({"detail": refusal.detail}, refusal.status, headers)
