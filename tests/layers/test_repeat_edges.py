"""Padding of time with the first and the last frame."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_actrec.errors import UserError
from keras_actrec.layers import RepeatEdges


def test_edges_are_repeated() -> None:
    clip = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 2)).astype("float32")
    padded = keras.ops.convert_to_numpy(RepeatEdges(2)(clip))
    np.testing.assert_array_equal(padded, np.pad(clip, [(0, 0), (2, 2), (0, 0), (0, 0), (0, 0)], mode="edge"))


def test_no_frames_change_nothing() -> None:
    clip = np.ones((1, 3, 2), "float32")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(RepeatEdges(0)(clip)), clip)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(UserError, match="got -1"):
        RepeatEdges(-1)
