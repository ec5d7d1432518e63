"""How the learning rate changes over the run: one serialisable schedule with warm-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_actrec.config import OptimizerConfig, ScheduleConfig

NAMES = ("constant", "step", "exponential", "cosine", "listed")


@keras.saving.register_keras_serializable(package="keras_actrec")
class EpochSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that is declared in epochs and asked in batches.

    With t the number of batches so far, S the batches per epoch, W = warmup_epochs S and u = t - W:

        t < W:        rate (t + 1) / (W + 1)      (a linear rise from zero; the first batch already moves the weights)
        constant:     rate
        step:         rate factor ^ floor(u / (every_epochs S))
        exponential:  rate factor ^ (u / (every_epochs S))
        cosine:       rate (minimum + (1 - minimum) (1 + cos(pi u / (epochs S - W))) / 2), and its last value after that
        listed:       rates[floor(t / S)], and the last one after that

    S is counted before training; where clips turn out to be unreadable an epoch has fewer batches, and what is declared
    in epochs comes that much later.

    Args:
        name: one of `NAMES`.
        rate: the learning rate after the warm-up.
        steps_per_epoch: batches per epoch, S.
        epochs: length of the run.
        warmup_epochs, every_epochs: in epochs; fractions are fine.
        factor: for `step` and `exponential`.
        minimum: for `cosine`, as a share of `rate`.
        rates: for `listed`: one per epoch; `rate` is not used.
    """

    def __init__(
        self,
        name: str,
        rate: float,
        steps_per_epoch: int,
        epochs: int,
        warmup_epochs: float = 0.0,
        every_epochs: float = 10.0,
        factor: float = 0.1,
        minimum: float = 0.0,
        rates: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if name not in NAMES:
            raise ValueError(f"there is no schedule '{name}'; expected one of {', '.join(NAMES)}")
        self.name = name
        self.rate = rate
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self.warmup_epochs = warmup_epochs
        self.every_epochs = every_epochs
        self.factor = factor
        self.minimum = minimum
        self.rates = tuple(rates)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate (float32 scalar) for the batch after `step` batches."""
        step = ops.cast(step, "float32")
        if self.name == "listed":
            epoch = ops.cast(ops.floor(step / self.steps_per_epoch), "int32")
            return ops.take(ops.convert_to_tensor(self.rates, "float32"), ops.minimum(epoch, len(self.rates) - 1))
        warmup = self.warmup_epochs * self.steps_per_epoch
        rising = (step + 1.0) / (warmup + 1.0)
        after = self._after_warmup(ops.maximum(step - warmup, 0.0))
        return self.rate * ops.where(step < warmup, rising, after)

    def _after_warmup(self, step: Any) -> Any:
        """Return the share of the rate, `step` batches after the end of the warm-up."""
        if self.name == "constant":
            return ops.ones_like(step)
        if self.name == "cosine":
            length = max((self.epochs - self.warmup_epochs) * self.steps_per_epoch, 1.0)
            wave = (1.0 + ops.cos(math.pi * ops.minimum(step / length, 1.0))) / 2.0
            return self.minimum + (1.0 - self.minimum) * wave
        periods = step / (self.every_epochs * self.steps_per_epoch)
        return ops.power(self.factor, ops.floor(periods) if self.name == "step" else periods)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        names = (
            "name",
            "rate",
            "steps_per_epoch",
            "epochs",
            "warmup_epochs",
            "every_epochs",
            "factor",
            "minimum",
            "rates",
        )
        return {name: getattr(self, name) for name in names}


def build_schedule(
    optimizer: OptimizerConfig, schedule: ScheduleConfig, steps_per_epoch: int, epochs: int
) -> EpochSchedule:
    """Return the schedule of a configuration."""
    return EpochSchedule(schedule.name, optimizer.learning_rate, steps_per_epoch, epochs, **_fields(schedule))


def _fields(schedule: ScheduleConfig) -> dict[str, Any]:
    return schedule.model_dump(exclude={"name"})
