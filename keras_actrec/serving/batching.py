"""One thread that runs a predictor for many: windows that wait are put together into passes.

Whoever asks first waits a few milliseconds for others to join him, if there are others who might; when more windows
wait than fit the largest pass, nobody waits. Windows are answered in the order in which they came; those of one pass
hold equally many clips. No more of them are held than a bound: who asks beyond it is made to wait, which keeps memory
bounded.
"""

from __future__ import annotations

import dataclasses
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import numpy as np

from keras_actrec.serving.network import Scores
from keras_actrec.serving.predictor import Predictor
from keras_actrec.serving.reading import Frames

_JOIN_SEC = 60.0
"""Longest wait for the pass that is running when the thread is ended."""


class ClosedError(Exception):
    """The thread has been ended; what it still held is not answered."""


@dataclasses.dataclass
class _Job:
    """What waits: the windows of a part, or something else to do between two passes."""

    future: Future[Any]
    frames: Sequence[Frames] = ()
    rows: int = 0
    work: Callable[[], Any] | None = None


class Batcher:
    """Runs a predictor in a thread of its own; a context manager.

    Args:
        predictor: answers.
        wait_sec: how long the first of a pass waits for others.
        most_waiting: parts of videos that may wait; then `submit` blocks.
        told: called after each pass with (windows in it, seconds that it took).

    Attributes:
        others: gives how many may ask at a time; the first of a pass does not wait for more than these. Default: any.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        wait_sec: float = 0.01,
        most_waiting: int = 64,
        told: Callable[[int, float], None] | None = None,
    ) -> None:
        self._predictor, self._wait_sec, self._told = predictor, wait_sec, told
        self.others: Callable[[], float] = lambda: math.inf
        self._waiting: queue.Queue[_Job | None] = queue.Queue(most_waiting)
        self._kept: _Job | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)

    def __enter__(self) -> Batcher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """How many parts of videos wait, about."""
        return self._waiting.qsize()

    def submit(self, frames: Sequence[Frames], wait_sec: float | None = None) -> Future[Scores]:
        """Ask about the windows of a part.

        Args:
            frames: for each network of the predictor.
            wait_sec: longest wait for a place; None: any.

        Raises:
            ClosedError: the thread has been ended.
            queue.Full: no place became free.
        """
        return self._put(_Job(Future(), frames, len(next(iter(frames[0].values())))), wait_sec)

    def run_alone(self, work: Callable[[], Any], wait_sec: float | None = None) -> Future[Any]:
        """Do something with the networks between two passes, when nobody else uses them.

        Raises:
            ClosedError: the thread has been ended.
            queue.Full: no place became free.
        """
        return self._put(_Job(Future(), work=work), wait_sec)

    def close(self) -> None:
        """End the thread after the pass that it is running."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_SEC)
        self._refuse_all()

    def _put(self, job: _Job, wait_sec: float | None) -> Future[Any]:
        if self._closed.is_set():
            raise ClosedError
        self._waiting.put(job, timeout=wait_sec)
        if self._closed.is_set():
            self._refuse_all()
        return job.future

    def _run(self) -> None:
        while not self._closed.is_set():
            jobs = self._gather()
            if jobs:
                self._answer(jobs)

    def _gather(self) -> list[_Job]:
        """Return the jobs of the next pass; none where nothing came for a while."""
        first = self._kept or self._next(0.2)
        self._kept = None
        if first is None or first.work:
            return [first] if first else []
        jobs, rows, deadline = [first], first.rows, time.monotonic() + self._wait_sec
        while rows < self._predictor.most_clips:
            waits = len(jobs) < self.others()
            job = self._next(max(0.0, deadline - time.monotonic()) if waits else 0.0)
            if job is None:
                break
            if job.work or rows + job.rows > self._predictor.most_clips or _shapes(job) != _shapes(first):
                self._kept = job  # it opens the next pass
                break
            jobs.append(job)
            rows += job.rows
        return jobs

    def _next(self, wait_sec: float) -> _Job | None:
        try:
            return self._waiting.get(timeout=wait_sec) if wait_sec > 0 else self._waiting.get_nowait()
        except queue.Empty:
            return None

    def _answer(self, jobs: Sequence[_Job]) -> None:
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        begin = time.perf_counter()
        try:
            if jobs[0].work:
                jobs[0].future.set_result(jobs[0].work())
                return
            scores = self._predictor.scores(_stacked([job.frames for job in jobs]))
        except BaseException as error:  # whoever waits for the answer is told, whatever it is
            for job in jobs:
                job.future.set_exception(error)
            return
        start = 0
        for job in jobs:
            job.future.set_result(scores.rows(start, start + job.rows))
            start += job.rows
        if self._told:
            self._told(start, time.perf_counter() - begin)

    def _refuse_all(self) -> None:
        kept, self._kept = self._kept, None
        while (job := kept or self._next(0.0)) is not None:
            kept = None
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(ClosedError())


def _shapes(job: _Job) -> list[dict[str, tuple[int, ...]]]:
    """Return the shapes of one window: that of a whole video may be several clips, those of a long one are one each."""
    return [{name: array.shape[1:] for name, array in frames.items()} for frames in job.frames]


def _stacked(jobs: Sequence[Sequence[Frames]]) -> list[Frames]:
    """Put the windows of several jobs one after the other, for each network."""
    if len(jobs) == 1:
        return list(jobs[0])
    return [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} for parts in zip(*jobs, strict=True)
    ]
