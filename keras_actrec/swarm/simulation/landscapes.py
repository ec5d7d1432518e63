"""Landscapes with known minima: functions of points (..., D) and their gradients. NumPy only.

Definitions as in Jamil and Yang, "A literature survey of benchmark functions for global optimisation problems" (2013).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_actrec.errors import UserError, did_you_mean

Field = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Landscape:
    """A function to be minimised; its least value is 0.

    Attributes:
        title: for people.
        about: what makes it hard, one sentence.
        value: of points (..., D), an array (...).
        gradient: at points (..., D), an array (..., D).
        reach: points are looked for in [-reach, reach] in each direction.
        minima: the lowest points in two dimensions.
        only_plane: whether it is defined for D = 2 alone.
    """

    title: str
    about: str
    value: Field
    gradient: Field
    reach: float
    minima: tuple[tuple[float, float], ...]
    only_plane: bool = False


def landscape(name: str) -> Landscape:
    """Return a landscape.

    Raises:
        UserError: there is none of that name.
    """
    if name not in LANDSCAPES:
        raise UserError(
            f"expected a landscape out of {', '.join(LANDSCAPES)}, got {name!r}.{did_you_mean(name, list(LANDSCAPES))}"
        )
    return LANDSCAPES[name]


def _sphere(x: np.ndarray) -> np.ndarray:
    return np.sum(x * x, axis=-1)


def _sphere_gradient(x: np.ndarray) -> np.ndarray:
    return 2 * x


def _rosenbrock(x: np.ndarray) -> np.ndarray:
    here, there = x[..., :-1], x[..., 1:]
    return np.sum(100 * (there - here**2) ** 2 + (1 - here) ** 2, axis=-1)


def _rosenbrock_gradient(x: np.ndarray) -> np.ndarray:
    here, there = x[..., :-1], x[..., 1:]
    found = np.zeros_like(x)
    found[..., :-1] = -400 * here * (there - here**2) - 2 * (1 - here)
    found[..., 1:] += 200 * (there - here**2)
    return found


def _rastrigin(x: np.ndarray) -> np.ndarray:
    return np.sum(x * x + 10 * (1 - np.cos(2 * np.pi * x)), axis=-1)


def _rastrigin_gradient(x: np.ndarray) -> np.ndarray:
    return 2 * x + 20 * np.pi * np.sin(2 * np.pi * x)


def _ackley(x: np.ndarray) -> np.ndarray:
    bowl = np.sqrt(np.mean(x * x, axis=-1))
    waves = np.mean(np.cos(2 * np.pi * x), axis=-1)
    return 20 * (1 - np.exp(-0.2 * bowl)) + np.e - np.exp(waves)


def _ackley_gradient(x: np.ndarray) -> np.ndarray:
    size = x.shape[-1]
    bowl = np.sqrt(np.mean(x * x, axis=-1, keepdims=True))
    waves = np.mean(np.cos(2 * np.pi * x), axis=-1, keepdims=True)
    down = np.divide(x, size * bowl, out=np.zeros_like(x), where=bowl > 0)  # a kink at its minimum
    return 4 * np.exp(-0.2 * bowl) * down + np.exp(waves) * 2 * np.pi * np.sin(2 * np.pi * x) / size


def _himmelblau(x: np.ndarray) -> np.ndarray:
    a, b = x[..., 0], x[..., 1]
    return (a * a + b - 11) ** 2 + (a + b * b - 7) ** 2


def _himmelblau_gradient(x: np.ndarray) -> np.ndarray:
    a, b = x[..., 0], x[..., 1]
    one, other = a * a + b - 11, a + b * b - 7
    return np.stack([4 * a * one + 2 * other, 2 * one + 4 * b * other], axis=-1)


LANDSCAPES = {
    "sphere": Landscape(
        "Sphere", "One bowl: whoever goes downhill arrives.", _sphere, _sphere_gradient, 4.0, ((0.0, 0.0),)
    ),
    "rosenbrock": Landscape(
        "Rosenbrock",
        "A curved valley: easy to fall into, slow to walk along.",
        _rosenbrock,
        _rosenbrock_gradient,
        2.5,
        ((1.0, 1.0),),
    ),
    "rastrigin": Landscape(
        "Rastrigin",
        "A bowl full of dents, each of them a trap.",
        _rastrigin,
        _rastrigin_gradient,
        5.12,
        ((0.0, 0.0),),
    ),
    "ackley": Landscape(
        "Ackley",
        "A wavy plain with one funnel: far away the slope says nothing about where it is.",
        _ackley,
        _ackley_gradient,
        6.0,
        ((0.0, 0.0),),
    ),
    "himmelblau": Landscape(
        "Himmelblau",
        "Four equally deep valleys: a swarm may agree on one, or settle in several.",
        _himmelblau,
        _himmelblau_gradient,
        5.0,
        ((3.0, 2.0), (-2.805118, 3.131312), (-3.779310, -3.283186), (3.584428, -1.848126)),
        only_plane=True,
    ),
}
