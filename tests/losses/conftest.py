"""Values and gradients of losses on whichever backend Keras runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

Differentiate = Callable[[Callable[[Any], Any], np.ndarray], tuple[float, np.ndarray]]


@pytest.fixture
def differentiate() -> Differentiate:
    """Return a function (loss of codes, codes) -> (value, gradient), compiled with a batch of any size if it can be."""
    return {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[keras.backend.backend()]


def _tensorflow(loss: Callable[[Any], Any], codes: np.ndarray) -> tuple[float, np.ndarray]:
    import tensorflow as tf

    value, gradient = _compiled(loss, codes.shape[1], codes.dtype)(tf.constant(codes))
    return float(value), gradient.numpy()


@functools.lru_cache(4)
def _compiled(loss: Callable[[Any], Any], width: int, dtype: np.dtype) -> Callable[[Any], Any]:
    """Compile a loss of codes (N, width); one that is asked for again is not compiled again for as many rows."""
    import tensorflow as tf

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec((None, width), dtype)])
    def compiled(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x)
        return value, tape.gradient(value, x)

    return compiled


def _torch(loss: Callable[[Any], Any], codes: np.ndarray) -> tuple[float, np.ndarray]:
    import torch

    x = torch.tensor(codes, requires_grad=True, device=keras.ops.ones(1).device)
    value = loss(x)
    value.backward()
    return float(value), x.grad.cpu().numpy()


def _jax(loss: Callable[[Any], Any], codes: np.ndarray) -> tuple[float, np.ndarray]:
    import jax

    value, gradient = jax.jit(jax.value_and_grad(loss))(codes)
    return float(value), np.asarray(gradient)
