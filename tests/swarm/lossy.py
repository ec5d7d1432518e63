"""A web application behind a bad network: requests are refused, delayed or done twice, and answers are lost."""

from __future__ import annotations

import asyncio
import collections
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class Lossy:
    """An ASGI application around another one.

    Args:
        app: what works.
        share: of the requests that meet with trouble. With any, the first one of each path is done and asked again.
        seed: of the choices.

    Attributes:
        struck: how often each trouble struck.
    """

    def __init__(self, app: App, share: float, seed: int = 0) -> None:
        self._app, self._share, self._random = app, share, random.Random(seed)
        self._unheard = itertools.cycle(["lost", "cut", "twice"])
        self.struck: collections.Counter[str] = collections.Counter()
        self._done_once: set[tuple[str, str]] = set()
        self._troubles = {
            "refused": self._refused,
            "lost": self._lost,
            "cut": self._cut,
            "twice": self._twice,
            "slow": self._slow,
            "page": self._page,
        }
        self._any = itertools.cycle(self._troubles)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._share == 0:
            return await self._app(scope, receive, send)
        place = scope["method"], scope["path"]
        if place not in self._done_once:
            self._done_once.add(place)
            name = next(self._unheard)
        elif self._random.random() < self._share:
            name = next(self._any)
        else:
            return await self._app(scope, receive, send)
        self.struck[name] += 1
        return await self._troubles[name](scope, receive, send)

    async def _refused(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """A proxy, or the server itself, cannot."""
        await _answer(send, self._random.choice([429, 500, 502, 503, 504]), b"later")

    async def _lost(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """It is done, and nobody hears of it."""
        await self._app(scope, receive, _nowhere)
        await _answer(send, 504, b"lost")

    async def _cut(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """It is done, and the connection breaks in the middle of the answer."""
        await self._app(scope, receive, _nowhere)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b'{"publication"', "more_body": False})

    async def _twice(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """It comes twice."""
        parts = [await receive()]
        while parts[-1].get("more_body"):
            parts.append(await receive())
        await self._app(scope, _again(parts), _nowhere)
        await self._app(scope, _again(parts), send)

    async def _slow(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        await self._app(scope, receive, send)

    async def _page(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Somebody else answers, as in a hotel."""
        await _answer(send, 200, b"<html>please log in</html>")


async def _answer(send: Send, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def _nowhere(_: dict[str, Any]) -> None:
    return None


def _again(parts: list[dict[str, Any]]) -> Receive:
    left = iter(parts)

    async def receive() -> dict[str, Any]:
        return next(left, {"type": "http.disconnect"})

    return receive
