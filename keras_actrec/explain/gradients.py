"""Gradients of a function of tensors, on each backend of Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

Tensor = Any
Function = Callable[..., tuple[Tensor, Any]]
"""Maps tensors to a scalar and to anything else that is wanted of the same pass (a structure of tensors)."""


def value_and_gradients(
    function: Function, arguments: Sequence[np.ndarray]
) -> tuple[float, Any, tuple[np.ndarray, ...]]:
    """Run a function and differentiate its scalar by each argument.

    Args:
        function: see `Function`; run eagerly, so it may call layers whose methods are replaced.
        arguments: float arrays.

    Returns:
        The scalar, the rest as NumPy arrays, and one gradient float32 of each argument's shape (zeros where the
        scalar does not depend on it).
    """
    arrays = [np.asarray(argument, np.float32) for argument in arguments]
    value, rest, gradients = _BACKENDS[keras.backend.backend()](function, arrays)
    pairs = zip(arrays, gradients, strict=True)
    return float(_numpy(value)), keras.tree.map_structure(_numpy, rest), tuple(_gradient(*pair) for pair in pairs)


def _gradient(argument: np.ndarray, gradient: Tensor | None) -> np.ndarray:
    return np.zeros_like(argument) if gradient is None else _numpy(gradient)


def _numpy(tensor: Tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def _tensorflow(function: Function, arrays: Sequence[np.ndarray]) -> tuple[Tensor, Any, Sequence[Tensor | None]]:
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(array) for array in arrays]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for tensor in tensors:
            tape.watch(tensor)
        value, rest = function(*tensors)
    return value, rest, tape.gradient(value, tensors)


def _jax(function: Function, arrays: Sequence[np.ndarray]) -> tuple[Tensor, Any, Sequence[Tensor | None]]:
    import jax

    differentiate = jax.value_and_grad(function, argnums=tuple(range(len(arrays))), has_aux=True)
    (value, rest), gradients = differentiate(*map(jax.numpy.asarray, arrays))
    return value, rest, gradients


def _torch(function: Function, arrays: Sequence[np.ndarray]) -> tuple[Tensor, Any, Sequence[Tensor | None]]:
    import torch

    tensors = [keras.ops.convert_to_tensor(array).detach().requires_grad_() for array in arrays]
    with torch.enable_grad():
        value, rest = function(*tensors)
    if not value.requires_grad:
        return value, rest, [None] * len(tensors)
    return value, rest, torch.autograd.grad(value, tensors, allow_unused=True)


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
