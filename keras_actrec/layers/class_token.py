"""The token that stands for the whole clip or frame: Dosovitskiy et al. 2021, Eq. 1."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_actrec.layers.folding import Tensor

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class ClassToken(keras.layers.Layer):
    """Puts one trained token before the others: (B, N, D) -> (B, N + 1, D). Weight: `token` (D,).

    Args:
        **kwargs: name, dtype and so on.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def build(self, input_shape: Shape) -> None:
        """Create the token."""
        start = keras.initializers.TruncatedNormal(stddev=0.02)
        self.token = self.add_weight(name="token", shape=(input_shape[-1],), initializer=start)

    def call(self, inputs: Tensor) -> Tensor:
        """Return the tokens behind the class token."""
        token = ops.broadcast_to(ops.cast(self.token, inputs.dtype), (ops.shape(inputs)[0], 1, inputs.shape[-1]))
        return ops.concatenate([token, inputs], axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with one token more."""
        batch, tokens, width = input_shape
        return (batch, None if tokens is None else tokens + 1, width)

    def count_flops(self, input_shapes: list[Shape], output_shapes: list[Shape]) -> int:
        """Return 0: nothing is computed."""
        return 0

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config()
