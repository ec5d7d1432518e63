"""How the axes of a tensor change between PyTorch, which has channels first, and Keras, which has them last.

A layout is a function (array, place) -> array. One that does not apply to an array's axes returns it unchanged, and
the comparison of shapes, which knows the names on both sides, refuses it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Place:
    """A weight of a network.

    Attributes:
        path: such as "conv1_conv/kernel".
        shape: of the weight.
        network: that it belongs to.
        settings: of the folder that the tensor comes from.
    """

    path: str
    shape: tuple[int, ...]
    network: keras.Model
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


Layout = Callable[[np.ndarray, Place], np.ndarray]


def unchanged(array: np.ndarray, place: Place) -> np.ndarray:
    """Keep the axes: biases and normalisations."""
    return array


def convolution(array: np.ndarray, place: Place) -> np.ndarray:
    """Turn (out, in, *kernel) into (*kernel, in, out), for any number of kernel axes."""
    return array.transpose(*range(2, array.ndim), 1, 0) if array.ndim > 2 else array


def dense(array: np.ndarray, place: Place) -> np.ndarray:
    """Turn (out, in) into (in, out); a convolution whose kernel is 1 in each axis is such a matrix too."""
    if array.ndim > 2 and math.prod(array.shape[2:]) == 1:
        array = array.reshape(array.shape[:2])
    return array.T if array.ndim == 2 else array


def frame_convolution(array: np.ndarray, place: Place) -> np.ndarray:
    """Turn a convolution over single frames, (out, in, h, w), into (1, h, w, in, out)."""
    return convolution(array, place)[None] if array.ndim == 4 else array


def flat(array: np.ndarray, place: Place) -> np.ndarray:
    """Turn (1, ..., 1, D) into (D,)."""
    return array.reshape(-1) if array.ndim and array.size == array.shape[-1] else array


def rows(array: np.ndarray, place: Place) -> np.ndarray:
    """Turn a table (1, N, D) into (N, D)."""
    return array[0] if array.ndim == 3 and len(array) == 1 else array


def third(number: int) -> Layout:
    """Return the layout of one part of a linear layer that gives queries, keys and values at once.

    Args:
        number: 0 the queries, 1 the keys, 2 the values.
    """

    def part(array: np.ndarray, place: Place) -> np.ndarray:
        if not array.ndim or array.shape[0] % 3:
            return array
        return dense(np.split(array, 3)[number], place)

    return part


def dense_after(map_layer: str) -> Layout:
    """Return the layout of a dense layer that sees a flattened map.

    PyTorch flattens (C, T, H, W) and Keras (T, H, W, C): the rows of the matrix stand in another order.

    Args:
        map_layer: name of the layer whose output is flattened, which gives T, H, W and C.
    """

    def reordered(array: np.ndarray, place: Place) -> np.ndarray:
        *extent, channels = place.network.get_layer(map_layer).output.shape[1:]
        if array.ndim != 2 or array.shape[1] != channels * math.prod(extent):
            return dense(array, place)
        spread = array.reshape(array.shape[0], channels, *extent)
        return np.moveaxis(spread, (0, 1), (-1, -2)).reshape(-1, array.shape[0])

    return reordered
