"""The web application of `swarm-simulate`: a page, and the rounds that it draws.

The server remembers nothing. The page sends the rules and where the particles are, and gets the next rounds; so rules
may change between any two rounds, and every open page has a swarm of its own.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import signal
import socket
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from keras_actrec import __version__
from keras_actrec.errors import UserError
from keras_actrec.swarm.dashboard.assets import COLOURS, ICON
from keras_actrec.swarm.simulation.landscapes import LANDSCAPES, Landscape, landscape
from keras_actrec.swarm.simulation.rounds import Round, Rules, State, play, start
from keras_actrec.web import base_style
from keras_actrec.web.listening import Web
from keras_actrec.web.security import Door, Gate, require_token

DOOR = Door("swarm-simulate", "x-swarm", "--token", "--host")
FILES = {"simulate.css": "text/css", "draw.js": "text/javascript", "simulate.js": "text/javascript"}
FIRST = "rastrigin"
MOST_PARTICLES, MOST_STEPS, MOST_ROUNDS = 60, 50, 20
MOST_WORK = 10_000
"""Particles times their neighbours times rounds of one answer, half a second of work; fewer rounds come then."""
GRID = 181

Number = Annotated[float, Field(allow_inf_nan=False)]
Points = Annotated[list[tuple[Number, Number]], Field(min_length=1, max_length=MOST_PARTICLES)]


class Standing(BaseModel):
    """A swarm between two rounds, as the page remembers it."""

    model_config = ConfigDict(extra="forbid")

    round: Annotated[int, Field(ge=1, le=10**6)]
    positions: Points
    bests: Points
    losses: Annotated[list[Number], Field(max_length=MOST_PARTICLES)]


class Wish(BaseModel):
    """What the page asks for: rounds by these rules, from there; without `state` from the beginning."""

    model_config = ConfigDict(extra="forbid")

    rules: Rules
    state: Standing | None = None
    rounds: Annotated[int, Field(ge=0, le=MOST_ROUNDS)] = 1


def create_app(*, host: str, token: str | None) -> FastAPI:
    """Make the web application.

    Args:
        host: address that the server will listen at.
        token: password of the page; needed unless `host` is this machine's own.

    Raises:
        UserError: `host` needs a token and there is none.
    """
    require_token(DOOR, host, token)
    app = FastAPI(title="keras_actrec swarm-simulate", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, door=DOOR, host=host, token=token)
    app.add_exception_handler(UserError, _explain)
    app.add_exception_handler(RequestValidationError, _refuse)
    _add_pages(app)

    @app.get("/api/landscapes/{name}")
    def heights(name: str) -> dict[str, Any]:
        """Return a landscape: how far it reaches, its minima, and its heights on a grid, from 0 to 1."""
        return drawn(landscape(name))

    @app.post("/api/rounds")
    def rounds(wish: Wish) -> dict[str, Any]:
        """Return where the particles begin, and the next rounds; fewer than asked for where they are much work."""
        return answer(wish)

    return app


def answer(wish: Wish) -> dict[str, Any]:
    """Play the rounds that are asked for.

    Raises:
        UserError: more than this page takes, or a state that does not belong to the rules.
    """
    rules = wish.rules
    if rules.particles > MOST_PARTICLES or rules.steps > MOST_STEPS or rules.dimensions != 2:
        raise UserError(
            f"expected up to {MOST_PARTICLES} particles and {MOST_STEPS} steps in 2 dimensions; choose fewer"
        )
    state = start(rules)
    begin = state.positions
    if wish.state is not None:
        state = _state(wish.state, rules)
    work = rules.particles * (rules.nearest + 2)
    played = []
    for _ in range(min(wish.rounds, max(1, MOST_WORK // work))):
        state, told = play(rules, state)
        played.append(_document(told, state))
    return {"start": begin.tolist(), "rounds": played}


def drawn(field: Landscape) -> dict[str, Any]:
    """Return a landscape as the page draws it; heights are shares of the grid that lie lower, row by row from below."""
    side = np.linspace(-field.reach, field.reach, GRID)
    values = field.value(np.stack(np.meshgrid(side, side), axis=-1))
    ranks = np.argsort(np.argsort(values, axis=None)).reshape(values.shape) / (values.size - 1)
    return {
        "title": field.title,
        "about": field.about,
        "reach": field.reach,
        "minima": field.minima,
        "heights": ranks.round(3).tolist(),
    }


def serve(app: FastAPI, connection: socket.socket) -> None:
    """Serve at a listening socket until Ctrl-C or SIGTERM."""
    asyncio.run(
        _serve(Web(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)), connection)
    )


async def _serve(web: Web, connection: socket.socket) -> None:
    def end() -> None:
        web.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    await web.serve(sockets=[connection])


def _state(standing: Standing, rules: Rules) -> State:
    lengths = {len(standing.positions), len(standing.bests), len(standing.losses)}
    if lengths != {rules.particles}:
        raise UserError(f"expected the state of {rules.particles} particles, got {sorted(lengths)}; start again")
    return State(
        standing.round, np.array(standing.positions), np.array(standing.bests), np.array(standing.losses, dtype=float)
    )


def _document(told: Round, state: State) -> dict[str, Any]:
    return {
        "round": told.number,
        "before": told.before.tolist(),
        "after": told.after.tolist(),
        "positions": told.moved.tolist(),
        "bests": told.bests.tolist(),
        "losses": state.losses.tolist(),
        "orders": told.orders,
        "chosen": told.chosen,
    }


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        names = "".join(
            f'<option value="{name}"{" selected" if name == FIRST else ""}>{field.title}</option>'
            for name, field in LANDSCAPES.items()
        )
        text = _text("simulate.html").replace("$landscapes", names).replace("$colours", " ".join(COLOURS))
        return HTMLResponse(text)

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in FILES:
            return PlainTextResponse("There is no such file.", 404)
        shared = base_style() if Path(name).suffix == ".css" else ""
        return Response(shared + _text(name), media_type=FILES[name], headers={"cache-control": "no-cache"})

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return Response(ICON, media_type="image/svg+xml")


def _text(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


async def _refuse(_: Request, error: Exception) -> Response:
    # FastAPI's own answer repeats what came, and a number that is none cannot be written as JSON.
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    return JSONResponse({"detail": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)


async def _explain(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 409)
