"""What one call of a layer or operation costs, from the shapes of its inputs, outputs and weights.

A multiplication and an addition count as two operations. Matrix products and convolutions are exact; cheap layers are
counted by element of their output: activation, scaling, residual addition 1, bias 1, batch normalisation 2 (its
statistics are constants in inference), softmax 3, layer and group normalisation 7, pooling one per element of its
window. Reshaping, padding, slicing, dropout in inference and element-wise arithmetic within the `call` of a custom
layer count nothing; the matrix products and convolutions of keras.ops count wherever they are called.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

Shape = tuple[int, ...]


@dataclasses.dataclass
class Call:
    """One call of a layer or operation while a model runs.

    Attributes:
        kind: name of its class or function, such as "Conv2D" or "matmul".
        operation: the layer or operation; None for a function.
        inputs, outputs: shapes of the tensors that went in and came out, the batch being 1 clip.
        children: calls within this one.
        arguments: for a function, its positional arguments.
    """

    kind: str
    operation: Any
    inputs: list[Shape]
    outputs: list[Shape] = dataclasses.field(default_factory=list)
    children: list[Call] = dataclasses.field(default_factory=list)
    arguments: tuple[Any, ...] = ()


def einsum_flops(equation: str, first: Shape, second: Shape) -> int:
    """Return 2 x the product of all distinct axes; axes under "..." are aligned at their end and broadcast."""
    sizes: dict[str, int] = {}
    for letters, shape in zip(equation.split("->")[0].replace(" ", "").split(","), (first, second), strict=True):
        named = len(letters.replace("...", ""))
        hidden = [f"...{index}" for index in range(len(shape) - named, 0, -1)]
        before, dots, after = letters.partition("...")
        axes = [*before, *hidden, *after] if dots else list(letters)
        for axis, size in zip(axes, shape, strict=True):
            sizes[axis] = max(size, sizes.get(axis, 1))
    return 2 * math.prod(sizes.values())


def attention_flops(query: Shape, value: Shape, axes: tuple[int, ...], heads: int, key: int, width: int) -> int:
    """Return the cost of scores, softmax and weighted sum, without the projections.

    Args:
        query: shape, the last axis being the width.
        value: likewise.
        axes: those that are attended over; all others but the last are treated one by one.
        heads: number of heads.
        key: width of a head's keys.
        width: width of a head's values.
    """
    queries, keys = (math.prod(shape[axis] for axis in axes) for shape in (query, value))
    scores = math.prod(query[:-1]) // queries * queries * keys * heads
    return scores * (2 * key + 2 * width + 3)


def _elements(each: int) -> Callable[[Call], int]:
    return lambda call: each * _size(call.outputs)


def _convolution(call: Call) -> int:
    kernel = call.operation.kernel.shape
    return 2 * math.prod(kernel) * _positions(call.outputs[0], call.operation.filters) + _finish(call)


def _transposed(call: Call) -> int:
    kernel = call.operation.kernel.shape
    return 2 * math.prod(kernel) * _positions(call.inputs[0], kernel[-1]) + _finish(call)


def _depthwise(call: Call) -> int:
    kernel = call.operation.kernel.shape
    return 2 * math.prod(kernel) * _positions(call.outputs[0], kernel[-1] * kernel[-2]) + _finish(call)


def _separable(call: Call) -> int:
    layer = call.operation
    weights = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
    return 2 * weights * _positions(call.outputs[0], layer.filters) + _finish(call)


def _dense(call: Call) -> int:
    return 2 * math.prod(call.operation.kernel.shape) * (_size(call.inputs) // call.inputs[0][-1]) + _finish(call)


def _einsum_dense(call: Call) -> int:
    layer = call.operation
    return einsum_flops(layer.equation, call.inputs[0], tuple(layer.kernel.shape)) + _finish(call)


def _multi_head(call: Call) -> int:
    layer, (query, value) = call.operation, call.inputs[:2]
    axes = tuple(layer.attention_axes or range(1, len(query) - 1))
    projections = sum(_einsum_dense(child) for child in call.children if child.kind == "EinsumDense")
    return projections + attention_flops(query, value, axes, layer.num_heads, layer.key_dim, layer.value_dim)


def _grouped_query(call: Call) -> int:
    layer, (query, value) = call.operation, call.inputs[:2]
    projections = sum(_einsum_dense(child) for child in call.children if child.kind == "EinsumDense")
    return projections + attention_flops(query, value, (1,), layer.num_query_heads, layer.head_dim, layer.head_dim)


def _attention(call: Call) -> int:
    query, value = call.inputs[:2]
    return attention_flops(query, value, (1,), 1, query[-1], value[-1])


def _dot_product_attention(call: Call) -> int:
    """`keras.ops.dot_product_attention`: (B, T, heads, width)."""
    query, key, value = call.inputs[:3]
    return query[0] * query[1] * query[2] * key[1] * (2 * key[3] + 2 * value[3] + 3)


def _recurrent(call: Call) -> int:
    batch, frames = call.inputs[0][:2]
    cells = getattr(call.operation.cell, "cells", [call.operation.cell])
    return batch * frames * sum(map(_cell, cells))


# Additions of both products and the bias, activations, and the products of gates, per unit and step.
_CELLS = {"SimpleRNNCell": 3, "GRUCell": 14, "LSTMCell": 17}


def _cell(cell: Any) -> int:
    if type(cell).__name__ not in _CELLS:
        raise LookupError(f"{cell.name} ({type(cell).__name__})")
    products = 2 * math.prod(cell.kernel.shape) + 2 * math.prod(cell.recurrent_kernel.shape)
    return products + _CELLS[type(cell).__name__] * cell.units


def _matmul(call: Call) -> int:
    return 2 * _size(call.outputs) * call.inputs[0][-1]


def _contraction(call: Call) -> int:
    """A product over shared axes without batch axes: size(a) x size(b) = size(out) x shared^2."""
    shared = math.isqrt(math.prod(call.inputs[0]) * math.prod(call.inputs[1]) // max(_size(call.outputs), 1))
    return 2 * _size(call.outputs) * shared


def _dot(call: Call) -> int:
    """The merging layer, or the operation of keras.ops that has the same name."""
    axes = getattr(call.operation, "axes", None)
    if axes is None:
        return _contraction(call)
    return 2 * _size(call.outputs) * call.inputs[0][axes if isinstance(axes, int) else axes[0]]


def _einsum(call: Call) -> int:
    equation = call.operation.subscripts if call.operation is not None else call.arguments[0]
    return einsum_flops(equation, *call.inputs[:2])


def _conv_function(call: Call) -> int:
    kernel = call.inputs[1]
    return 2 * math.prod(kernel) * _positions(call.outputs[0], kernel[-1])


def _transposed_function(call: Call) -> int:
    kernel = call.inputs[1]
    return 2 * math.prod(kernel) * _positions(call.inputs[0], kernel[-1])


def _depthwise_function(call: Call) -> int:
    kernel = call.inputs[1]
    return 2 * math.prod(kernel) * _positions(call.outputs[0], kernel[-1] * kernel[-2])


def _separable_function(call: Call) -> int:
    depthwise, pointwise = call.inputs[1:3]
    return 2 * (math.prod(depthwise) + math.prod(pointwise)) * _positions(call.outputs[0], pointwise[-1])


def _pooling(call: Call) -> int:
    return _size(call.outputs) * math.prod(call.operation.pool_size)


def _global_pooling(call: Call) -> int:
    return _size(call.inputs)


def _merge(call: Call) -> int:
    return _size(call.outputs) * max(len(call.inputs) - 1, 0)


def _nothing(call: Call) -> int:
    return 0


def _finish(call: Call) -> int:
    """Bias and activation of a layer that has them built in."""
    layer = call.operation
    biased = getattr(layer, "bias", None) is not None
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    each = int(biased) + {"linear": 0, "softmax": 3}.get(activation, 1)
    return each * _size(call.outputs)


def _positions(shape: Shape, channels: int) -> int:
    """Number of places (batch included) in a tensor, whichever axis the channels are."""
    return math.prod(shape) // channels


def _size(shapes: list[Shape]) -> int:
    return sum(map(math.prod, shapes))


_DIMENSIONS = ("1D", "2D", "3D")
RULES: dict[str, Callable[[Call], int]] = {
    **{f"Conv{rank}": _convolution for rank in _DIMENSIONS},
    **{f"Conv{rank}Transpose": _transposed for rank in _DIMENSIONS},
    **{f"DepthwiseConv{rank}": _depthwise for rank in _DIMENSIONS},
    **{f"SeparableConv{rank}": _separable for rank in _DIMENSIONS},
    **{f"{kind}Pooling{rank}": _pooling for kind in ("Max", "Average") for rank in _DIMENSIONS},
    **{f"Global{kind}Pooling{rank}": _global_pooling for kind in ("Max", "Average") for rank in _DIMENSIONS},
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), _merge),
    **dict.fromkeys(("Activation", "ReLU", "LeakyReLU", "ELU", "PReLU", "UnitNormalization"), _elements(1)),
    **dict.fromkeys(("Rescaling", "Normalization", "BatchNormalization"), _elements(2)),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization", "RMSNormalization"), _elements(7)),
    **dict.fromkeys(("Embedding", "Dropout"), _nothing),
    **dict.fromkeys(("GroupQueryAttention", "GroupedQueryAttention"), _grouped_query),
    **dict.fromkeys(("SimpleRNN", "GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(("Matmul", "matmul"), _matmul),
    **dict.fromkeys(("Einsum", "einsum"), _einsum),
    **dict.fromkeys(("Tensordot", "tensordot", "dot"), _contraction),
    **dict.fromkeys(("DotProductAttention", "dot_product_attention"), _dot_product_attention),
    **dict.fromkeys(("Conv", "conv"), _conv_function),
    **dict.fromkeys(("ConvTranspose", "conv_transpose"), _transposed_function),
    **dict.fromkeys(("DepthwiseConv", "depthwise_conv"), _depthwise_function),
    **dict.fromkeys(("SeparableConv", "separable_conv"), _separable_function),
    "Softmax": _elements(3),
    "MultiHeadAttention": _multi_head,
    "Dense": _dense,
    "EinsumDense": _einsum_dense,
    "Attention": _attention,
    "Dot": _dot,
    # Of this package: one addition per element.
    "LearnedPosition": _elements(1),
    "SinusoidalPosition": _elements(1),
}
_ATTENTION_AND_RECURRENCE = (
    "MultiHeadAttention",
    "GroupQueryAttention",
    "GroupedQueryAttention",
    "SimpleRNN",
    "GRU",
    "LSTM",
    "RNN",
)
# A convolution may run as one of fewer dimensions, by a call within it.
OPAQUE = frozenset({*_ATTENTION_AND_RECURRENCE, "MaxPooling3D", *(f"Conv{rank}" for rank in _DIMENSIONS)})
"""Kinds whose rule covers the calls within them."""
FUNCTIONS = (
    "matmul",
    "einsum",
    "dot",
    "tensordot",
    "conv",
    "conv_transpose",
    "depthwise_conv",
    "separable_conv",
    "dot_product_attention",
)
"""Functions of keras.ops that are counted when code calls them outside of Keras' own layers."""
