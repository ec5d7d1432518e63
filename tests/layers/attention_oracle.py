"""Attention, layer normalisation and GELU written out in NumPy, number by number, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def array(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x).astype("float64")


def randomize(layer: keras.Layer, seed: int = 2, scale: float = 0.4) -> None:
    """Give every weight of a built layer a random value, biases and scales of normalisations included."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if weight.trainable:
            start = 1.0 if weight.path.endswith("gamma") else 0.0
            weight.assign(start + rng.normal(scale=scale, size=weight.shape))


def apply_dense(layer: keras.layers.Dense, x: np.ndarray) -> np.ndarray:
    """Matrix product and bias, without the activation."""
    y = x @ array(layer.kernel)
    return y if layer.bias is None else y + array(layer.bias)


def scores_of(layer: Any, tokens: np.ndarray, change: Callable[[float, int, int], float] | None = None) -> np.ndarray:
    """Softmax of the scores of one clip (N, D), head by head and pair by pair: (h, N, N)."""
    heads, width = layer.num_heads, layer.width_of_head
    query, key = apply_dense(layer.query, tokens), apply_dense(layer.key, tokens)
    count = len(tokens)
    scores = np.zeros((heads, count, count))
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(count):
            row = [sum(a * b for a, b in zip(query[i, part], key[j, part], strict=True)) for j in range(count)]
            row = [score / math.sqrt(width) for score in row]
            row = [change(score, i, j) for j, score in enumerate(row)] if change else row
            weights = [math.exp(score - max(row)) for score in row]
            scores[head, i] = np.array(weights) / sum(weights)
    return scores


def attend(layer: Any, tokens: np.ndarray, change: Callable[[float, int, int], float] | None = None) -> np.ndarray:
    """Self-attention of one clip (N, D) -> (N, D)."""
    scores, value = scores_of(layer, tokens, change), apply_dense(layer.value, tokens)
    width = layer.width_of_head
    heads = []
    for head, weights in enumerate(scores):
        part = value[:, head * width : (head + 1) * width]
        heads.append([sum(weight * row for weight, row in zip(line, part, strict=True)) for line in weights])
    return apply_dense(layer.output_projection, np.concatenate(heads, axis=-1))


def normalized(layer: keras.layers.LayerNormalization, x: np.ndarray) -> np.ndarray:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + layer.epsilon) * array(layer.gamma) + array(layer.beta)


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the probability that a standard normal variable is below x."""
    return x * np.vectorize(lambda value: 0.5 * (1 + math.erf(value / math.sqrt(2))))(x)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """Its approximation, Hendrycks and Gimpel 2016, Sec. 2."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def feed_forward(block: Any, x: np.ndarray) -> np.ndarray:
    hidden = apply_dense(block.expand, x)
    return apply_dense(block.project, (gelu_tanh if block.activation == "gelu_tanh" else gelu)(hidden))
