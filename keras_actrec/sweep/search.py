"""Which values come next, and which trial is hopeless: Optuna, asked anew each time about the trials so far.

There is no data base of Optuna's. Its study is made of our records, its random draws of (seed, number of trials): so a
sweep that was killed goes on as it would have gone on (with one worker: exactly so), and a record that was deleted
is simply gone.

A diverged trial stands in the study as one that was ended early, so that its neighbourhood is avoided; a failed one
says nothing about its values.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_actrec.errors import UserError
from keras_actrec.sweep import space as spaces
from keras_actrec.sweep.record import State, Trial
from keras_actrec.sweep.settings import SweepSection
from keras_actrec.sweep.space import Point, Range, Space

if TYPE_CHECKING:
    import optuna

TRIES = 64
"""So often is a point asked for that no trial has had; training is deterministic, so the same twice tells nothing."""
BEST_SHARE = 0.25
REDUCTION, FIRST_RUNG = 4, 1
"""Of successive halving: the best quarter goes on, first asked after one epoch."""


@dataclasses.dataclass(frozen=True)
class Search:
    """How a sweep chooses.

    Attributes:
        settings: the section `sweep`.
        direction: "maximize" or "minimize".
        seed: of all draws.
    """

    settings: SweepSection
    direction: str
    seed: int

    def propose(self, trials: Sequence[Trial]) -> Point | None:
        """Return the values of the next trial; None when there is none that has not been tried.

        Args:
            trials: all so far, those that run included.
        """
        tried = {_key(trial.point) for trial in trials}
        if self.settings.search == "grid":
            return next((point for point in spaces.grid(self.settings.space) if _key(point) not in tried), None)
        points = spaces.size(self.settings.space)
        if points is not None and len(tried) >= points:
            return None
        asked = (self._ask(trials, attempt) for attempt in range(TRIES))
        fresh = next((point for point in asked if _key(point) not in tried), None)
        return fresh or self._first_untried(tried)

    def is_hopeless(self, trials: Sequence[Trial], trial: Trial, epochs: int) -> bool:
        """Return whether a running trial should end.

        Args:
            trials: all others.
            trial: the one in question, with its curve so far.
            epochs: of a whole trial.
        """
        done = len(trial.curve)
        if self.settings.pruner == "none" or not done or done >= epochs or done <= self.settings.pruner_warmup_epochs:
            return False
        study = self._study([other for other in trials if other.number != trial.number], attempt=0)
        study.add_trial(self._frozen(trial))
        return study.pruner.prune(study, study.get_trials(deepcopy=False)[-1])

    def importances(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Return key -> its share in what tells the best quarter of the trials from the others; empty if all are equal.

        PED-ANOVA (Watanabe et al. 2023). Optuna's fANOVA spreads a key with listed values over as many axes, and so
        makes too much of it.
        """
        optuna = _optuna()
        study = self._study([trial for trial in trials if trial.state is State.COMPLETE], attempt=0)
        values = {trial.value for trial in study.get_trials(deepcopy=False)}
        if len(values) < 2:
            return {}
        with warnings.catch_warnings():  # Optuna calls the evaluator experimental
            warnings.simplefilter("ignore")
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
            return optuna.importance.get_param_importances(study, evaluator=evaluator)

    def _ask(self, trials: Sequence[Trial], attempt: int) -> Point:
        study = self._study(trials, attempt)
        asked = study.ask({key: _distribution(axis) for key, axis in self.settings.space.items()})
        return {key: _decode(self.settings.space[key], value) for key, value in asked.params.items()}

    def _first_untried(self, tried: set[str]) -> Point | None:
        """Return the first point of a finite space that is left, when drawing has not found it."""
        if spaces.size(self.settings.space) is None:
            return None
        return next((point for point in spaces.grid(self.settings.space) if _key(point) not in tried), None)

    def _study(self, trials: Sequence[Trial], attempt: int) -> optuna.Study:
        optuna = _optuna()
        seed = zlib.crc32(json.dumps([self.seed, len(trials), attempt]).encode())
        study = optuna.create_study(direction=self.direction, sampler=self._sampler(seed), pruner=self._pruner())
        for trial in trials:
            if trial.state is not State.FAILED:
                study.add_trial(self._frozen(trial))
        return study

    def _sampler(self, seed: int) -> Any:
        optuna = _optuna()
        if self.settings.search == "tpe":
            # Trials that run count as bad ones, so that workers do not all try the same place.
            return optuna.samplers.TPESampler(seed=seed, constant_liar=self.settings.several_at_once)
        return optuna.samplers.RandomSampler(seed=seed)

    def _pruner(self) -> Any:
        pruners = _optuna().pruners
        if self.settings.pruner == "median":
            return pruners.MedianPruner(self.settings.pruner_startup_trials, self.settings.pruner_warmup_epochs)
        if self.settings.pruner == "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=REDUCTION)
        return pruners.NopPruner()

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        optuna = _optuna()
        space = self.settings.space
        curve = {epoch: value for epoch, value in enumerate(trial.curve, start=1) if value == value}
        # Optuna keeps what successive halving has decided with the trial; here it is found again from the curve.
        rungs = _rungs(curve, trial.ended) if self.settings.pruner == "halving" else {}
        states = {
            State.RUNNING: optuna.trial.TrialState.RUNNING,
            State.COMPLETE: optuna.trial.TrialState.COMPLETE,
            State.PRUNED: optuna.trial.TrialState.PRUNED,
            State.DIVERGED: optuna.trial.TrialState.PRUNED,
        }
        return optuna.trial.create_trial(
            state=states[trial.state],
            value=trial.value if trial.state is State.COMPLETE else None,
            params={key: _encode(space[key], trial.point[key]) for key in space},
            distributions={key: _distribution(axis) for key, axis in space.items()},
            intermediate_values=curve,
            system_attrs=rungs,
        )


def _rungs(curve: dict[int, float], ended: bool) -> dict[str, float]:
    """Return a trial's numbers at the rungs that it has passed, as Optuna notes them.

    The epoch that a running trial is asked about has not been passed yet.
    """
    last = max(curve, default=0) - (0 if ended else 1)
    epochs = (FIRST_RUNG * REDUCTION**rung for rung in itertools.count())
    passed = itertools.takewhile(lambda epoch: epoch <= last, epochs)
    return {f"completed_rung_{rung}": curve[epoch] for rung, epoch in enumerate(passed) if epoch in curve}


def _distribution(axis: tuple[Any, ...] | Range) -> Any:
    distributions = _optuna().distributions
    if not isinstance(axis, Range):
        return distributions.CategoricalDistribution(tuple(map(_key, axis)))
    if axis.whole:
        return distributions.IntDistribution(axis.low, axis.high, log=axis.log, step=int(axis.step or 1))
    return distributions.FloatDistribution(float(axis.low), float(axis.high), log=axis.log, step=axis.step)


def _encode(axis: tuple[Any, ...] | Range, value: Any) -> Any:
    return value if isinstance(axis, Range) else _key(value)


def _decode(axis: tuple[Any, ...] | Range, value: Any) -> Any:
    if not isinstance(axis, Range):
        return json.loads(value)
    return int(value) if axis.whole else float(value)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def check(space: Space) -> None:
    """Raise a `UserError` unless Optuna is there; called before anything begins."""
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            f"a sweep needs Optuna, which cannot be imported ({error}): pip install 'keras_actrec[sweep]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
