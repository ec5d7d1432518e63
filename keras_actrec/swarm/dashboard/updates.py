"""What the page asks for: the state of a swarm, and what its journal has got since the last time, as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from keras_actrec.swarm.journal import Journal
from keras_actrec.swarm.state import Event, Move, Publication

AT_ONCE = 2000
"""So many publications, moves and events each are sent in one answer; the page then asks for the rest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberedPublication(Publication):
    """A publication with its place in the journal."""

    id: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberedMove(Move):
    """A move with its place in the journal."""

    id: int


class Cursor(BaseModel):
    """Last known ids of the journal; the next request names them."""

    publication: int
    move: int
    event: int


class Updates(BaseModel):
    """The state of a swarm, and what is new in its journal."""

    state: dict[str, Any]
    publications: list[NumberedPublication]
    moves: list[NumberedMove]
    events: list[Event]
    cursor: Cursor
    more: bool
    """Ask again at once: there is more than fits one answer."""


class Json(Response):
    """JSON in which numbers that are not finite, which JSON has no words for, are null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the content as UTF-8."""
        return dump(content).encode()


def dump(value: Any) -> str:
    """Return a value as JSON; numbers that are not finite become null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))


def since(
    state: Mapping[str, Any],
    journal: Journal,
    publication: int = 0,
    move: int = 0,
    event: int = 0,
    at_once: int | None = AT_ONCE,
) -> dict[str, Any]:
    """Return what the journal has beyond the given ids, as `Updates` says.

    Args:
        state: see `create_app`.
        journal: of the swarm.
        publication: id of the last publication that is known already.
        move: id of the last such move.
        event: number of the last such event.
        at_once: most records of each kind; None: all.
    """
    found = {
        "publications": [{"id": number} | vars(record) for number, record in journal.publications(publication)],
        "moves": [{"id": number} | vars(record) for number, record in journal.moves(move)],
        "events": [vars(record) for record in journal.events(event)],
    }
    sent = {name: records[:at_once] for name, records in found.items()}
    cursor = {
        "publication": _last(sent["publications"], "id", publication),
        "move": _last(sent["moves"], "id", move),
        "event": _last(sent["events"], "number", event),
    }
    more = any(len(sent[name]) < len(found[name]) for name in found)
    return {"state": dict(state), **sent, "cursor": cursor, "more": more}


def _last(records: list[dict[str, Any]], key: str, otherwise: int) -> int:
    return records[-1][key] if records else otherwise


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
