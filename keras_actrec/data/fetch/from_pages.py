"""Video by video from the pages that the official lists name, several at a time, until each class has enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

from keras_actrec.data.fetch.origin import Origin
from keras_actrec.data.fetch.outcome import FailureError, Kind
from keras_actrec.data.fetch.pace import Pace
from keras_actrec.data.fetch.place import Place
from keras_actrec.data.fetch.plan import Candidate, ClassPlan, total
from keras_actrec.data.fetch.video_pool import VideoPool
from keras_actrec.errors import UserError

Progress = Callable[[int, int], None]
HOST_LIMIT = 8
"""So many videos in a row, each tried several times, without a sign that the host answers us: then it is not they."""
_POLL_SEC = 0.5


class PageRoute:
    """Brings videos from their pages.

    Args:
        pool: downloads them.
        origin: tells a page's address.
        place: the target folder.
        pace: is told to stop when something else goes wrong.
        workers: videos at a time.
        progress: called with (clips there, clips wanted).
    """

    def __init__(
        self, pool: VideoPool, origin: Origin, place: Place, pace: Pace, workers: int, progress: Progress | None = None
    ) -> None:
        self._pool = pool
        self._origin = origin
        self._place = place
        self._pace = pace
        self._workers = workers
        self._progress = progress
        self._doubted: list[tuple[ClassPlan, str, FailureError]] = []
        self._retried = place.forgotten()  # were given up before, when others came: they may be as bad as they were

    def bring(self, plans: Sequence[ClassPlan]) -> None:
        """Fill the classes; a dead video's place is taken by the next of its class.

        Raises:
            UserError: the host refuses us, or this machine is at fault. What is there stays.
        """
        running: dict[futures.Future[str], tuple[ClassPlan, Candidate]] = {}
        with futures.ThreadPoolExecutor(self._workers) as executor:
            try:
                while self._fill(plans, running, executor):
                    done, _ = futures.wait(running, _POLL_SEC, futures.FIRST_COMPLETED)
                    for future in done:
                        self._settle(*running.pop(future), future)
                    if self._progress:
                        self._progress(*total(plans))
                self._judge()
            except BaseException:
                self._pace.stop.set()
                raise

    def _fill(
        self, plans: Sequence[ClassPlan], running: dict, executor: futures.Executor
    ) -> dict[futures.Future[str], tuple[ClassPlan, Candidate]]:
        """Start as many downloads as may run, and return those that do."""
        for plan, candidate in self._waiting(plans, running):
            running[executor.submit(self._bring_one, candidate)] = (plan, candidate)
        return running

    def _waiting(self, plans: Sequence[ClassPlan], running: dict) -> Iterator[tuple[ClassPlan, Candidate]]:
        for plan in plans:
            while len(running) < self._workers and (candidate := plan.next()):
                yield plan, candidate

    def _bring_one(self, candidate: Candidate) -> str:
        page = self._origin.page(candidate.url)
        file = self._pool.fetch(page, candidate.start_sec, candidate.end_sec)
        path = candidate.stem + file.suffix
        self._place.put(file, path)
        return path

    def _settle(self, plan: ClassPlan, candidate: Candidate, future: futures.Future[str]) -> None:
        plan.busy.discard(candidate.stem)
        try:
            plan.alive[candidate.stem] = future.result()
            self._judge()
        except FailureError as failure:
            self._fail(plan, candidate.stem, failure)

    def _fail(self, plan: ClassPlan, stem: str, failure: FailureError) -> None:
        if failure.kind is Kind.LOCAL:
            raise UserError(f"{failure.reason}; what was complete before is kept, and the same command goes on.")
        plan.dead[stem] = failure
        if failure.kind is Kind.HOST or (failure.kind is Kind.PASSING and stem not in self._retried):
            self._doubted.append((plan, stem, failure))
            self._check_host()
            return
        self._place.remember_dead({stem: failure})
        if failure.kind in (Kind.GONE, Kind.CLOSED):
            self._judge()

    def _judge(self) -> None:
        """The host answers us: what failed before is the videos' own fault."""
        self._place.remember_dead({stem: failure for _, stem, failure in self._doubted})
        self._doubted.clear()

    def _check_host(self) -> None:
        if len(self._doubted) >= HOST_LIMIT:
            reason = self._doubted[-1][2].reason
            raise UserError(
                f"the last {len(self._doubted)} videos failed without one that came: {reason}. Wait an hour, ask more "
                "slowly (fetch.interval_sec=5 --workers 1), pass --cookies or --proxy, or bring yt-dlp up to date (pip "
                "install -U yt-dlp); the same command goes on."
            )
