"""Positions against Eq. (8), worked out number by number."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import LearnedPosition, SinusoidalPosition


def numpy(x: object) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("width", [6, 5, 1])
def test_sines_and_cosines(width: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, width)).astype("float32")
    added = numpy(SinusoidalPosition()(x)) - x
    for position in range(4):
        for index in range(width):
            angle = position / 10000 ** (2 * (index // 2) / width)
            expected = math.cos(angle) if index % 2 else math.sin(angle)
            np.testing.assert_allclose(added[:, position, index], expected, atol=1e-5)


def test_first_position_is_zeros_and_ones() -> None:
    added = numpy(SinusoidalPosition()(np.zeros((1, 2, 4), "float32")))
    np.testing.assert_allclose(added[0, 0], [0, 1, 0, 1], atol=1e-7)
    np.testing.assert_allclose(added[0, 1], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)], atol=1e-6)


def test_late_positions_stay_exact_in_low_precision() -> None:
    zeros = np.zeros((1, 600, 8), "float32")
    low = numpy(keras.ops.cast(SinusoidalPosition(dtype="mixed_bfloat16")(zeros), "float32"))
    np.testing.assert_allclose(low, numpy(SinusoidalPosition()(zeros)), atol=0.01)


def test_sinusoidal_takes_any_number_of_frames() -> None:
    inputs = keras.Input((None, 6))
    model = keras.Model(inputs, SinusoidalPosition()(inputs))
    long, short = np.zeros((1, 7, 6), "float32"), np.zeros((1, 3, 6), "float32")
    np.testing.assert_allclose(model.predict(long, verbose=0)[:, :3], model.predict(short, verbose=0), atol=1e-6)


def test_learned_adds_its_table_and_takes_shorter_clips() -> None:
    layer = LearnedPosition(length=5)
    layer.build((None, 5, 3))
    table = np.arange(15, dtype="float32").reshape(5, 3)
    layer.table.assign(table)
    x = np.ones((2, 4, 3), "float32")
    np.testing.assert_array_equal(numpy(layer(x)), x + table[None, :4])


def test_learned_refuses_longer_clips() -> None:
    with pytest.raises(UserError, match="6 frames"):
        LearnedPosition(length=5)(np.ones((1, 6, 3), "float32"))


def test_a_built_table_refuses_longer_clips_too() -> None:
    layer = LearnedPosition(length=5)
    layer(np.ones((1, 5, 3), "float32"))
    with pytest.raises(UserError, match="6 frames"):
        layer(np.ones((1, 6, 3), "float32"))
