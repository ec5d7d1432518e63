"""What particles ask the server: JSON over HTTP, with the swarm's token. Imports no Keras."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from pydantic import BaseModel

from keras_actrec.errors import UserError
from keras_actrec.swarm.coordinator import Coordinator, LeaveRequest, OccupiedError
from keras_actrec.swarm.state import OCCUPIED, Move, Phase, Publication, Sign, from_json, to_json
from keras_actrec.swarm.store import StorageFullError

LOOK_SEC = 0.01
"""Time between two looks at a round that somebody waits for."""
LONGEST_WAIT_SEC = 60.0

Player = Annotated[str, Header(alias="X-Player", min_length=1)]


class Joining(BaseModel):
    """A process that begins to play a particle."""

    pid: int
    host: str


class Life(BaseModel):
    """A sign of life."""

    phase: Phase
    round: int
    batch: int = 0
    batches: int = 0


class Failure(BaseModel):
    """Why a particle cannot go on."""

    message: str
    kind: str


def create_router(coordinator: Coordinator, token: str) -> APIRouter:
    """Return the particles' routes, below /particles/{index}.

    Args:
        coordinator: of the swarm.
        token: that each request must bear.
    """

    def authorised(authorization: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "the token of this swarm is needed")

    router = APIRouter(prefix="/particles/{index}", tags=["particles"], dependencies=[Depends(authorised)])

    @router.post("/join")
    async def join(index: int, body: Joining, player: Player) -> dict[str, Any]:
        """Play a particle from now on."""
        return _answer(lambda: coordinator.join(index, player, body.pid, body.host))

    @router.post("/alive")
    async def alive(index: int, body: Life, player: Player) -> dict[str, Any]:
        """Give a sign of life; the answer is what to do: run, pause or stop."""
        sign = Sign(body.phase, body.round, body.batch, body.batches)
        return {"command": _answer(lambda: coordinator.alive(index, player, sign))}

    @router.get("/rounds/{number}/publication")
    async def publication(index: int, number: int) -> dict[str, Any]:
        """Return what a particle has committed of a round, or null."""
        found = _answer(lambda: coordinator.store.journal.publication(index, number))
        return {"publication": found and to_json(found)}

    @router.post("/rounds/{number}/publication")
    async def publish(index: int, number: int, body: dict[str, Any], player: Player) -> dict[str, Any]:
        """Commit a round; the first publication of a round stays."""
        told = _answer(lambda: from_json(Publication, body))
        _same(index, number, told)
        return {"publication": to_json(_answer(lambda: coordinator.publish(index, player, told)))}

    @router.get("/rounds/{number}")
    async def others(
        index: int, number: int, player: Player, wait_sec: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SEC)] = 0.0
    ) -> dict[str, Any]:
        """Return the publications of a round's members once it is closed; null when it still is open after a while."""
        deadline = time.monotonic() + wait_sec
        while True:
            found = _answer(lambda: coordinator.publications(index, player, number))
            if found is not None or coordinator.ending or time.monotonic() >= deadline:
                return {"publications": found and [to_json(publication) for publication in found]}
            await asyncio.sleep(LOOK_SEC)

    @router.get("/rounds/{number}/move")
    async def move(index: int, number: int) -> dict[str, Any]:
        """Return a particle's committed move after a round, or null."""
        found = _answer(lambda: coordinator.store.journal.move(index, number))
        return {"move": found and to_json(found)}

    @router.post("/rounds/{number}/move")
    async def moved(index: int, number: int, body: dict[str, Any], player: Player) -> dict[str, Any]:
        """Commit a move; the first one after a round stays."""
        told = _answer(lambda: from_json(Move, body))
        _same(index, number, told)
        return {"move": to_json(_answer(lambda: coordinator.moved(index, player, told)))}

    @router.post("/finish")
    async def finish(index: int, body: dict[str, Any], player: Player) -> dict[str, Any]:
        """Tell the final numbers of a particle."""
        _answer(lambda: coordinator.finish(index, player, body))
        return {}

    @router.post("/fail")
    async def fail(index: int, body: Failure, player: Player) -> dict[str, Any]:
        """Tell that a particle cannot go on, or was stopped."""
        _answer(lambda: coordinator.fail(index, player, body.message, body.kind))
        return {}

    def _answer(question: Any) -> Any:
        """Ask the coordinator; turn its refusals into answers."""
        try:
            return question()
        except LeaveRequest:
            raise HTTPException(410, "another process plays this particle now") from None
        except StorageFullError as error:
            coordinator.stop(str(error))
            raise HTTPException(503, str(error)) from None
        except OccupiedError as error:
            raise HTTPException(OCCUPIED, str(error)) from None
        except UserError as error:
            raise HTTPException(409, str(error)) from None

    return router


def _same(index: int, number: int, told: Publication | Move) -> None:
    """Refuse a message that is sent to another place than its own."""
    if (told.particle, told.round) != (index, number):
        raise HTTPException(409, f"particle {told.particle}, round {told.round} was sent to {index}, {number}")
