"""Calls of layers with state as training calls them: compiled, and on JAX without side effects."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


def call(layer: keras.Layer, *inputs: np.ndarray, training: bool | None = True) -> Any:
    """Call a layer, keep its new state, and return what it gives as NumPy arrays."""
    run = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[keras.backend.backend()]
    return keras.tree.map_structure(keras.ops.convert_to_numpy, run(layer, inputs, training))


def _tensorflow(layer: keras.Layer, inputs: Sequence[np.ndarray], training: bool | None) -> Any:
    # Batches of any size, as at the end of an epoch.
    signature = tuple(((None, *array.shape[1:]), array.dtype) for array in inputs)
    return _function(layer, training, signature)(*inputs)


@functools.lru_cache(maxsize=8)
def _function(layer: keras.Layer, training: bool | None, signature: tuple[Any, ...]) -> Callable[..., Any]:
    import tensorflow as tf

    return tf.function(
        lambda *arrays: layer(*arrays, training=training),
        jit_compile=True,
        autograph=False,
        input_signature=[tf.TensorSpec(*one) for one in signature],
    )


def _torch(layer: keras.Layer, inputs: Sequence[np.ndarray], training: bool | None) -> Any:
    return layer(*map(keras.ops.convert_to_tensor, inputs), training=training)


def _jax(layer: keras.Layer, inputs: Sequence[np.ndarray], training: bool | None) -> Any:
    trainable, others = layer.trainable_variables, layer.non_trainable_variables
    arrays = [keras.ops.convert_to_tensor(array) for array in inputs]
    values = [variable.value for variable in trainable], [variable.value for variable in others]
    outputs, changed = _stateless(layer, training)(*values, arrays)
    for variable, value in zip(others, changed, strict=True):
        variable.assign(value)
    return outputs


@functools.lru_cache(maxsize=8)
def _stateless(layer: keras.Layer, training: bool | None) -> Callable[..., Any]:
    import jax

    return jax.jit(
        lambda trainable, others, arrays: layer.stateless_call(trainable, others, *arrays, training=training)
    )
