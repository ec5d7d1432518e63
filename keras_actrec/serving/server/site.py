"""The page for people, its files, the example clips, and a description of the API that needs no network."""

from __future__ import annotations

import html
import importlib.resources
import string
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from keras_actrec.serving.server.examples import Example
from keras_actrec.web import base_style, openapi
from keras_actrec.web.security import POLICY

FILES = {
    "page.css": "text/css",
    "api.js": "text/javascript",
    "card.js": "text/javascript",
    "page.js": "text/javascript",
}
POLICY_WITH_VIDEO = f"{POLICY}; media-src 'self' blob:"
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect x="2" y="6" width="28" height="20" rx="4" fill="#0072b2"/><path d="M13 11v10l8-5z" fill="#fff"/></svg>'
)


def router(offered: tuple[Example, ...]) -> APIRouter:
    """Return the routes of the pages, none of which the API's description lists."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(text("page.html"), headers={"content-security-policy": POLICY_WITH_VIDEO})

    @routes.get("/docs")
    def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(describe(request.app.openapi()))

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in FILES:
            return PlainTextResponse("There is no such file.", 404)
        return Response(text(name), media_type=FILES[name], headers={"cache-control": "no-cache"})

    @routes.get("/favicon.ico")
    def icon() -> Response:
        return Response(ICON, media_type="image/svg+xml")

    @routes.get("/examples/{number}")
    def example(number: int) -> Response:
        if not 0 <= number < len(offered) or not Path(offered[number].path).is_file():
            return PlainTextResponse("There is no such example.", 404)
        return FileResponse(offered[number].path, media_type=offered[number].kind)

    return routes


def describe(document: dict[str, Any]) -> str:
    """Return the description of the API as a page."""
    heads = "".join(f"<th>{html.escape(column)}</th>" for column in openapi.COLUMNS)
    rows = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in openapi.rows(document))
    about = html.escape(document["info"]["description"])
    return string.Template(text("docs.html")).substitute(about=about, heads=heads, rows=rows)


def text(name: str) -> str:
    """Return one of the page's own files; the style with what all pages of the package share."""
    shared = base_style() if name.endswith(".css") else ""
    return shared + importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
