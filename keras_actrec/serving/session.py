"""Asking a predictor about many files: several are read side by side, and their windows are answered together."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType

from keras_actrec.data.threads import default_workers
from keras_actrec.errors import UnreadableVideoError
from keras_actrec.serving import reading
from keras_actrec.serving.answers import TOP, Answer, answer
from keras_actrec.serving.batching import Batcher
from keras_actrec.serving.network import Scores, joined
from keras_actrec.serving.predictor import Predictor
from keras_actrec.serving.reading import Facts
from keras_actrec.serving.windows import Sliding, Window

_WAIT_SEC = 0.05
"""How long a pass waits to be filled: throughput counts, not the wait of a single file."""
_AHEAD = 2
"""Files per clip of a pass that may be read ahead of the one whose answer is due."""


@dataclasses.dataclass
class _Asked:
    """A video that has been read, and the answers to come."""

    facts: Facts
    windows: list[Window]
    lost: list[tuple[Window, str]]
    scores: list[Future[Scores]]


class Session:
    """Answers about files, read in this process; a context manager.

    Args:
        predictor: answers.
        sliding: how long videos are cut; None: not at all.
        smooth_sec: over how many seconds to either side windows are averaged.
        top: how many of the likeliest classes are told.
        workers: files that are read at a time; default: one per core.
    """

    def __init__(
        self,
        predictor: Predictor,
        sliding: Sliding | None = None,
        *,
        smooth_sec: float = 0.0,
        top: int = TOP,
        workers: int | None = None,
    ) -> None:
        self._predictor, self._sliding, self._smooth_sec, self._top = predictor, sliding, smooth_sec, top
        self._workers = workers or default_workers()
        self._batcher = Batcher(predictor, wait_sec=_WAIT_SEC)
        self._threads = futures.ThreadPoolExecutor(self._workers, "reader")

    def __enter__(self) -> Session:
        self._batcher.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batcher.close()  # first, so that nobody who reads waits for a place any more
        self._threads.shutdown(wait=True, cancel_futures=True)

    def answers(self, paths: Iterable[Path]) -> Iterator[tuple[Path, Answer | UnreadableVideoError]]:
        """Yield what is told of each file, in their order; or why it cannot be read."""
        ahead = _AHEAD * self._predictor.most_clips + self._workers
        waiting: collections.deque[tuple[Path, Future[_Asked]]] = collections.deque()
        for path in paths:
            waiting.append((path, self._threads.submit(self._ask, path)))
            if len(waiting) >= ahead:
                yield self._answer(*waiting.popleft())
        while waiting:
            yield self._answer(*waiting.popleft())

    def _ask(self, path: Path) -> _Asked:
        opened = reading.open_video(path, self._sliding)
        asked = _Asked(opened.facts, [], [], [])
        wishes = self._predictor.wishes
        for start in opened.starts(wishes):
            part = opened.part(wishes, start)
            asked.windows += part.windows
            asked.lost += part.lost
            if part.windows:
                asked.scores.append(self._batcher.submit(part.frames))
        if not asked.windows:
            raise UnreadableVideoError(str(path), reading.why_lost(asked.lost))
        return asked

    def _answer(self, path: Path, asked: Future[_Asked]) -> tuple[Path, Answer | UnreadableVideoError]:
        try:
            found = asked.result()
        except UnreadableVideoError as error:
            return path, error
        return path, self._put_together(found)

    def _put_together(self, asked: _Asked) -> Answer:
        return answer(
            asked.facts,
            asked.windows,
            joined([score.result() for score in asked.scores]),
            self._predictor.classes,
            self._predictor.rule,
            smooth_sec=self._smooth_sec,
            top=self._top,
            lost=asked.lost,
        )
