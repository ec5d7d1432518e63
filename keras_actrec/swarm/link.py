"""A particle's line to the server: JSON over HTTP with a token. Imports no Keras.

A server that does not answer is asked again, with growing pauses, because it may be resumed at another address:
server.json in the swarm's directory is read anew each time.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx

from keras_actrec.errors import StopRequestedError, UserError
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.state import Command, Move, Publication, Sign, from_json, to_json

ANSWER_SEC = 30.0
"""Longest time that an answer may take."""
WAIT_SEC = 10.0
"""The server answers a question about a round after so long at the latest, whether it is closed or not."""
FIRST_PAUSE_SEC, LAST_PAUSE_SEC = 0.05, 2.0


class LeaveError(UserError):
    """Another process plays this particle now."""


class Link:
    """The questions that a particle asks, and what it tells. Safe to use from several threads.

    Args:
        swarm: its directory, which holds the server's address.
        particle: index from 0.
        server_sec: a server that does not answer for so long is given up.
        ended: raises when there is no sense in asking again (the particle has been told to stop).
    """

    def __init__(
        self, swarm: SwarmDirectory, particle: int, server_sec: float, ended: Callable[[], None] = lambda: None
    ) -> None:
        self._swarm = swarm
        self._particle = particle
        self._server_sec = server_sec
        self._ended = ended
        self._player = secrets.token_hex(8)
        self._client = httpx.Client(timeout=ANSWER_SEC, trust_env=False)

    def join(self) -> dict[str, Any]:
        """Tell that this process plays the particle; return what the server knows of it."""
        return self._ask("POST", "join", {"pid": os.getpid(), "host": socket.gethostname()})

    def alive(self, sign: Sign) -> Command:
        """Give a sign of life and return what to do."""
        return Command(self._ask("POST", "alive", dataclasses.asdict(sign))["command"])

    def publication(self, round_number: int) -> Publication | None:
        """Return what is committed of this particle's round."""
        document = self._ask("GET", f"rounds/{round_number}/publication")["publication"]
        return document and from_json(Publication, document)

    def publish(self, publication: Publication) -> Publication:
        """Commit a round and return what is committed: the first publication of it."""
        path = f"rounds/{publication.round}/publication"
        return from_json(Publication, self._ask("POST", path, to_json(publication))["publication"])

    def others(self, round_number: int, check: Callable[[], None]) -> dict[int, Publication]:
        """Wait until a round is closed; return the publications of its members and of this particle.

        Args:
            round_number: from 1.
            check: is called now and then, and raises to end the waiting.
        """
        while True:
            check()
            answer = self._ask("GET", f"rounds/{round_number}?wait_sec={WAIT_SEC}")
            if answer["publications"] is not None:
                found = [from_json(Publication, document) for document in answer["publications"]]
                return {publication.particle: publication for publication in found}

    def move(self, round_number: int) -> Move | None:
        """Return the committed move of this particle after a round."""
        document = self._ask("GET", f"rounds/{round_number}/move")["move"]
        return document and from_json(Move, document)

    def moved(self, move: Move) -> Move:
        """Commit a move."""
        return from_json(Move, self._ask("POST", f"rounds/{move.round}/move", to_json(move))["move"])

    def finish(self, result: dict[str, Any]) -> None:
        """Tell the particle's final numbers."""
        self._ask("POST", "finish", result)

    def fail(self, message: str, kind: str) -> None:
        """Tell that this particle cannot go on: kind "user", "storage" or "stopped"."""
        self._ask("POST", "fail", {"message": message, "kind": kind})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        deadline, pause = time.monotonic() + self._server_sec, FIRST_PAUSE_SEC
        while True:
            reason = "there is no server.json in its directory"
            server = self._swarm.read_server()
            if server:
                try:
                    return self._answer(self._send(server, method, path, body))
                except (httpx.TransportError, _BusyError) as error:
                    reason = str(error) or type(error).__name__
            self._ended()
            if time.monotonic() > deadline:
                raise UserError(
                    f"the server of the swarm {self._swarm.path} has not answered for {self._server_sec:.0f} s "
                    f"({reason}); resume it with python swarm_server.py --config ... --resume."
                )
            time.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SEC)

    def _send(self, server: dict[str, Any], method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        return self._client.request(
            method,
            f"{server['url']}/particles/{self._particle}/{path}",
            json=body,
            headers={"Authorization": f"Bearer {server['token']}", "X-Player": self._player},
        )

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        if response.status_code in (401, 502, 503):  # a new server has a new token, and server.json tells it soon
            raise _BusyError(f"the server answers {response.status_code}")
        if response.status_code == 410:
            raise LeaveError("another process plays this particle now; this one ends.")
        if response.status_code >= 400:
            raise UserError(f"the server refuses: {_detail(response)}")
        return response.json()


class _BusyError(Exception):
    """The server is there but cannot answer yet."""


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.text[:200]}"


def stop_requested() -> StopRequestedError:
    """Return the error that ends a particle which was told to stop."""
    return StopRequestedError("the swarm was stopped; resume it with python swarm_server.py --config ... --resume.")
