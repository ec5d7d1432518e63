"""One particle: an ordinary training run that exchanges its weights with others after each epoch.

python -m keras_actrec.swarm.particle --swarm DIR --particle K

The server starts these; one may also be started by hand on any machine that sees the swarm's directory and reaches
the server. Killed at any moment and started again, it goes on from its last committed round.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_actrec import cli, files
from keras_actrec.errors import StopRequestedError, UserError
from keras_actrec.locking import HeldError, Lock
from keras_actrec.swarm.bucket import StoreError
from keras_actrec.swarm.companion import Rounds
from keras_actrec.swarm.directory import SwarmDirectory
from keras_actrec.swarm.journal import StorageFullError, space_needed
from keras_actrec.swarm.link import Link, stop_requested
from keras_actrec.swarm.precision import FLOAT32
from keras_actrec.swarm.settings import particle_config
from keras_actrec.swarm.state import Command, Move, Phase, Publication, Sign
from keras_actrec.swarm.store import DirectoryStore, Store, open_store

if TYPE_CHECKING:
    import keras

    from keras_actrec.training.checkpoint import Progress

EXACT = "exact"
"""Folder in a particle's run directory for its exact positions, where others get rounded ones."""
CRASHED = 70
"""Exit code after a defect, or when memory, a disk or a network failed; 1: it has said why it cannot go on."""
LOCK_SEC = 300.0
"""A process that is being killed may hold the run's lock for a moment, one on a machine that was cut off longer."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one particle and return the exit code."""
    cli.begin()
    parser = cli.Parser(prog="python -m keras_actrec.swarm.particle", description=__doc__)
    parser.add_argument("--swarm", required=True, metavar="DIR", help="directory of the swarm")
    parser.add_argument("--particle", required=True, type=int, metavar="K", help="which particle, from 1")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="cores that it may use (default: 1)")
    parser.add_argument("--parent", type=int, metavar="PID", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    share_cores(options.workers)
    return cli.leave(played(options))


def played(options: argparse.Namespace) -> int:
    """Play a particle and return the exit code: `CRASHED` where it makes sense to start the same command again."""
    broken = []

    def action() -> None:
        try:
            play(options)
        except OSError:  # a disk or a network that failed; the server has not been told
            broken.append(True)
            raise

    try:
        code = cli.guard(action)
    except Exception:
        traceback.print_exc()
        return CRASHED
    return CRASHED if broken else code


def share_cores(workers: int) -> None:
    """Limit this process to its share of the cores; else each particle starts as many threads as the machine has."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, str(workers))


def play(options: argparse.Namespace) -> None:
    """Play a particle to its end, and tell the server when it cannot go on."""
    swarm = SwarmDirectory.open(options.swarm)
    index = options.particle - 1
    if not 0 <= index < swarm.config.swarm.particles:
        raise UserError(f"this swarm has particles 1 to {swarm.config.swarm.particles}, not {options.particle}.")
    pulse = Pulse(swarm, index, options.parent)
    pulse.link.join()
    pulse.start()
    try:
        with space_needed(swarm.path):
            result = Particle(swarm, index, pulse, options.workers).run()
        pulse.link.finish(result)
    except UserError as error:
        pulse.confess(error)
        raise
    finally:
        pulse.close()


class Pulse:
    """Signs of life from a thread of its own, and what the server answers.

    Args:
        swarm: the directory.
        particle: index from 0.
        parent: process without which this one must not go on: a server that was killed takes its particles along.

    Attributes:
        link: line to the server.
        sign: what is told.
        paused_sec: time spent in pauses since it was last set to zero.
    """

    def __init__(self, swarm: SwarmDirectory, particle: int, parent: int | None) -> None:
        self._interval_sec = swarm.config.swarm.heartbeat_sec
        self._parent = parent
        self._command = Command.RUN
        self._lost: UserError | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.link = Link(swarm, particle, swarm.config.swarm.server_sec, self._end_with_parent)
        self.sign = Sign(Phase.STARTING, 0)
        self.paused_sec = 0.0

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def close(self) -> None:
        """Stop beating."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(self._interval_sec + 1)
        self.link.close()

    def confess(self, error: UserError) -> None:
        """Tell the server why this particle cannot go on, unless it is the server that is gone."""
        if self._lost is None:
            kinds = {StopRequestedError: "stopped", StorageFullError: "storage", StoreError: "storage"}
            self.link.fail(str(error), kinds.get(type(error), "user"))

    def check(self) -> None:
        """Raise when this particle is to end.

        Raises:
            StopRequestedError: the server said so.
            UserError: the server is gone, or another process plays this particle.
        """
        if self._lost is not None:
            raise self._lost
        if self._command is Command.STOP:
            raise stop_requested()

    def obey(self) -> None:
        """Wait while the swarm pauses; raise as `check` does."""
        began, resting = time.monotonic(), self.sign
        while self._command is Command.PAUSE and self._lost is None:
            self.sign = Sign(Phase.PAUSED, resting.round, resting.batch, resting.batches)
            time.sleep(0.05)
        if self.sign is not resting:
            self.sign = resting
            self.paused_sec += time.monotonic() - began
        self.check()

    def _beat(self) -> None:
        try:
            while not self._closed.is_set():
                self._end_with_parent()
                self._command = self.link.alive(self.sign)
                self._closed.wait(self._interval_sec)
        except UserError as error:
            self._lost = error
        except Exception as error:
            if not self._closed.is_set():  # the connection may be closed under a last question
                self._lost = UserError(f"the line to the server broke: {error}")

    def _end_with_parent(self) -> None:
        if self._parent is not None and os.getppid() != self._parent:
            os._exit(1)


class Particle:
    """A run that goes along with a swarm; the `Companion` of its training.

    Args:
        swarm: the directory.
        index: of the particle, from 0.
        pulse: signs of life.
        workers: cores that it may use.
    """

    def __init__(self, swarm: SwarmDirectory, index: int, pulse: Pulse, workers: int) -> None:
        self.swarm, self.index, self.pulse = swarm, index, pulse
        self.config = particle_config(swarm.config, index, str(swarm.particles))
        self.store = open_store(swarm.path, swarm.config.swarm, with_journal=False)
        self.own: Store = self.store
        if swarm.config.swarm.exchange != FLOAT32:
            # Beside the checkpoints, wherever the swarm's store is: a resumed particle needs both or neither.
            self.own = DirectoryStore.weights_only(swarm.run(index) / EXACT)
        self.rounds = Rounds(self.store, Correspondent(pulse), swarm.config, index, workers, self.own)
        self.began = time.monotonic()
        self.batches = 0

    def run(self) -> dict[str, Any]:
        """Train, evaluate, and return the numbers for the server."""
        from keras_actrec.training import datasets, distribution, fold
        from keras_actrec.training.run_directory import RunDirectory

        fold.check_model(self.config)
        hardware = distribution.set_up(self.config.training)
        with OneAtATime(self.swarm, self.pulse):
            manifest = datasets.load(self.config)
            datasets.open_source(self.config.data, manifest)
        directory = RunDirectory.at(self.swarm.run(self.index), self.config, manifest, LOCK_SEC)
        with directory:
            for store in dict.fromkeys((self.store, self.own)):
                store.sweep(self.index)
            if not directory.finished:
                fold.run_fold(directory, manifest, hardware, self)
            if self.own is not self.store:
                shutil.rmtree(self.own.path, ignore_errors=True)
            return result_of(directory.path, files.read_json(directory.metrics))

    def begin(self, model: keras.Model, progress: Progress) -> None:
        """Begin, or finish what a killed process has left of a round."""
        self.batches = max(self.batches, 1)
        if progress.epochs == 0:
            self.rounds.start(self._body(model))
            self._train(1)
        else:
            self._between(model, progress)

    def batch_ended(self, batch: int) -> None:
        """Count, pause, or stop."""
        self.batches = max(self.batches, batch + 1)
        self.pulse.sign = Sign(Phase.TRAINING, self.pulse.sign.round, batch + 1, self.batches)
        self.pulse.obey()

    def epoch_ended(self, model: keras.Model, progress: Progress) -> None:
        """Publish, wait, move."""
        self._between(model, progress)

    def _between(self, model: keras.Model, progress: Progress) -> None:
        from keras_actrec.swarm import keras_glue

        number, body = progress.epochs, self._body(model)
        train_sec = max(time.monotonic() - self.began - self.pulse.paused_sec, 0.0)
        fitness = self.swarm.config.swarm.fitness
        draft = keras_glue.publication(
            self.index, progress, fitness, before="", after="", best="", train_sec=round(train_sec, 3)
        )
        self.rounds.publish(body, draft)
        if number < self.config.training.epochs:
            self.rounds.advance(body, number)
            self._train(number + 1)
        else:
            self.pulse.sign = Sign(Phase.EVALUATING, number)

    def _train(self, number: int) -> None:
        self.pulse.sign = Sign(Phase.TRAINING, number, 0, self.batches)
        self.pulse.obey()
        self.pulse.paused_sec = 0.0
        self.began = time.monotonic()

    def _body(self, model: keras.Model) -> KerasBody:
        return KerasBody(model, self.swarm.config.swarm.positions)


class KerasBody:
    """A Keras model as a vector; see `companion.Body`."""

    def __init__(self, model: keras.Model, which: str) -> None:
        from keras_actrec.swarm import keras_glue

        self._glue = keras_glue
        self._variables = keras_glue.positions(model, which)

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self._glue.size(self._variables)

    @property
    def non_negative(self) -> list[tuple[int, int]]:
        """Ranges of the moving variances."""
        return self._glue.non_negative(self._variables)

    def parts(self) -> Iterator[np.ndarray]:
        """Give the position piece by piece."""
        return self._glue.parts(self._variables)

    def assign(self, position: np.ndarray) -> None:
        """Take a position."""
        self._glue.assign(self._variables, position)


class Correspondent:
    """Commits over the line to the server; see `companion.Journalist`."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._link = pulse.link

    def publication(self, round_number: int) -> Publication | None:
        """Return what is committed of a round."""
        return self._link.publication(round_number)

    def publish(self, publication: Publication) -> Publication:
        """Commit a round."""
        return self._link.publish(publication)

    def others(self, round_number: int) -> dict[int, Publication]:
        """Wait for the others."""
        self._pulse.sign = Sign(Phase.WAITING, round_number)
        found = self._link.others(round_number, self._pulse.check)
        self._pulse.sign = Sign(Phase.MOVING, round_number)
        return found

    def move(self, round_number: int) -> Move | None:
        """Return the committed move after a round."""
        return self._link.move(round_number)

    def moved(self, move: Move) -> Move:
        """Commit a move."""
        return self._link.moved(move)


class OneAtATime:
    """Lets one particle at a time render or prepare the data; the others find them done."""

    def __init__(self, swarm: SwarmDirectory, pulse: Pulse) -> None:
        self._lock = Lock(swarm.path / ".data.lock")
        self._pulse = pulse

    def __enter__(self) -> None:
        while not self._lock.held:
            self._pulse.obey()
            try:
                self._lock.acquire(timeout_sec=1.0)
            except HeldError:
                continue
        self._pulse.sign = Sign(Phase.PREPARING, 0)

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._pulse.sign = Sign(Phase.STARTING, 0)


def result_of(run: Path, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a finished run that the server keeps."""
    test = metrics["test"]
    return {
        "run": str(run),
        "best_epoch": metrics["best_epoch"],
        "validation_top1": metrics["validation"]["top1"],
        "test_top1": test["top1"],
        "test_top5": test["top5"],
        "coverage": test["coverage"],
        "evaluated": test["evaluated"],
        "params": metrics["params"],
    }


if __name__ == "__main__":
    sys.exit(main())
