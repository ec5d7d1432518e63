"""One layer of a Vision Transformer's encoder, around any kind of attention."""

from __future__ import annotations

from typing import Any, Literal

import keras

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor

Shape = tuple[int | None, ...]
Norm = Literal["pre", "post"]
Activation = Literal["gelu", "gelu_tanh"]


@keras.saving.register_keras_serializable(package="keras_actrec")
class TransformerBlock(keras.layers.Layer):
    """Attention and a feed-forward network, each with a residual: (B, N, D) -> (B, N, D).

        pre:   x' = x + Attention(LN(x));   y = x' + FFN(LN(x'))       (Dosovitskiy et al. 2021, Eq. 2 and 3)
        post:  x' = LN(x + Attention(x));   y = LN(x' + FFN(x'))       (Vaswani et al. 2017; CTN, Eq. 4.1 and 4.2)
        FFN(x) = W_2 gelu(W_1 x)

    Sub-layers: `attention_norm`, the attention under its own name, `dense_norm`, `expand`, `project`.

    Args:
        attention: a layer (B, N, D) -> (B, N, D), not built yet.
        dense_dim: width of the feed-forward network.
        norm: "pre" or "post".
        activation: "gelu", or "gelu_tanh", its approximation by a hyperbolic tangent.
        dropout: share of each sub-layer's output, and of the hidden layer's, that is dropped.
        drop_path: probability with which a whole sub-layer is left out for a clip (stochastic depth).
        epsilon: added to the variance in both normalisations.
        rematerialize: in training, keep the block's input alone and compute what lies within again for the gradient:
            about a third more work for far less memory. Not together with dropout, whose second draw would differ.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: a number is out of range, or dropout is to be rematerialised.
    """

    def __init__(
        self,
        attention: keras.Layer,
        dense_dim: int,
        norm: Norm = "pre",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        epsilon: float = 1e-6,
        rematerialize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if dense_dim < 1 or norm not in ("pre", "post"):
            raise UserError(f"a block needs a dense_dim of at least 1 and norm pre or post, got {dense_dim}, {norm}.")
        if activation not in ("gelu", "gelu_tanh"):
            raise UserError(f"activation of a block must be gelu or gelu_tanh, got {activation}.")
        if rematerialize and (dropout or drop_path or getattr(attention, "dropout", 0)):
            raise UserError("a block that is rematerialised cannot drop: set dropout and drop_path to 0.")
        self.attention, self.dense_dim, self.norm, self.activation = attention, dense_dim, norm, activation
        self.dropout, self.drop_path, self.epsilon = dropout, drop_path, epsilon
        self.rematerialize = rematerialize

    def build(self, input_shape: Shape) -> None:
        """Create the sub-layers for inputs of width D."""
        width, shared = input_shape[-1], {"dtype": self.dtype_policy}
        whole_clip = (None, *(1 for _ in input_shape[1:]))
        self.attention_norm = keras.layers.LayerNormalization(epsilon=self.epsilon, name="attention_norm", **shared)
        self.dense_norm = keras.layers.LayerNormalization(epsilon=self.epsilon, name="dense_norm", **shared)
        self.expand = keras.layers.Dense(self.dense_dim, activation=self._gelu, name="expand", **shared)
        self.project = keras.layers.Dense(width, name="project", **shared)
        self.drop_hidden, self.drop_attention, self.drop_dense = (
            keras.layers.Dropout(self.dropout, name=name, **shared)
            for name in ("drop_hidden", "drop_attention", "drop_dense")
        )
        self.skip_attention, self.skip_dense = (
            keras.layers.Dropout(self.drop_path, noise_shape=whole_clip, name=name, **shared)
            for name in ("skip_attention", "skip_dense")
        )
        for layer in (self.attention, self.attention_norm, self.dense_norm, self.expand):
            layer.build(input_shape)
        self.project.build((*input_shape[:-1], self.dense_dim))

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Encode (B, N, D).

        Args:
            inputs: (B, N, D).
            training: whether dropout is active.
        """
        if self.rematerialize and training:
            return keras.remat(lambda x: self._encode(x, training))(inputs)
        return self._encode(inputs, training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("dense_dim", "norm", "activation", "dropout", "drop_path", "epsilon", "rematerialize")
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), "attention": keras.saving.serialize_keras_object(self.attention), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TransformerBlock:
        """Rebuild the block and the layers that it was given."""
        given = {name: value for name, value in config.items() if isinstance(value, dict) and "class_name" in value}
        return cls(**{**config, **{name: _rebuilt(value) for name, value in given.items() if name != "dtype"}})

    def _gelu(self, x: Tensor) -> Tensor:
        return keras.activations.gelu(x, approximate=self.activation == "gelu_tanh")

    def _encode(self, x: Tensor, training: bool | None) -> Tensor:
        if self.norm == "pre":
            x = x + self._attend(self.attention_norm(x), training)
            return x + self._think(self.dense_norm(x), training)
        x = self.attention_norm(x + self._attend(x, training))
        return self.dense_norm(x + self._think(x, training))

    def _attend(self, x: Tensor, training: bool | None) -> Tensor:
        attended = self.drop_attention(self.attention(x, training=training), training=training)
        return self.skip_attention(attended, training=training)

    def _think(self, x: Tensor, training: bool | None) -> Tensor:
        hidden = self.drop_hidden(self.expand(x), training=training)
        return self.skip_dense(self.drop_dense(self.project(hidden), training=training), training=training)


def _rebuilt(layer: dict[str, Any]) -> keras.Layer:
    # Without its own build config the layer is built by the block, and its weights bear the block's name.
    return keras.saving.deserialize_keras_object({key: value for key, value in layer.items() if key != "build_config"})
