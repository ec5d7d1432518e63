"""The web application of a running swarm: pages, and the API that they use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response

from keras_actrec import __version__
from keras_actrec.errors import UserError
from keras_actrec.swarm.dashboard import api, pages, security, site, updates
from keras_actrec.swarm.journal import Journal
from keras_actrec.web.security import Gate, require_token

OPEN_PATHS = ("/particles/",)
"""The particles' own API checks a token of its own; the rules of the page are not for it."""
DESCRIPTION = (
    "The state of a swarm of neural networks that learn from each other, and what can be done with it. "
    "Where the page needs a token, so does each request: `Authorization: Bearer TOKEN`."
)


class Store(Protocol):
    """What the page needs of a store."""

    journal: Journal


class Coordinator(Protocol):
    """What the page needs of a coordinator. Its methods may be called from several threads."""

    store: Store

    def snapshot(self) -> dict[str, Any]:
        """Return the state of the swarm and of its particles as JSON."""

    def pause(self) -> None:
        """Let the particles rest."""

    def resume(self) -> None:
        """Let them go on."""

    def stop(self) -> None:
        """End the swarm; it can be resumed later."""


def create_app(coordinator: Coordinator, *, host: str, token: str | None, output: Path) -> FastAPI:
    """Make the web application of a running swarm.

    Routers with paths under `/particles/` may be included; their requests are checked for their `Host` header only,
    not for the page's token, and not against posts of other sites.

    Args:
        coordinator: of the swarm.
        host: address that the server will listen at; other `Host` headers are refused, unless it is 0.0.0.0 or ::.
        token: password of pages and API; needed unless `host` is this machine's own.
        output: folder in which the directories of past swarms stand.

    Raises:
        UserError: `host` needs a token and there is none.
    """
    require_token(security.DOOR, host, token)
    app = FastAPI(
        title="keras_actrec swarm", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None
    )
    app.add_middleware(Gate, door=security.DOOR, host=host, token=token, open_paths=OPEN_PATHS)
    app.add_exception_handler(UserError, _explain)
    app.include_router(api.router(coordinator, Path(output)))
    app.include_router(site.router(coordinator, Path(output)))
    return app


async def _explain(request: Request, error: Exception) -> Response:
    if request.url.path.startswith(("/api/", *OPEN_PATHS)):
        return updates.Json({"detail": str(error)}, 409)
    return HTMLResponse(pages.table_page("This cannot be shown", str(error), (), ()), 409)
