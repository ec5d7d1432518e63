"""A pool of worker processes, for many threads: whoever asks takes an idle worker, and gives it back."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from keras_actrec.data.guarded.limits import Limits
from keras_actrec.data.guarded.process import Process
from keras_actrec.errors import UnreadableVideoError, UserError

_RENEW_AFTER = 5000
"""Requests after which a worker is replaced: a decoder that leaks a little cannot add up."""

_JOIN_SEC = 0.01
"""Between two looks at what a thread has to tell, when nobody wants to know it."""


class BusyError(UserError):
    """All workers are busy, and were so for as long as the caller wished to wait."""


class Request(NamedTuple):
    """A function to run on one file.

    Attributes:
        function: "package.module:function", which takes the path, the limits and the arguments.
        path: of the file; absolute, or relative to the working directory.
        arguments: a JSON object, handed over as keywords.
    """

    function: str
    path: str
    arguments: Mapping[str, Any] = {}


class Outcome(NamedTuple):
    """What became of one request of `Pool.each`.

    Attributes:
        number: of the request, from 0.
        value: what the function returned; None if the file cannot be read.
        error: why not.
    """

    number: int
    value: Any = None
    error: UnreadableVideoError | None = None


class Pool:
    """Worker processes that read files within limits. Safe to use from several threads; to be closed.

    Args:
        workers: processes; each is started when it is first needed, and replaced when a file has ended it.
        limits: for each request that names none of its own.
    """

    def __init__(self, workers: int, limits: Limits | None = None) -> None:
        if workers < 1:
            raise UserError(f"a pool of decoders wants 1 worker or more, got {workers}.")
        self.limits = limits or Limits()
        self.workers = workers
        self._all = [Process() for _ in range(workers)]
        self._idle: queue.LifoQueue[Process] = queue.LifoQueue()
        self._closed = threading.Event()
        for process in self._all:
            self._idle.put(process)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        function: str,
        path: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        arrays: Sequence[np.ndarray] = (),
        limits: Limits | None = None,
        wait_sec: float = 600.0,
    ) -> tuple[Any, list[np.ndarray]]:
        """Run a function on a file and return its value and its arrays.

        Args:
            function: "package.module:function" (see `guarded.worker`).
            path: of the file.
            arguments: a JSON object, handed over as keywords.
            arrays: handed over as the keyword `arrays` if there are any.
            limits: default: the pool's.
            wait_sec: longest wait for an idle worker; the time of the request itself is limited by `limits`.

        Raises:
            UnreadableVideoError: the file cannot be read, or not within the limits; with the reason.
            BusyError: no worker became idle.
        """
        process = self._take(wait_sec)
        try:
            if process.served >= _RENEW_AFTER:
                process.close()
            return process.ask(function, str(path), limits or self.limits, arguments or {}, arrays)
        finally:
            self._give_back(process)

    def each(self, requests: Iterable[Request], limits: Limits | None = None) -> Iterator[Outcome]:
        """Run many requests, as many at a time as there are workers, and yield outcomes as they come.

        An unreadable file is an outcome; anything else that is raised ends the work, and drops what waits. Whoever may
        leave early closes the iterator (`contextlib.closing`), which ends the workers at once.
        """
        work = _Work(requests, lambda number, request: self._outcome(number, request, limits), self.workers)
        try:
            yield from work.outcomes()
        except BaseException:  # a caller that leaves early does not wait for the files in work
            work.stop()
            for process in self._all:
                process.kill()
            raise
        finally:
            work.join()

    def warm(self) -> None:
        """Start all workers now, side by side, and wait until they take requests."""
        taken = [self._take(0.0) for _ in self._all]
        try:
            with futures.ThreadPoolExecutor(self.workers) as threads:
                list(threads.map(Process.start, taken))
        finally:
            for process in taken:
                self._give_back(process)

    def close(self) -> None:
        """End all idle workers now, and those that are busy when they are done."""
        self._closed.set()
        for process in _drain(self._idle):
            process.close()

    def kill(self) -> None:
        """End all workers now, whatever they are doing, and for good; whoever waits for an answer gets an error."""
        self._closed.set()
        for process in self._all:
            process.end()

    def _outcome(self, number: int, request: Request, limits: Limits | None) -> Outcome:
        try:
            return Outcome(number, self.run(*request, limits=limits)[0])
        except UnreadableVideoError as error:
            return Outcome(number, error=error)

    def _give_back(self, process: Process) -> None:
        self._idle.put(process)
        if self._closed.is_set():
            self.close()

    def _take(self, wait_sec: float) -> Process:
        if self._closed.is_set():
            raise RuntimeError("this pool of decoders is closed")
        try:
            return self._idle.get(timeout=wait_sec) if wait_sec > 0 else self._idle.get_nowait()
        except queue.Empty:
            message = f"all {self.workers} decoders are busy, after {wait_sec:g} s of waiting; try again later."
            raise BusyError(message) from None


class _Work:
    """Threads that share requests; each takes the next one when it is done, so that few wait at a time.

    Args:
        requests: are taken by one thread at a time.
        run: is called with the number of a request and the request.
        threads: how many.
    """

    def __init__(self, requests: Iterable[Request], run: Callable[[int, Request], Outcome], threads: int) -> None:
        self._requests, self._run = enumerate(requests), run
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._done: queue.Queue[Outcome | BaseException | None] = queue.Queue(4 * threads)
        self._threads = [threading.Thread(target=self._work, name="guarded", daemon=True) for _ in range(threads)]

    def outcomes(self) -> Iterator[Outcome]:
        """Start the threads and yield outcomes as they come; raise what one of them, or `requests`, raises."""
        for thread in self._threads:
            thread.start()
        working = len(self._threads)
        while working:
            found = self._done.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                working -= 1
            else:
                yield found

    def stop(self) -> None:
        """Take no more requests."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for the threads; what they still tell is dropped."""
        self.stop()
        for thread in self._threads:
            while thread.is_alive():
                with contextlib.suppress(queue.Empty):
                    self._done.get_nowait()
                thread.join(_JOIN_SEC)

    def _work(self) -> None:
        try:
            while (taken := self._next()) is not None:
                self._done.put(self._run(*taken))
        except BaseException as error:
            self._done.put(error)
        else:
            self._done.put(None)

    def _next(self) -> tuple[int, Request] | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._requests, None)


def _drain(idle: queue.LifoQueue[Process]) -> Iterator[Process]:
    take: Callable[[], Process] = idle.get_nowait
    while True:
        try:
            yield take()
        except queue.Empty:
            return
