"""A whole swarm in one process: its particles are trained one after the other, round by round.

It does what a swarm of processes does, with the same seeds, and on a CPU with as many threads with the same bits. It
is there for comparisons: the networks are compiled once, and go back to their first weights for each further swarm.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec.data.manifest import Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.source import FrameSource
from keras_actrec.errors import UserError
from keras_actrec.evaluation.predict import Predictions, predict
from keras_actrec.swarm import keras_glue, sharing
from keras_actrec.swarm.exchange import exchange
from keras_actrec.swarm.inline_data import RememberingSource, RepeatedLoader
from keras_actrec.swarm.positions import DamagedPositionError
from keras_actrec.swarm.precision import FLOAT32
from keras_actrec.swarm.settings import SwarmConfig, name_of, particle_config
from keras_actrec.swarm.state import Kind, Move, Publication
from keras_actrec.swarm.store import DamagedJournalError, MemoryStore, StorageFullError, Store
from keras_actrec.training import datasets, fold, optimizers
from keras_actrec.training.checkpoint import Progress
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.supervised import Trainer

_NOT_ITS_OWN = (StorageFullError, DamagedPositionError, DamagedJournalError)
"""What is wrong then is not that the training of one particle has diverged."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a particle has come to; its network holds the weights of its best round then.

    Attributes:
        particle: index from 0.
        rows: the logged numbers of each round, as in history.csv.
        best_round: from 1, chosen on the validation split.
        fitness: in that round; higher is better.
        failed_round: in which its training diverged; None: it did not.
    """

    particle: int
    rows: tuple[dict[str, float], ...]
    best_round: int
    fitness: float
    failed_round: int | None


class Member:
    """One particle of an inline swarm: an ordinary run that can be taken back to its beginning.

    Args:
        index: of the particle.
        config: of the swarm.
        manifest: the clips.
        source: gives their frames.
        hardware: from `distribution.set_up`.
        folder: of the swarm's run directories.
        workers: decoding threads.

    Attributes:
        run: its run directory.
        network: its Keras model.
        trainer: trains it.
        progress: how far it is.
        failed_round: in which its training diverged, or None.
    """

    def __init__(
        self,
        index: int,
        config: SwarmConfig,
        manifest: Manifest,
        source: FrameSource,
        hardware: Hardware,
        folder: Path,
        workers: int,
    ) -> None:
        own = particle_config(config, index, str(folder), workers)
        if own.training.objective != "cross_entropy":
            raise UserError(
                f"swarms are compared on cross entropy; training.objective is {own.training.objective}. A swarm of its "
                "own (swarm_server.py) trains with any objective."
            )
        self.index, self.config, self.failed_round = index, own, None
        self.run = RunDirectory.at(folder / name_of(index), own, manifest)
        architecture = fold.model_config_for(own, manifest)
        data = Inputs(own, manifest, source, Quarantine(self.run.quarantine), architecture.normalization)
        self.network = fold.build(self.run, architecture, hardware, fold.heads_of(own, manifest))
        self.trainer = Trainer(
            self.network,
            RepeatedLoader(data.training()),
            RepeatedLoader(data.plain("validation")),
            own.training,
            self.run,
            hardware=hardware,
            quarantine=data.quarantine,
        )
        self._test = RepeatedLoader(data.evaluation("test"))
        self._variables = keras_glue.positions(self.network, config.swarm.positions)
        self._first = [(variable, optimizers.to_numpy(variable)) for variable in self._state()]

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self.trainer.progress

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return keras_glue.size(self._variables)

    @property
    def non_negative(self) -> list[tuple[int, int]]:
        """Coordinates that must not become negative."""
        return keras_glue.non_negative(self._variables)

    def restart(self) -> None:
        """Go back to the first weights, without a past."""
        for variable, value in self._first:
            variable.assign(value)
        for path in self.run.checkpoints.glob("*"):
            path.unlink()
        self.trainer.progress, self.failed_round = Progress(), None

    def parts(self) -> Iterator[np.ndarray]:
        """Give its position piece by piece."""
        return keras_glue.parts(self._variables)

    def jump(self, position: np.ndarray) -> None:
        """Put it somewhere else."""
        keras_glue.assign(self._variables, position)

    def check(self) -> None:
        """Raise a `UserError` where a weight is not finite, which the loss need not show."""
        if not all(np.isfinite(part).all() for part in self.parts()):
            raise UserError(
                f"training of {name_of(self.index)} diverged: its weights are not finite after round "
                f"{self.progress.epochs}; lower its learning rate (swarm.learning_rates)."
            )

    def finish(self) -> Outcome:
        """Give the network the weights of its best round."""
        self.trainer.finish()
        progress, fitness = self.progress, self.config.training.select_by
        sign = -1.0 if fitness == "val_loss" else 1.0
        return Outcome(
            self.index,
            progress.rows,
            keras_glue.best_round(progress),
            sign * float(progress.best_value),
            self.failed_round,
        )

    def predict_test(self) -> Predictions:
        """Run the network over the test split."""
        return predict(self.network, self._test)

    def close(self) -> None:
        """Unlock its run directory."""
        self.run.close()

    def _state(self) -> Sequence[Any]:
        return [*self.network.variables, *self.network.optimizer.variables]


class InlineSwarm:
    """Particles in one process, for one or several swarms that differ in how they exchange.

    Args:
        config: of the swarm; the regime is end_to_end.
        manifest: the clips, of the configuration's fold.
        hardware: from `distribution.set_up`.
        folder: for the particles' run directories; it must not hold any.
        source: gives the frames; default: what the configuration says, remembered.
        workers: decoding threads, where the configuration leaves that open; default: one per core.

    Raises:
        UserError: the configuration wants what an inline swarm cannot do.

    Attributes:
        members: the particles.
    """

    def __init__(
        self,
        config: SwarmConfig,
        manifest: Manifest,
        hardware: Hardware,
        folder: Path,
        source: FrameSource | None = None,
        workers: int | None = None,
    ) -> None:
        if config.training.regime != "end_to_end":
            raise UserError(
                "a swarm in one process trains whole networks; set training.regime=end_to_end, or start the swarm "
                "with swarm_server.py."
            )
        source = source or RememberingSource(datasets.open_source(config.data, manifest))
        self.config, self._fresh, self._workers = config, True, workers or os.cpu_count() or 1
        self.members = [
            Member(index, config, manifest, source, hardware, folder, self._workers)
            for index in range(config.swarm.particles)
        ]

    def run(self, config: SwarmConfig | None = None, store: Store | None = None) -> list[Outcome]:
        """Train all particles from their first weights, exchanging as the configuration says.

        Args:
            config: of this swarm; it may differ from the first one in how the particles exchange, in nothing else.
            store: gets positions and journal; default: one in memory.

        Returns:
            One outcome per particle; the networks hold the weights of their best rounds.

        Raises:
            UserError: a particle diverged in its first round, or in any one where `swarm.on_failure` is "stop".
        """
        config = config or self.config
        self._check(config)
        for member in [] if self._fresh else self.members:
            member.restart()
        self._fresh = False
        rounds = _Rounds(config, store or MemoryStore(config.swarm.exchange), self.members)
        for number in range(1, config.training.epochs + 1):
            rounds.play(number)
        return [member.finish() for member in self.members]

    def close(self) -> None:
        """Unlock the run directories."""
        for member in self.members:
            member.close()

    def __enter__(self) -> InlineSwarm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, config: SwarmConfig) -> None:
        for member in self.members:
            run = particle_config(config, member.index, member.config.output, self._workers)
            if run != member.config or config.swarm.particles != len(self.members):
                raise ValueError("a second swarm of the same networks may differ in nothing but its exchange")


class _Rounds:
    """The rounds of one swarm."""

    def __init__(self, config: SwarmConfig, store: Store, members: Sequence[Member]) -> None:
        self.config, self.store, self.members = config, store, members
        self.own: Store = store if config.swarm.exchange == FLOAT32 else MemoryStore()

    def play(self, number: int) -> None:
        """Train a round, and move where the round has a move."""
        published = {
            member.index: publication for member in self._alive() if (publication := self._train(member, number))
        }
        last = self.config.training.epochs
        if self.config.swarm.dynamic != "none" and self.config.swarm.warmup_rounds < number < last:
            self.store.journal.close_round(number, published)
            self._move(number, published)
        elif number < last:
            for index in published:
                self.own.alias(index, (Kind.AFTER, number), (Kind.BEFORE, number + 1))
        bests = {index: [publication.best_round] for index, publication in published.items()}
        for store in {id(store): store for store in (self.store, self.own)}.values():
            store.prune(number + 1, bests)

    def _alive(self) -> list[Member]:
        return [member for member in self.members if member.failed_round is None]

    def _train(self, member: Member, number: int) -> Publication | None:
        store, began = self.own, time.monotonic()
        if number == 1:
            store.put(member.index, Kind.BEFORE, 1, member.parts(), member.size)
        with self._may_fail(member, number), _quiet():
            member.trainer.train(number)
            member.check()
        if member.failed_round:
            return None
        seconds = time.monotonic() - began
        store.put(member.index, Kind.AFTER, number, member.parts(), member.size)
        best = keras_glue.best_round(member.progress)
        if best == number:
            store.alias(member.index, (Kind.AFTER, number), (Kind.BEST, number))
        return self.store.journal.add_publication(self._publication(member, number, best, seconds))

    def _publication(self, member: Member, number: int, best: int, seconds: float) -> Publication:
        told = keras_glue.publication(
            member.index, member.progress, self.config.swarm.fitness, before="", after="", best="", train_sec=seconds
        )
        digests = sharing.share(self.own, self.store, self.config, member.index, number, best)
        return dataclasses.replace(told, **digests)

    def _move(self, number: int, published: Mapping[int, Publication]) -> None:
        """Compute all moves from what was published, then make them."""
        for member in [member for member in self.members if member.index in published]:
            with self._may_fail(member, number):
                self._decide(member, number, published)
        for member in self._alive():
            member.jump(self.own.get(member.index, Kind.BEFORE, number + 1).array)

    def _decide(self, member: Member, number: int, published: Mapping[int, Publication]) -> Move:
        move = exchange(
            self.store,
            self.config,
            member.index,
            number,
            published,
            non_negative=member.non_negative,
            own=self.own,
        )
        return self.store.journal.add_move(move)

    @contextlib.contextmanager
    def _may_fail(self, member: Member, number: int) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            # A particle whose first round fails does so in every swarm, as nothing was exchanged before.
            if isinstance(error, _NOT_ITS_OWN) or number == 1 or self.config.swarm.on_failure == "stop":
                raise
            member.failed_round = number


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the lines of single epochs off the screen; they are in each run's log."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
