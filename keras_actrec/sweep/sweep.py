"""Runs a sweep: asks for values, trains trials, ends hopeless ones, and keeps what came out. Imports no Keras.

    <output>/<name>-<digest of what is searched>/
        config.yaml
        records/0001.json       what came out of each trial; published when it begins and when it ends
        trials/0001.yaml        its configuration
        trials/0001/            its run directory, with history.csv (and metrics.json, where the test split is measured)
        .features/              frame features, which the trials of a transfer sweep share
        best.yaml, trials.csv, hiplot.html, report.html
        clock.json, logs/

A sweep that is interrupted or killed goes on with the same command: trials that ran go on from their last whole epoch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_actrec import config as configuration
from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.locking import HeldError, Lock
from keras_actrec.sweep import outcome, record, search, settings, trial
from keras_actrec.sweep.log import failure
from keras_actrec.sweep.processes import Processes
from keras_actrec.sweep.ray_processes import RayProcesses
from keras_actrec.sweep.record import State, Trial
from keras_actrec.sweep.settings import SweepConfig

Say = Callable[[str], None]
POLL_SEC = 0.2
CLOCK_SEC = 5.0
PAGES_SEC = 5.0
"""Pages are written no more often than this, and at the end."""
FAILURES = 3
"""So many failed trials, and none that went well, end a sweep: then it is not their values."""


class Sweep:
    """One sweep in this process.

    Args:
        config: of the sweep.
        say: gets lines for people.

    Attributes:
        path: its directory.
    """

    def __init__(self, config: SweepConfig, say: Say = print) -> None:
        self.config = config
        self.path = settings.directory(config)
        self.metric, self.direction = settings.metric_of(config)
        self.search = search.Search(config.sweep, self.direction, config.seed)
        self._say = say
        self._processes = _processes(config, self.path)
        self._trials: dict[int, Trial] = {}
        self._clock = Clock(self.path / "clock.json")
        self._wrote_pages = -PAGES_SEC

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, those that run with their curves so far."""
        return [self._trials[number] for number in sorted(self._trials)]

    def run(self) -> None:
        """Train what is missing; on return all is written.

        Raises:
            UserError: a mistake in the configuration or the data; another process is at it; all trials fail.
        """
        search.check(self.config.sweep.space)
        self.path.mkdir(parents=True, exist_ok=True)
        lock = Lock(self.path / ".lock")
        try:
            lock.acquire()
        except HeldError as error:
            raise UserError(
                f"another process ({error.holder or 'unknown'}) is running the sweep {self.path}; "
                "wait for it to end or stop it first."
            ) from None
        try:
            self._run()
        finally:
            self._processes.end_all()
            self._clock.keep()
            lock.release()

    def _run(self) -> None:
        configuration.save_config(self.config, self.path / trial.CONFIG)
        self._trials = {one.number: one for one in record.read_all(self.path)}
        waiting = [one.number for one in self.trials if not one.ended]
        self._tell_beginning(waiting)
        if waiting or self._wants_more():
            self._prepare()
            self._train(waiting)
        outcome.write(self.path, self.config, self.search, self.trials, self._say)

    def _tell_beginning(self, waiting: list[int]) -> None:
        section, ended = self.config.sweep, sum(one.ended for one in self.trials)
        self._say(
            f"{self.config.model.name}: {section.search} search of {len(section.space)} keys, {section.count} trials, "
            f"judged by {self.metric} ({self.direction.removesuffix('e')}ed)"
        )
        if self._trials:
            self._say(f"{ended} trials are there already, {len(waiting)} were interrupted and go on")

    def _prepare(self) -> None:
        code, log = self._processes.prepare()
        if code:
            raise UserError(failure(log, code))

    def _train(self, waiting: list[int]) -> None:
        while waiting or self._processes.numbers or self._wants_more():
            while self._processes.has_free and (waiting or self._wants_more()):
                number = waiting.pop(0) if waiting else self._propose()
                if number is None:
                    break
                self._processes.start(number)
            if not self._processes.numbers:
                break
            self._look()
            self._clock.tick()
            time.sleep(POLL_SEC)

    def _wants_more(self) -> bool:
        section = self.config.sweep
        in_time = section.hours is None or self._clock.seconds < section.hours * 3600
        return in_time and len(self._trials) < section.count

    def _propose(self) -> int | None:
        """Decide on the next trial, put it down, and return its number; None when all values have been tried."""
        point = self.search.propose(self.trials)
        if point is None:
            return None
        number = max([*self._trials, *trial.numbers(self.path)], default=0) + 1
        try:
            run = settings.run_config(self.config, point, output=str(self.path))
        except UserError as error:
            self._keep(Trial(number, point, State.FAILED, reason=str(error)))
            return self._propose() if self._wants_more() else None
        run = run.model_copy(update={"evaluation": run.evaluation.model_copy(update=_LEAN)})
        configuration.save_config(run, trial.config_path(self.path, number))
        self._keep(Trial(number, point))
        return number

    def _look(self) -> None:
        """Take in what the running trials have done since."""
        for number in self._processes.numbers:
            code = self._processes.code(number)  # before the history, so that an ended trial's is whole
            for one in self._grown(self._trials[number]):
                self._trials[number] = one
                if self.search.is_hopeless(self.trials, one, self.config.training.epochs):
                    self._end(
                        dataclasses.replace(one, state=State.PRUNED, reason=f"ended after epoch {len(one.curve)}")
                    )
                    break
            else:
                if code is not None:
                    self._end(self._ended(self._trials[number], code))

    def _grown(self, one: Trial) -> Iterator[Trial]:
        """Yield a trial once for each epoch that has come since, as it was then."""
        curve = record.read_curve(trial.place(self.path, one.number) / "history.csv", self.metric)
        for length in range(len(one.curve) + 1, len(curve) + 1):
            yield dataclasses.replace(one, curve=curve[:length])

    def _ended(self, one: Trial, code: int) -> Trial:
        if code == 0:
            return outcome.complete(self.path, self.config, one)
        state = State.DIVERGED if code == trial.DIVERGED else State.FAILED
        return dataclasses.replace(one, state=state, reason=failure(self._processes.log(one.number), code))

    def _end(self, one: Trial) -> None:
        self._processes.take_back(one.number)
        self._keep(dataclasses.replace(one, seconds=outcome.seconds(self.path, one)))
        if time.monotonic() - self._wrote_pages > PAGES_SEC:
            outcome.write_pages(self.path, self.config, self.search, self.trials)
            self._wrote_pages = time.monotonic()

    def _keep(self, one: Trial) -> None:
        self._trials[one.number] = one
        record.write(self.path, one)
        if one.ended:
            self._say(outcome.line(self.config, self.trials, one))
            self._stop_if_all_fail(one)

    def _stop_if_all_fail(self, one: Trial) -> None:
        failed = [other for other in self.trials if other.state is State.FAILED]
        if len(failed) >= FAILURES and len(failed) == sum(other.ended for other in self.trials):
            raise UserError(
                f"the first {len(failed)} trials failed, the last one ({settings.told(one.point)}) so: {one.reason} "
                f"Records are in {self.path / record.FOLDER}; remove them to try these values again."
            )


def _processes(config: SweepConfig, path: Path) -> Processes | RayProcesses:
    """Return what runs the trials of a sweep."""
    section = config.sweep
    if section.launcher == "ray":
        return RayProcesses(path, section.ray, section.workers, section.test)
    return Processes(path, section.workers or 1, section.test)


_LEAN = {"baseline": False, "probes": False, "throughput": False, "open_set": False, "velocity_videos": 0}
"""What a trial does not measure: it would cost time, and nothing is chosen by it."""


class Clock:
    """Seconds of work of a sweep, over all its sessions; kept now and then, so that a kill loses a few.

    Args:
        path: where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = files.read_json(path)["seconds"] if path.exists() else 0.0
        self._began = self._kept = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._began

    def tick(self) -> None:
        """Keep them, if it is time to."""
        if time.monotonic() - self._kept > CLOCK_SEC:
            self.keep()

    def keep(self) -> None:
        """Keep them."""
        self._kept = time.monotonic()
        files.write_json(self._path, {"seconds": round(self.seconds, 1)})
