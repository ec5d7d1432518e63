"""Make one token of every two that follow each other: what RPE-STDT compares its Top-K pooling with (Table 3.4)."""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras
from keras import ops

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.layers.folding import Tensor

Shape = tuple[int | None, ...]
Pooling = Literal["max", "average", "convolution"]
POOLINGS: tuple[str, ...] = get_args(Pooling)


@keras.saving.register_keras_serializable(package="keras_actrec")
class HalveTime(keras.layers.Layer):
    """Halves the number of tokens: (B, N, D) -> (B, N / 2, D); a class token before them stays as it is.

    "max" and "average" have no weights; "convolution" is one over time of kernel and stride 2, with `kernel` (2, D, D)
    and `bias` (D,).

    Args:
        pooling: "max", "average" or "convolution".
        class_token: whether a class token stands before the tokens.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: an unknown pooling, or an odd number of tokens.
    """

    def __init__(self, pooling: Pooling, class_token: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise UserError(f"there is no pooling '{pooling}' over time.{did_you_mean(pooling, POOLINGS)}")
        self.pooling, self.class_token = pooling, class_token

    def build(self, input_shape: Shape) -> None:
        """Create the weights for inputs of width D, if there are any."""
        tokens, width = input_shape[1] - self.class_token, input_shape[2]
        if tokens % 2:
            raise UserError(f"an even number of tokens can be halved, not {tokens}.")
        if self.pooling == "convolution":
            self.kernel = self.add_weight(name="kernel", shape=(2, width, width), initializer="glorot_uniform")
            self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")

    def call(self, inputs: Tensor) -> Tensor:
        """Return half as many tokens."""
        first = int(self.class_token)
        _, tokens, width = inputs.shape
        pairs = ops.reshape(inputs[:, first:], (-1, (tokens - first) // 2, 2, width))
        return ops.concatenate([inputs[:, :first], self._joined(pairs)], axis=1) if first else self._joined(pairs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (B, N / 2, D)."""
        batch, tokens, width = input_shape
        return (batch, (tokens - self.class_token) // 2 + self.class_token, width)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "pooling": self.pooling, "class_token": self.class_token}

    def _joined(self, pairs: Tensor) -> Tensor:
        """(B, N / 2, 2, D) -> (B, N / 2, D)."""
        if self.pooling == "max":
            return ops.max(pairs, axis=2)
        if self.pooling == "average":
            return ops.mean(pairs, axis=2)
        _, tokens, _, width = pairs.shape
        flat = ops.reshape(pairs, (-1, tokens, 2 * width))
        return ops.matmul(flat, ops.reshape(self.kernel, (2 * width, width))) + self.bias
