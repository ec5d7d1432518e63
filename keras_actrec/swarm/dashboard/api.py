"""The API of the page, under /api."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel

from keras_actrec.swarm.dashboard import history, updates
from keras_actrec.swarm.dashboard.updates import Json, Updates

if TYPE_CHECKING:
    from keras_actrec.swarm.dashboard.application import Coordinator

Since = Annotated[int, Query(ge=0, description="Largest id that is known already.")]
OwnHeader = Annotated[str, Header(alias="X-Swarm", description="Any value; keeps other web sites from posting.")]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


def router(coordinator: Coordinator, output: Path) -> APIRouter:
    """Return the routes of a swarm and of the past ones in `output`."""
    routes = APIRouter(prefix="/api", default_response_class=Json, responses={409: {"model": Problem}})
    _add_reading(routes, coordinator)
    _add_commands(routes, coordinator)
    _add_past(routes, output)
    return routes


def _add_reading(routes: APIRouter, coordinator: Coordinator) -> None:
    @routes.get("/state", summary="State of the swarm and of each particle")
    def state() -> Json:
        return Json(coordinator.snapshot())

    @routes.get("/updates", summary="State, and what is new in the journal", responses={200: {"model": Updates}})
    def new(publication: Since = 0, move: Since = 0, event: Since = 0) -> Json:
        return Json(updates.since(coordinator.snapshot(), coordinator.store.journal, publication, move, event))


def _add_commands(routes: APIRouter, coordinator: Coordinator) -> None:
    def command(action: Callable[[], None]) -> Json:
        action()
        return Json(coordinator.snapshot())

    @routes.post("/pause", summary="Let the particles rest; returns the state")
    def pause(x_swarm: OwnHeader) -> Json:
        return command(coordinator.pause)

    @routes.post("/continue", summary="Let paused particles go on; returns the state")
    def go_on(x_swarm: OwnHeader) -> Json:
        return command(coordinator.resume)

    @routes.post("/stop", summary="End the swarm, so that it can be resumed; returns the state")
    def stop(x_swarm: OwnHeader) -> Json:
        return command(coordinator.stop)


def _add_past(routes: APIRouter, output: Path) -> None:
    @routes.get("/history", summary="Past swarms, newest first", responses={200: {"model": list[history.PastSwarm]}})
    def past() -> Json:
        return Json([vars(line) for line in history.listing(output)])

    @routes.get(
        "/history/{name}/updates",
        summary="State of a past swarm, and its journal",
        responses={200: {"model": Updates}},
    )
    def of_past(name: str, publication: Since = 0, move: Since = 0, event: Since = 0) -> Json:
        return Json(past_updates(output, name, publication, move, event))


def past_updates(output: Path, name: str, publication: int, move: int, event: int) -> dict[str, Any]:
    """Return `updates.since` of a past swarm."""
    directory = history.directory(output, name)
    with history.journal_of(directory) as journal:
        return updates.since(history.state(directory, journal), journal, publication, move, event)
