"""Landscapes: their values and minima as published, their gradients as differences say."""

from __future__ import annotations

import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.swarm.simulation.landscapes import LANDSCAPES, landscape

each = pytest.mark.parametrize("name", LANDSCAPES)


@each
def test_minima_are_lowest_and_flat(name: str) -> None:
    field = landscape(name)
    points = np.array(field.minima)
    assert field.value(points) == pytest.approx(0, abs=1e-9)
    assert field.gradient(points) == pytest.approx(0, abs=1e-3)
    around = np.random.default_rng(0).uniform(-field.reach, field.reach, (5000, 2))
    assert field.value(around).min() > 0
    assert (np.abs(points) < field.reach).all()


@each
def test_gradients_are_those_of_the_values(name: str) -> None:
    field = landscape(name)
    sizes = (2,) if field.only_plane else (2, 7)
    for size in sizes:
        points = np.random.default_rng(1).uniform(-field.reach, field.reach, (20, size))
        steps = 1e-6 * np.eye(size)
        rises = [(field.value(points + step) - field.value(points - step)) / 2e-6 for step in steps]
        assert field.gradient(points) == pytest.approx(np.stack(rises, axis=-1), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "point", "value"),
    [
        ("sphere", (1.0, -2.0), 5.0),
        ("rosenbrock", (0.0, 0.0), 1.0),
        ("rosenbrock", (-1.0, 1.0), 4.0),
        ("rastrigin", (1.0, 1.0), 2.0),
        ("rastrigin", (0.5, 0.0), 20.25),
        ("ackley", (1.0, 1.0), 20 * (1 - np.exp(-0.2))),
        ("himmelblau", (0.0, 0.0), 170.0),
    ],
)
def test_worked_values(name: str, point: tuple[float, float], value: float) -> None:
    assert landscape(name).value(np.array(point)) == pytest.approx(value)


def test_many_dimensions_are_a_sum_or_a_mean() -> None:
    point = np.array([0.3, -1.2, 2.0])
    assert landscape("rastrigin").value(point) == pytest.approx(
        sum(x * x + 10 - 10 * np.cos(2 * np.pi * x) for x in point)
    )
    pairs = [(0.3, -1.2), (-1.2, 2.0)]
    assert landscape("rosenbrock").value(point) == pytest.approx(
        sum(landscape("rosenbrock").value(np.array(p)) for p in pairs)
    )


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="rastrigin"):
        landscape("rastrign")
