"""The rounds of a simulated swarm: train on a landscape, find neighbours, move by `swarm.dynamics`. NumPy only."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field, with_config

from keras_actrec.errors import UserError
from keras_actrec.swarm import dynamics
from keras_actrec.swarm.dynamics import Neighbour
from keras_actrec.swarm.settings import draws, generator
from keras_actrec.swarm.simulation.landscapes import landscape

LONGEST_STEP = 1.0
"""Gradients are cut to this length: those of Rosenbrock's walls would throw a particle out of sight."""
FAR = 1e6
"""A particle so many times farther than the landscape reaches is lost."""
SPREAD = (1.0, 0.3, 0.1)
"""Rates of particles in turn, as shares of the rate, where they differ; the last particle draws one in each round."""
WILD = (0.03, 3.0)


@with_config(ConfigDict(extra="forbid"))
@dataclasses.dataclass(frozen=True)
class Rules:
    """What a simulated swarm does.

    Attributes:
        landscape: its name.
        particles: N.
        neighbours: k; more than N - 1 are N - 1.
        dynamic, variant: as `swarm.dynamic` and `swarm.variant`.
        c1, c2, beta: as `swarm.c1`, `swarm.c2` and `swarm.beta`.
        strength: M, the gradient weight that each particle gives each other.
        rate: learning rate.
        rates: "equal", or "spread": a few times lower for some particles, and drawn in each round by the last one.
        steps: of gradient descent in a round.
        dimensions: D.
        seed: of the first positions and of r1 and r2.
    """

    landscape: str = "rastrigin"
    particles: Annotated[int, Field(ge=1)] = 12
    neighbours: Annotated[int, Field(ge=0)] = 4
    dynamic: Literal["dynamic_1", "dynamic_2", "towards_best", "average", "none"] = "dynamic_1"
    variant: Literal["paper", "released", "attract"] = "paper"
    c1: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    c2: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.02
    rates: Literal["equal", "spread"] = "spread"
    steps: Annotated[int, Field(ge=1)] = 1
    dimensions: Annotated[int, Field(ge=2)] = 2
    seed: Annotated[int, Field(ge=0)] = 1

    @property
    def nearest(self) -> int:
        """k, held within what there is."""
        return min(self.neighbours, self.particles - 1)


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """A swarm between two rounds.

    Attributes:
        round: rounds done.
        positions: (N, D) where the next round begins.
        bests: (N, D) best position after training of each particle so far.
        losses: (N,) of `bests`; infinite before the first round.
    """

    round: int
    positions: np.ndarray
    bests: np.ndarray
    losses: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Round:
    """What happened in a round.

    Attributes:
        number: from 1.
        before: (N, D) positions at its beginning.
        after: (N, D) positions after training.
        moved: (N, D) positions at the beginning of the next one.
        bests: (N, D) best position of each particle so far, this round included.
        losses: (N,) at `after`.
        orders: each particle's neighbourhood, itself first, then the nearest.
        chosen: whose best position pulled each particle.
    """

    number: int
    before: np.ndarray
    after: np.ndarray
    moved: np.ndarray
    bests: np.ndarray
    losses: np.ndarray
    orders: tuple[tuple[int, ...], ...]
    chosen: tuple[int, ...]


def start(rules: Rules) -> State:
    """Return a swarm whose particles are spread evenly over the landscape.

    Raises:
        UserError: no such landscape, or not in so many dimensions; or a variant of another dynamic.
    """
    field = landscape(rules.landscape)
    if field.only_plane and rules.dimensions != 2:
        raise UserError(f"{field.title} is a landscape of 2 dimensions, not {rules.dimensions}; choose another one")
    if rules.variant == "attract" and rules.dynamic != "dynamic_2":
        raise UserError("variant 'attract' belongs to dynamic_2; choose 'paper' or 'released'")
    shape = (rules.particles, rules.dimensions)
    positions = generator(rules.seed, 0, 0, "start").uniform(-field.reach, field.reach, shape)
    return State(0, positions, positions, np.full(rules.particles, np.inf))


