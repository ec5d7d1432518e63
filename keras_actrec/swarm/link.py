"""A particle's line to the server: JSON over HTTP with a token. Imports no Keras.

A server that does not answer is asked again, with growing pauses, because it may be resumed at another address:
server.json in the swarm's directory is read anew each time. An answer may be lost after the server has done what was
asked, so each request may be repeated: of two publications or moves of a round the first one counts, and the others
change nothing when they come twice.
"""

from __future__ import annotations

import contextlib
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
from keras_actrec.swarm.state import OCCUPIED, Command, Move, Publication, Sign, from_json, to_json

CONNECT_SEC, ANSWER_SEC = 10.0, 30.0
"""Longest time that a connection, and an answer, may take."""
WAIT_SEC = 10.0
"""The server answers a question about a round after so long at the latest, whether it is closed or not."""
FIRST_PAUSE_SEC, LAST_PAUSE_SEC = 0.05, 2.0
BUSY = frozenset({401, 408, 425, 429, 500, 502, 503, 504})
"""Answers after which it is worth while to ask again: of the server, or of a proxy before it. A new server has a new
token, and server.json tells it soon."""


class LeaveError(UserError):
    """Another process plays this particle now."""


class OccupiedError(UserError):
    """Another process plays this particle, or did so a moment ago."""


class FinishedError(UserError):
    """The swarm has finished, and its server is gone."""


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
        self._client = httpx.Client(timeout=httpx.Timeout(ANSWER_SEC, connect=CONNECT_SEC), trust_env=False)

    def join(self) -> dict[str, Any]:
        """Tell that this process plays the particle; return what the server knows of it.

        Who started particles by hand may start one again that was killed. The server cannot see its end, so this waits
        until it has been silent for long enough.

        Raises:
            OccupiedError: it lives.
        """
        silence_sec, told = self._swarm.config.swarm.silence_sec, False
        deadline = time.monotonic() + silence_sec + 2 * LAST_PAUSE_SEC
        while True:
            try:
                return self._ask("POST", "join", {"pid": os.getpid(), "host": socket.gethostname()})
            except OccupiedError as error:
                if time.monotonic() > deadline:
                    raise
                if not told:
                    print(f"{error} If it has ended, this process takes its place in {silence_sec:.0f} s.", flush=True)
                    told = True
            self._ended()
            time.sleep(min(LAST_PAUSE_SEC, silence_sec / 4))

    def alive(self, sign: Sign) -> Command:
        """Give a sign of life and return what to do.

        One that is lost is given up early enough for others to be heard before the server thinks that nobody lives.
        """
        seconds = max(min(ANSWER_SEC, self._swarm.config.swarm.silence_sec / 4), 1.0)
        return Command(self._ask("POST", "alive", dataclasses.asdict(sign), seconds)["command"])

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
        """Tell the particle's final numbers. If the server has ended, its answer was lost: it ends when it has all."""
        with contextlib.suppress(FinishedError):
            self._ask("POST", "finish", result)

    def fail(self, message: str, kind: str) -> None:
        """Tell that this particle cannot go on: kind "user", "storage" or "stopped"."""
        self._ask("POST", "fail", {"message": message, "kind": kind})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, answer_sec: float = ANSWER_SEC
    ) -> dict[str, Any]:
        deadline, pause = time.monotonic() + self._server_sec, FIRST_PAUSE_SEC
        while True:
            reason = "there is no server.json in its directory"
            server = self._swarm.read_server()
            if server:
                try:
                    return self._answer(self._send(server, method, path, body, answer_sec))
                except (httpx.TransportError, _BusyError) as error:
                    reason = str(error) or type(error).__name__
            self._ended()
            if self._swarm.finished:
                raise FinishedError(f"the swarm {self._swarm.path} has finished.")
            if time.monotonic() > deadline:
                raise UserError(
                    f"the server of the swarm {self._swarm.path} has not answered for {self._server_sec:.0f} s "
                    f"({reason}); resume it with python swarm_server.py --config ... --resume."
                )
            time.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SEC)

    def _send(
        self, server: dict[str, Any], method: str, path: str, body: dict[str, Any] | None, answer_sec: float
    ) -> httpx.Response:
        return self._client.request(
            method,
            f"{server['url']}/particles/{self._particle}/{path}",
            json=body,
            headers={"Authorization": f"Bearer {server['token']}", "X-Player": self._player},
            timeout=httpx.Timeout(answer_sec, connect=min(CONNECT_SEC, answer_sec)),
        )

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        if response.status_code in BUSY:
            raise _BusyError(f"the server answers {response.status_code}")
        if response.status_code == 410:
            raise LeaveError("another process plays this particle now; this one ends.")
        if response.status_code == OCCUPIED:
            raise OccupiedError(f"the server refuses: {_detail(response)}")
        if response.status_code >= 400:
            raise UserError(f"the server refuses: {_detail(response)}")
        try:
            return response.json()
        except ValueError:
            raise _BusyError(f"what answers is not the server ({response.text[:80]!r})") from None


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
