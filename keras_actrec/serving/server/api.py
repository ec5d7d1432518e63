"""The API of the server, under /api, and what machines look at: /health and /metrics."""

from __future__ import annotations

import asyncio
import errno
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from keras_actrec import __version__
from keras_actrec.data.synthetic.recording import for_browsers, write_video
from keras_actrec.explain.command import METHOD_NAMES
from keras_actrec.serving.server import questions, uploads
from keras_actrec.serving.server.examples import Example
from keras_actrec.serving.server.keeping import Keeper
from keras_actrec.serving.server.metrics import CONTENT_TYPE
from keras_actrec.serving.server.refusals import RefusedError
from keras_actrec.serving.server.schema import Health, ModelFacts, Offered, Problem, Told
from keras_actrec.serving.server.service import Service
from keras_actrec.serving.server.statistics import Statistics

HEADER = "X-Actrec"
_FULL = (errno.ENOSPC, errno.EDQUOT)
OwnHeader = Annotated[str, Header(alias=HEADER, description="Any value; keeps other web sites from posting.")]
_UPLOAD = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a video file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The upload was cut off."},
    404: {"model": Problem, "description": "There is no such model."},
    408: {"model": Problem, "description": "The upload came too slowly."},
    413: {"model": Problem, "description": "The upload is too large."},
    415: {"model": Problem, "description": "The body is declared to be something else than a video."},
    422: {"model": Problem, "description": "The video cannot be read, or a parameter is wrong."},
    429: {"model": Problem, "description": "Too many requests wait; Retry-After says when to come again."},
    503: {"model": Problem, "description": "The server is too busy, or about to end."},
    507: {"model": Problem, "description": "The server's disk is full."},
}
_FILM: dict[int | str, dict[str, Any]] = {200: {"content": {"video/mp4": {}}, "description": "A video, H.264."}}


def router(
    service: Service,
    statistics: Statistics,
    folder: Path,
    keep: Path | None,
    offered: tuple[Example, ...],
    names_models: bool,
) -> APIRouter:
    """Return the routes.

    Args:
        service: answers.
        statistics: of the server.
        folder: where uploads are while they are answered.
        keep: where they go afterwards; None: nowhere.
        offered: example clips.
        names_models: /health, which needs no token, tells which models there are.
    """
    routes = APIRouter()
    _add_facts(routes, service, offered)
    _add_machines(routes, service, statistics, names_models)
    _add_predict(routes, service, folder, None if keep is None else Keeper(keep, _warn))
    _add_films(routes, service, folder)
    return routes


def _add_facts(routes: APIRouter, service: Service, offered: tuple[Example, ...]) -> None:
    @routes.get("/api/models", summary="Models that can be asked", response_model=list[ModelFacts])
    def models() -> JSONResponse:
        return JSONResponse([model.to_json() for model in service.models])

    @routes.get("/api/examples", summary="Example clips", response_model=list[Offered])
    def examples() -> JSONResponse:
        found = [
            {"name": one.path.name, "label": one.label, "address": f"/examples/{number}"}
            for number, one in enumerate(offered)
        ]
        return JSONResponse(found)


def _add_machines(routes: APIRouter, service: Service, statistics: Statistics, names_models: bool) -> None:
    @routes.get(
        "/health", summary="Whether requests are taken", response_model=Health, responses={503: {"model": Health}}
    )
    def health() -> JSONResponse:
        told = {
            "status": "ending" if service.draining else "ok",
            "version": __version__,
            "under_way": service.under_way,
            "places": service.bounds.requests,
        }
        if names_models:
            told["models"] = [model.name for model in service.models]
        return JSONResponse(told, 503 if service.draining else 200)

    @routes.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
    def metrics() -> Response:
        return Response(statistics.text(), media_type=CONTENT_TYPE)


def _add_predict(routes: APIRouter, service: Service, folder: Path, keeper: Keeper | None) -> None:
    @routes.post(
        "/api/predict",
        summary="What a video shows",
        response_model=Told,
        responses=_REFUSALS,
        openapi_extra=_UPLOAD,
    )
    async def predict(
        request: Request,
        x_actrec: OwnHeader,
        model: questions.ModelName = None,
        top: questions.Top = 5,
        window: questions.Seconds = None,
        hop: questions.Seconds = None,
        smooth: questions.Smooth = None,
        whole: questions.Whole = False,
        name: questions.Name = None,
    ) -> JSONResponse:
        begin = time.perf_counter()
        asked = questions.asked(service.models.find(model), top, window, hop, smooth, whole)
        async with _upload(request, service, folder) as path:
            there = time.perf_counter()
            found = (await service.predict(path, asked)).to_json()
            seconds = {"upload": there - begin, "answer": time.perf_counter() - there}
            told = {"model": asked.model.name, **found, "seconds": {key: round(one, 4) for key, one in seconds.items()}}
            if keeper is not None:
                await asyncio.to_thread(keeper.keep, path, name, told)
        return JSONResponse(told)


def _add_films(routes: APIRouter, service: Service, folder: Path) -> None:
    @routes.post(
        "/api/explain",
        summary="What the network looks at, as a video; X-Class and X-Method say of which class and how",
        response_class=Response,
        responses=_REFUSALS | _FILM,
        openapi_extra=_UPLOAD,
    )
    async def explain(
        request: Request,
        x_actrec: OwnHeader,
        model: questions.ModelName = None,
        label: Annotated[str | None, Query(max_length=200, description="A class; default: the predicted one.")] = None,
        method: Annotated[str | None, Query(pattern=f"^({'|'.join(METHOD_NAMES)})$")] = None,
        start_sec: questions.Moment = None,
        end_sec: questions.Moment = None,
    ) -> Response:
        chosen, stretch = service.models.find(model), questions.stretch(start_sec, end_sec)
        async with _upload(request, service, folder) as path:
            found = await service.explain(path, chosen, label, method, stretch)
        headers = {"x-class": quote(found.label), "x-method": found.method}
        return Response(found.video, media_type="video/mp4", headers=headers)

    @routes.post(
        "/api/preview",
        summary="A video as browsers play it: small, without sound, its first minute",
        response_class=Response,
        responses=_REFUSALS | _FILM,
        openapi_extra=_UPLOAD,
    )
    async def preview(request: Request, x_actrec: OwnHeader) -> Response:
        async with _upload(request, service, folder) as path:
            frames, fps = await service.preview(path)
            film = await asyncio.to_thread(_film, frames, fps)
        return Response(film, media_type="video/mp4")


@asynccontextmanager
async def _upload(request: Request, service: Service, folder: Path) -> AsyncIterator[Path]:
    """Take a place and receive the upload; a refusal waits until the sender can hear it."""
    try:
        with service.place():
            async with uploads.received(request, folder, service.bounds) as path:
                yield path
    except RefusedError:
        await uploads.drain(request)
        raise
    except OSError as error:
        if error.errno in _FULL:  # films are made in files, too
            raise uploads.no_room(error) from None
        raise


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _film(frames: np.ndarray, fps: float) -> bytes:
    with tempfile.TemporaryDirectory(prefix="preview-") as folder:
        path = Path(folder) / "preview.mp4"
        write_video(path, frames, for_browsers(), Fraction(fps).limit_denominator(1001))
        return path.read_bytes()