def play(rules: Rules, state: State) -> tuple[State, Round]:
    """Play one round.

    Returns:
        The state after it, and what happened.

    Raises:
        UserError: a particle is lost, far outside of the landscape.
    """
    number = state.round + 1
    with np.errstate(over="ignore", invalid="ignore"):  # told of below
        after = _train(rules, state.positions, number)
        losses = landscape(rules.landscape).value(after)
    better = losses < state.losses
    bests = np.where(better[:, None], after, state.bests)
    kept = np.where(better, losses, state.losses)
    orders = [_neighbourhood(rules, state.positions, after, particle) for particle in range(rules.particles)]
    chosen = [dynamics.best_of(order, -kept) for order in orders]
    with np.errstate(over="ignore", invalid="ignore"):  # told of below
        moved = np.array(
            [
                _move(rules, number, particle, state.positions, after, bests, order, best)
                for particle, (order, best) in enumerate(zip(orders, chosen, strict=True))
            ]
        )
    if not (np.abs(moved) < FAR * landscape(rules.landscape).reach).all():  # nor where a number is none
        raise UserError(f"the swarm flew apart in round {number}: lower the rate, M, c1 or c2, or start again")
    told = Round(number, state.positions, after, moved, bests, losses, tuple(map(tuple, orders)), tuple(chosen))
    return State(number, moved, bests, kept), told


def rates(rules: Rules, number: int) -> np.ndarray:
    """Return each particle's learning rate in a round (N,)."""
    if rules.rates == "equal":
        return np.full(rules.particles, rules.rate)
    found = rules.rate * np.array([SPREAD[particle % len(SPREAD)] for particle in range(rules.particles)])
    low, high = np.log10(WILD)
    found[-1] = rules.rate * 10 ** generator(rules.seed, number, rules.particles - 1, "rate").uniform(low, high)
    return found


def _train(rules: Rules, positions: np.ndarray, number: int) -> np.ndarray:
    """Descend: the training of a round."""
    gradient, rate, after = landscape(rules.landscape).gradient, rates(rules, number)[:, None], positions
    for _ in range(rules.steps):
        slope = gradient(after)
        length = np.linalg.norm(slope, axis=-1, keepdims=True)
        after = after - rate * slope * (LONGEST_STEP / np.maximum(length, LONGEST_STEP))
    return after


def _neighbourhood(rules: Rules, before: np.ndarray, after: np.ndarray, particle: int) -> list[int]:
    if rules.dynamic == "none":
        return [particle]
    where = after if dynamics.measured_on(rules.variant) == "after" else before
    distances = np.linalg.norm(where - where[particle], axis=-1)
    # Only those within reach of the farthest neighbour are looked at in order. The particle goes first: another one at
    # the same place would else be taken for it.
    reach = np.partition(distances, rules.nearest)[rules.nearest]
    others = [particle, *(other for other in np.flatnonzero(distances <= reach).tolist() if other != particle)]
    return [others[index] for index in dynamics.nearest(distances[others].tolist(), rules.nearest)]


def _move(
    rules: Rules,
    number: int,
    particle: int,
    before: np.ndarray,
    after: np.ndarray,
    bests: np.ndarray,
    order: list[int],
    chosen: int,
) -> np.ndarray:
    r1, r2 = draws(rules.seed, number, particle)
    own = before[particle], after[particle]
    neighbours = [Neighbour(before[other], after[other], rules.strength) for other in order[1:]]
    if rules.dynamic == "dynamic_1":
        options = {"c1": rules.c1, "c2": rules.c2, "r1": r1, "r2": r2, "beta": rules.beta, "variant": rules.variant}
        return dynamics.dynamic_1(*own, neighbours, bests[chosen], bests[particle], **options)
    if rules.dynamic == "dynamic_2":
        rate = float(rates(rules, number)[particle])
        options = {"learning_rate": rate, "c": rules.c2, "r": r2, "beta": rules.beta, "variant": rules.variant}
        return dynamics.dynamic_2(*own, neighbours, bests[chosen], **options)
    if rules.dynamic == "towards_best":
        return dynamics.towards_best(after[particle], bests[chosen], c2=rules.c2, r2=r2)
    if rules.dynamic == "average":
        return dynamics.average([after[other] for other in sorted(order)])
    return after[particle].copy()
