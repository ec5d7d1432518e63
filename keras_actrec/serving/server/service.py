"""The work of the server: a bounded number of uploads, read side by side, answered in passes that they share."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import math
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from keras_actrec.data.guarded import BusyError, Pool
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.serving.answers import Answer, answer
from keras_actrec.serving.batching import ClosedError
from keras_actrec.serving.network import Scores, joined
from keras_actrec.serving.reading import why_lost
from keras_actrec.serving.server import overlay
from keras_actrec.serving.server.bounds import Bounds
from keras_actrec.serving.server.models import Model, Models
from keras_actrec.serving.server.overlay import Overlay
from keras_actrec.serving.server.reader import Reader, Received
from keras_actrec.serving.server.refusals import RefusedError
from keras_actrec.serving.windows import Sliding

_Result = TypeVar("_Result")
_LONGEST_RETRY_SEC = 60
_BUSY_SEC = 5
_USUAL_SEC = 0.5
"""What a request is thought to take before one has been answered."""
_NEWEST = 0.1
"""Weight of the newest request in the mean by which the wait is told."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """How a video is to be answered.

    Attributes:
        model: by which.
        sliding: how it is cut; None: not at all.
        smooth_sec: over how many seconds to either side windows are averaged.
        top: how many classes are told.
    """

    model: Model
    sliding: Sliding | None
    smooth_sec: float
    top: int


@dataclasses.dataclass(frozen=True)
class _Part:
    """A part that has been read, and the answer to come; None: none of its windows could be read."""

    received: Received
    scores: Future[Scores] | None


class Service:
    """Answers about uploads; an asynchronous context manager.

    Args:
        models: answer.
        bounds: on each upload, and on all of them.
        workers: processes that decode.
        decoded: called with the seconds that reading a part took.
    """

    def __init__(
        self, models: Models, bounds: Bounds, workers: int, decoded: Callable[[float], None] | None = None
    ) -> None:
        self.models, self.bounds = models, bounds
        self._decoded = decoded or (lambda seconds: None)
        self._pool = Pool(workers, bounds.limits())
        self._reader = Reader(self._pool, bounds.windows, bounds.answer_sec)
        self._threads = futures.ThreadPoolExecutor(workers, "reader")
        self._under_way = 0
        self._usual_sec = _USUAL_SEC
        self._draining, self._aborted = False, asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()
        self._lock = threading.Lock()

    async def __aenter__(self) -> Service:
        for model in self.models:
            model.batcher.others = lambda: self._under_way
            model.batcher.__enter__()
        await asyncio.to_thread(self._pool.warm)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draining = True
        self._pool.kill()  # first: a reader waits for its worker, and what it reads nobody waits for any more
        for model in self.models:
            await self._unless_aborted(model.batcher.close)
        await self._unless_aborted(functools.partial(self._threads.shutdown, wait=True, cancel_futures=True))
        self._pool.close()

    @property
    def under_way(self) -> int:
        """Requests that are being answered or wait."""
        return self._under_way

    @property
    def draining(self) -> bool:
        """Whether no more requests are taken, because the server is about to end."""
        return self._draining

    def drain(self) -> None:
        """Take no more requests."""
        self._draining = True

    @property
    def aborted(self) -> bool:
        """Whether nobody waits for what is under way."""
        return self._aborted.is_set()

    def abort(self) -> None:
        """Take no more requests, and refuse those that are under way; the end then waits for nothing that runs."""
        self._draining = True
        self._aborted.set()
        self._pool.kill()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places for requests.

        Raises:
            RefusedError: 429, all are taken; 503, the server is about to end.
        """
        with self._lock:
            if self._draining:
                raise _about_to_end()
            if self._under_way >= self.bounds.requests:
                raise RefusedError(429, f"{self._under_way} requests wait already; try again later.", self._retry_sec())
            self._under_way += 1
        begin, done = time.monotonic(), False
        try:
            yield
            done = True
        finally:
            with self._lock:
                self._under_way -= 1
                if done:
                    self._usual_sec += _NEWEST * (time.monotonic() - begin - self._usual_sec)

    async def predict(self, path: Path, asked: Asked) -> Answer:
        """Return what is told of an upload.

        Raises:
            RefusedError: the video cannot be read, would be cut into too many windows, or is not answered in time.
        """
        async with self._in_time():
            parts = [await self._part(path, asked, 0)]
            parts += [await self._part(path, asked, start) for start in parts[0].received.starts[1:]]
            with _told(500):
                scores = [await asyncio.wrap_future(part.scores) for part in parts if part.scores]
        received = [part.received for part in parts]
        if len(parts) == 1:
            return _answer(asked, received, scores)
        return await asyncio.to_thread(_answer, asked, received, scores)  # smoothing thousands of windows takes a while

    async def explain(
        self, path: Path, model: Model, label: str | None, method: str | None, stretch: tuple[float, float] | None
    ) -> Overlay:
        """Return a video of what a network looks at in an upload, or in a stretch of it.

        Raises:
            RefusedError: the video cannot be read, or no method applies to the network.
        """
        (network,) = model.predictor.networks
        async with self._in_time():
            with _told(422):
                network.trained.view  # noqa: B018 - refuses networks of several inputs

            def work() -> Future[Overlay]:
                frames, larger = self._reader.looked_at(path, network.wish, stretch)
                draw = functools.partial(overlay.draw, network.trained, frames, larger, label, method)
                return model.batcher.run_alone(draw, self.bounds.answer_sec)

            drawn = await self._in_thread(work)
            with _told(422):
                return await asyncio.wrap_future(drawn)

    async def preview(self, path: Path) -> tuple[np.ndarray, float]:
        """Return small frames of an upload, uint8 (T, H, W, 3), and their number per second."""
        async with self._in_time():
            return await self._in_thread(lambda: self._reader.preview(path))

    async def _part(self, path: Path, asked: Asked, start: int) -> _Part:
        """Read a part and hand its windows to the networks; parts of several videos take turns."""
        predictor, batcher = asked.model.predictor, asked.model.batcher

        def work() -> _Part:
            begin = time.perf_counter()
            received = self._reader.part(path, predictor.wishes, asked.sliding, start)
            self._decoded(time.perf_counter() - begin)
            scores = batcher.submit(received.frames, self.bounds.answer_sec) if received.read else None
            return _Part(dataclasses.replace(received, frames=()), scores)

        return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        with _told(422):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        if self.aborted:
            raise _about_to_end()
        try:
            async with asyncio.timeout(self.bounds.answer_sec) as limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if self.aborted:
                raise _about_to_end() from None
            detail = f"there was no answer within {self.bounds.answer_sec:g} s; try a shorter video, or later."
            raise RefusedError(503, detail, self._retry_sec()) from None

    async def _unless_aborted(self, work: Callable[[], None]) -> None:
        """Wait for work in a thread, or until nobody waits any more."""
        waits = [asyncio.ensure_future(one) for one in (asyncio.to_thread(work), self._aborted.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()

    def _retry_sec(self) -> int:
        return min(_LONGEST_RETRY_SEC, max(1, math.ceil(self._usual_sec)))


def _answer(asked: Asked, parts: Sequence[Received], scores: Sequence[Scores]) -> Answer:
    windows = parts[0].windows
    lost = [(windows[number], reason) for part in parts for number, reason in part.lost]
    if not scores:
        raise RefusedError(422, _unreadable(why_lost(lost)))
    return answer(
        parts[0].facts,
        [windows[number] for part in parts for number in part.read],
        joined(scores),
        asked.model.predictor.classes,
        asked.model.predictor.rule,
        smooth_sec=asked.smooth_sec,
        top=asked.top,
        lost=lost,
    )


@contextlib.contextmanager
def _told(status: int) -> Iterator[None]:
    """Turn what goes wrong into a refusal; `status` is that of a mistake that a sentence tells."""
    try:
        yield
    except UnreadableVideoError as error:
        raise RefusedError(422, _unreadable(error.reason)) from None
    except (BusyError, queue.Full):
        raise RefusedError(503, "the server is too busy; try again later.", _BUSY_SEC) from None
    except ClosedError:
        raise _about_to_end() from None
    except UserError as error:
        raise RefusedError(status, str(error)) from None


def _about_to_end() -> RefusedError:
    return RefusedError(503, "the server is about to end; try again in a moment.", _BUSY_SEC)


def _unreadable(reason: str) -> str:
    return f"cannot read the video: {reason}"
