"""One layer of a Transformer encoder, as in the PSO-ConvNet Transformer (Sec. 2.2.2, Eq. 9 to 11)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class TransformerEncoder(keras.layers.Layer):
    """Self-attention and a feed-forward network, each followed by residual and normalisation: (B, T, D) -> (B, T, D).

        a = LayerNorm(x + MultiHead(x, x, x));  y = LayerNorm(a + W2 gelu(W1 a))

    Attention is Keras' `MultiHeadAttention`. With `attention_dropout` 0 it runs fused (flash attention where backend
    and device have it); with dropout Keras computes the scores one by one, in inference too.

    Args:
        num_heads: number of heads h.
        dense_dim: width of the feed-forward network.
        key_dim: width of each head's queries, keys and values; None takes D, as the released code does (the usual
            choice is D / h).
        attention_dropout: share of the attention weights that is dropped.
        dropout: share of each sub-layer's output that is dropped before the residual is added.
        epsilon: added to the variance in both normalisations.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: if a number is out of range.
    """

    def __init__(
        self,
        num_heads: int,
        dense_dim: int,
        key_dim: int | None = None,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        epsilon: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, number in (("num_heads", num_heads), ("dense_dim", dense_dim), ("key_dim", key_dim)):
            if number is not None and number < 1:
                raise UserError(f"{name} of a Transformer encoder must be at least 1, got {number}.")
        self.num_heads, self.dense_dim, self.key_dim = num_heads, dense_dim, key_dim
        self.attention_dropout, self.dropout, self.epsilon = attention_dropout, dropout, epsilon
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Create the sub-layers for inputs of width D."""
        width = input_shape[-1]
        shared = {"dtype": self.dtype_policy}
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads, self.key_dim or width, dropout=self.attention_dropout, name="attention", **shared
        )
        self.attention_norm = keras.layers.LayerNormalization(epsilon=self.epsilon, name="attention_norm", **shared)
        self.expand = keras.layers.Dense(self.dense_dim, activation="gelu", name="expand", **shared)
        self.project = keras.layers.Dense(width, name="project", **shared)
        self.output_norm = keras.layers.LayerNormalization(epsilon=self.epsilon, name="output_norm", **shared)
        self.drop_attention = keras.layers.Dropout(self.dropout, name="drop_attention", **shared)
        self.drop_project = keras.layers.Dropout(self.dropout, name="drop_project", **shared)
        self.attention.build(input_shape, input_shape)
        for layer in (self.attention_norm, self.expand, self.output_norm):
            layer.build(input_shape)
        self.project.build((*input_shape[:-1], self.dense_dim))

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        """Encode (B, T, D).

        Args:
            inputs: (B, T, D).
            training: whether dropout is active.
            mask: bool (B, T), False for frames that nobody may look at.
        """
        visible = None if mask is None else ops.expand_dims(mask, axis=1)
        attended = self.attention(inputs, inputs, attention_mask=visible, training=training)
        attended = self.attention_norm(inputs + self.drop_attention(attended, training=training))
        projected = self.project(self.expand(attended))
        return self.output_norm(attended + self.drop_project(projected, training=training))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("num_heads", "dense_dim", "key_dim", "attention_dropout", "dropout", "epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
