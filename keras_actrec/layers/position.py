"""Tell an attention layer the order of its frames: a position vector is added to each frame's features."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class SinusoidalPosition(keras.layers.Layer):
    """Adds sines and cosines of the position (Eq. 8 of the PSO-ConvNet Transformer): (B, T, D) -> (B, T, D).

    PE[pos, 2i] = sin(pos / base^(2i/D)), PE[pos, 2i+1] = cos(pos / base^(2i/D)). Has no weights, takes any T.

    Args:
        base: longest wavelength over 2 pi (paper: 10000).
        **kwargs: name, dtype and so on.
    """

    def __init__(self, base: float = 10000.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.base = base
        self.supports_masking = True

    def call(self, inputs: Tensor) -> Tensor:
        """Return the inputs plus their position vectors."""
        frames, width = ops.shape(inputs)[1], inputs.shape[2]
        rates = self.base ** (-2.0 * np.arange((width + 1) // 2) / width)
        # float32 whatever the policy: in float16 the angles of late positions would be off by radians.
        angles = ops.arange(frames, dtype="float32")[:, None] * ops.convert_to_tensor(rates[None], dtype="float32")
        pairs = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
        encoding = ops.reshape(pairs, (frames, -1))[:, :width]
        return inputs + ops.cast(encoding, inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "base": self.base}


@keras.saving.register_keras_serializable(package="keras_actrec")
class LearnedPosition(keras.layers.Layer):
    """Adds one trained vector per position: (B, T, D) -> (B, T, D), for T up to `length`.

    This is what the released code of the PSO-ConvNet Transformer does in place of its Eq. (8): length * D weights.

    Args:
        length: number of positions, the largest T.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: when it is called on more frames than `length`.
    """

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Create the table (length, D)."""
        self._check(input_shape[1])
        # The initial range of keras.layers.Embedding, which the released code uses.
        self.table = self.add_weight(name="table", shape=(self.length, input_shape[2]), initializer="random_uniform")

    def call(self, inputs: Tensor) -> Tensor:
        """Return the inputs plus their position vectors."""
        self._check(inputs.shape[1])
        return inputs + self.table[: ops.shape(inputs)[1]]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "length": self.length}

    def _check(self, frames: int | None) -> None:
        if frames is not None and frames > self.length:
            raise UserError(f"{frames} frames were given to positions made for {self.length}; raise `length`.")
