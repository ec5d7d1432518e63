"""Which learning rates to try in a scan, and which ones its curve suggests for a swarm. Plain arithmetic."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from decimal import Decimal

from keras_actrec.errors import UserError

LOWEST, FACTOR, STEPS = 1e-6, 10**0.4, 20
"""The released scan: 1e-6 * 10^(0.4 step), step 0 to 19, so up to 39.8."""
HIGHEST_DECADE = 38
"""Schedules are computed in float32."""
MARGIN = 4.0
"""An accuracy so many standard errors above guessing is no accident, not even the best of twenty."""
FIXED_DECADES, BELOW, ABOVE = 2.0, 1e-3, 10.0
"""The paper's four rates, as distances from the best one; see `suggest`."""

Rate = float | tuple[float, float]


def ladder(low: float = LOWEST, factor: float = FACTOR, steps: int = STEPS) -> list[float]:
    """Return the rates low, low * factor, low * factor^2, ..., to six significant digits.

    Raises:
        UserError: the rates would not rise.
    """
    if not (low > 0 and factor > 1 and steps >= 1 and _decade(low, factor, steps) < HIGHEST_DECADE):
        raise UserError(
            f"a scan needs a lowest rate above 0, a factor above 1, at least one step, and numbers that float32 can "
            f"hold, not {low:g}, {factor:g} and {steps}; the released one had {LOWEST:g}, {FACTOR:.3f} and {STEPS}."
        )
    return [float(f"{low * factor**step:.6g}") for step in range(steps)]


def _decade(low: float, factor: float, steps: int) -> float:
    return math.log10(low) + (steps - 1) * math.log10(factor)


def factor_between(low: float, high: float, steps: int) -> float:
    """Return the factor of a ladder of `steps` rates from `low` to `high`; raise a `UserError` if there is none."""
    if steps < 2 or not 0 < low < high:
        raise UserError(f"from {low:g} to {high:g} in {steps} steps: expected 0 < low < high and at least two steps.")
    return (high / low) ** (1 / (steps - 1))


@dataclasses.dataclass(frozen=True)
class Curve:
    """What a scan has found.

    Attributes:
        rates: those that were trained with, ascending, at least one.
        accuracy: on the training clips during the epoch of each rate.
        chance: the accuracy of answering the most frequent class.
        clips: training clips per epoch.
        diverged_at: the rate whose loss was no number any more; the scan ended there.
    """

    rates: Sequence[float]
    accuracy: Sequence[float]
    chance: float
    clips: int
    diverged_at: float | None = None

    @property
    def threshold(self) -> float:
        """Accuracy above which training works: guessing plus `MARGIN` standard errors of it."""
        return self.chance + MARGIN * math.sqrt(self.chance * (1 - self.chance) / self.clips)

    @property
    def best(self) -> int | None:
        """Step of the highest accuracy, the lowest rate of equals; None when no rate beats guessing."""
        step = max(range(len(self.accuracy)), key=self.accuracy.__getitem__)
        return step if self.accuracy[step] > self.threshold else None

    def last_working(self, step: int) -> int:
        """Return the last step, counted up from `step`, before the accuracy falls back to guessing."""
        for following in range(step + 1, len(self.accuracy)):
            if self.accuracy[following] <= self.threshold:
                return following - 1
        return len(self.accuracy) - 1


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """Learning rates for the particles of a swarm.

    Attributes:
        best: the rate with the highest training accuracy; None when nothing was learnt.
        rates: one per particle, the last one a range to draw from; empty when nothing was learnt.
        notes: sentences for the user.
    """

    best: float | None
    rates: tuple[Rate, ...]
    notes: tuple[str, ...] = ()

    @property
    def listed(self) -> str:
        """The value of `swarm.learning_rates`, such as "[0.01, [0.00001, 0.1]]".

        Without exponents, because YAML takes 1e-05 for a text.
        """
        return f"[{', '.join(map(_written, self.rates))}]"

    @property
    def yaml(self) -> str:
        """The line for a configuration."""
        return f"swarm: {{learning_rates: {self.listed}}}"


def suggest(curve: Curve, particles: int = 4) -> Suggestion:
    """Return a learning rate for each particle of a swarm.

    With e the rate of the highest training accuracy, four particles get e, e/10, e/100 and a range to draw from,
    [e/1000, 10 e]. That is how the paper's rates lie to its own scans: both curves, of ResNet-152 and DenseNet-201, are
    highest at 1e-2, and its particles have 1e-2, 1e-3, 1e-4 and [1e-5, 1e-1] (Section 4). The fixed rates lie at and
    below the peak, because a scan does not reset the weights between its rates and an epoch at each is short, so its
    peak is rather too high than too low for a whole training; the last particle, whom all others follow (Table 3), may
    also be bolder for a round. N particles: N - 1 fixed rates, a decade apart as far as two decades allow, else evenly
    over these, and a range for the last one. A swarm of one gets e.

    Everything is held within the rates that were scanned, and below the first one above e at which accuracy had fallen
    back to guessing or training had diverged. No such bound is put below e: at a rate that is too low for an epoch's
    learning to be seen nothing breaks.

    Raises:
        UserError: `particles` is no positive number.
    """
    check_particles(particles)
    step = curve.best
    if step is None:
        return Suggestion(None, (), (_nothing_learnt(curve),))
    best, low, high = curve.rates[step], curve.rates[0], curve.rates[curve.last_working(step)]
    fixed = [_neat(max(best * 10**-decades, low)) for decades in _decades(max(particles - 1, 1))]
    wild = (_neat(max(best * BELOW, low)), _neat(min(best * ABOVE, high)))
    return Suggestion(best, (*fixed, wild) if particles > 1 else tuple(fixed), tuple(_notes(curve, step)))


def check_particles(count: int) -> None:
    """Raise a `UserError` unless a swarm can have so many particles."""
    if count < 1:
        raise UserError(f"a swarm has at least one particle, not {count}.")


def _decades(count: int) -> list[float]:
    """Return how many decades below the best rate each of `count` fixed rates lies."""
    apart = min(1.0, FIXED_DECADES / max(count - 1, 1))
    return [apart * index for index in range(count)]


def _notes(curve: Curve, step: int) -> list[str]:
    notes = []
    if curve.diverged_at is not None:
        notes.append(f"training diverged at {curve.diverged_at:g}; the scan ended there.")
    elif step == len(curve.rates) - 1:
        notes.append("the highest rate was the best one: scan further up (--high) before you trust this.")
    if step == 0:
        notes.append("the lowest rate was the best one: scan further down (--low) before you trust this.")
    return notes


def _nothing_learnt(curve: Curve) -> str:
    found = (
        f"no rate beat guessing: the best training accuracy was {max(curve.accuracy):.1%}, the most frequent class "
        f"alone gives {curve.chance:.1%}, and {curve.threshold:.1%} could still be chance."
    )
    if curve.diverged_at is not None:
        return f"{found} Training diverged at {curve.diverged_at:g}: scan from a lower rate (--low), in smaller steps."
    return f"{found} Nothing is suggested; scan other rates (--low, --high), or check data and model."


def _neat(rate: float) -> float:
    """Return a rate with three digits: more would pretend to a precision that a scan has not."""
    return float(f"{rate:.3g}")


def _written(rate: Rate) -> str:
    return f"[{', '.join(map(_written, rate))}]" if isinstance(rate, tuple) else f"{Decimal(repr(rate)):f}"
