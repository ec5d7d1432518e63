"""How the axes of a tensor change between PyTorch, which has channels first, and Keras, which has them last.

A layout is a function (array, place) -> array. One that does not apply to an array's axes returns it unchanged, and
the comparison of shapes, which knows the names on both sides, refuses it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Place:
    """A weight of a network.

    Attributes:
        path: such as "conv1_conv/kernel".
        shape: of the weight.
        network: that it belongs to.
    """

    path: str
    shape: tuple[int, ...]
    network: keras.Model


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
