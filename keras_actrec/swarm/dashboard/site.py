"""The pages that people open: the swarm, past ones, HiPlot, and a description of the API that needs no network."""

from __future__ import annotations

import datetime
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from keras_actrec.swarm.dashboard import assets, history, lineage, pages
from keras_actrec.swarm.dashboard.pages import escape, link
from keras_actrec.web import openapi

if TYPE_CHECKING:
    from keras_actrec.swarm.dashboard.application import Coordinator

LONG = {"cache-control": "private, max-age=31536000, immutable"}
"""For a file whose name changes with its content."""
_TYPES = {".css": "text/css", ".js": "text/javascript"}


def router(coordinator: Coordinator, output: Path) -> APIRouter:
    """Return the routes of the pages, none of which the API's description lists."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    _add_swarm(routes, coordinator)
    _add_past(routes, coordinator, output)
    _add_files(routes)

    @routes.get("/docs")
    def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(describe(request.app.openapi()))

    return routes


def describe(document: dict[str, Any]) -> str:
    """Return the description of an API (OpenAPI) as a page."""
    about = "The same as a document for programs: /openapi.json"
    return pages.table_page(document["info"]["title"], about, openapi.COLUMNS, openapi.rows(document))


def _add_swarm(routes: APIRouter, coordinator: Coordinator) -> None:
    @routes.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(pages.live(coordinator.snapshot()["name"]))

    @routes.get("/hiplot")
    def hiplot() -> HTMLResponse:
        return _hiplot(lineage.render(coordinator.store.journal))


def _add_past(routes: APIRouter, coordinator: Coordinator, output: Path) -> None:
    @routes.get("/history")
    def past_swarms() -> HTMLResponse:
        present = Path(coordinator.snapshot()["directory"]).name
        rows = [_past_row(line, present) for line in history.listing(output)]
        about = f"Found in {output}, newest first." if rows else f"There are none in {output} yet."
        columns = ("Swarm", "Last change", "Dynamic", "Particles", "Rounds", "Best fitness", "State")
        return HTMLResponse(pages.table_page("Past swarms", about, columns, rows))

    @routes.get("/history/{name}")
    def past_swarm(name: str) -> HTMLResponse:
        return HTMLResponse(pages.past(history.directory(output, name).name))

    @routes.get("/history/{name}/hiplot")
    def past_hiplot(name: str) -> HTMLResponse:
        with history.journal_of(history.directory(output, name)) as journal:
            return _hiplot(lineage.render(journal))


def _past_row(line: history.PastSwarm, present: str) -> list[str]:
    is_present = line.name == present
    address = "/" if is_present else f"/history/{urllib.parse.quote(line.name, safe='')}"
    changed = datetime.datetime.fromtimestamp(line.changed_at).astimezone()
    cells = [link(address, line.name), escape(f"{changed:%Y-%m-%d %H:%M}")]
    if line.problem is not None:
        return [*cells, "", "", "", "", escape(line.problem)]
    best = "" if line.best_fitness is None else f"{line.best_fitness:.4g}"
    standing = "this swarm" if is_present else "finished" if line.finished else "not finished"
    numbers = (line.dynamic, line.particles, f"{line.round} of {line.rounds}", best, standing)
    return [*cells, *map(escape, numbers)]


def _add_files(routes: APIRouter) -> None:
    @routes.get("/static/{name}")
    def static(name: str, request: Request) -> Response:
        if name == assets.plotly_name():
            return _plotly("gzip" in request.headers.get("accept-encoding", ""))
        if name not in (assets.STYLE, *assets.SCRIPTS):
            return PlainTextResponse("There is no such file.", 404)
        return Response(assets.text(name), media_type=_TYPES[Path(name).suffix], headers={"cache-control": "no-cache"})

    @routes.get("/favicon.ico")
    def icon() -> Response:
        return Response(assets.ICON, media_type="image/svg+xml")


def _plotly(compressed: bool) -> Response:
    headers = LONG | {"vary": "accept-encoding"}
    if not compressed:
        return FileResponse(assets.plotly_path(), media_type=_TYPES[".js"], headers=headers)
    headers["content-encoding"] = "gzip"
    return Response(assets.plotly_gzipped(), media_type=_TYPES[".js"], headers=headers)


def _hiplot(page: str) -> HTMLResponse:
    return HTMLResponse(page, headers={"content-security-policy": lineage.POLICY})
