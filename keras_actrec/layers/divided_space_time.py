"""Divided space-time attention: the encoder layer of TimeSformer (Bertasius et al. 2021, arXiv 2102.05095), Sec. 3."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.layers.folding import Tensor
from keras_actrec.layers.transformer_block import Activation, Shape, TransformerBlock


@keras.saving.register_keras_serializable(package="keras_actrec")
class DividedSpaceTimeBlock(TransformerBlock):
    """Lets tokens see their own place in all frames, then all places of their own frame: (B, 1 + T N, D), both ways.

    The tokens are a class token c and T frames of N places, the frames outermost. With x_tn a place's token:

        x_tn' = x_tn + W_t Attention_time(LN(x_1n), .., LN(x_Tn))_t
        [c_t; x_tn''] = [0; x_tn'] + Attention_space(LN(c), LN(x_t1'), .., LN(x_tN'));   c'' = c + mean_t c_t
        y = z + FFN(LN(z)), z = [c''; x'']

    The class token takes no part in the attention over time, and in that over space it stands in every frame.

    Sub-layers: `time_norm`, the attention over time under its own name, `time_dense` (W_t); and those of
    `TransformerBlock`, always with normalisation first.

    Args:
        time_attention: a layer (B, T, D) -> (B, T, D), not built yet, named otherwise than `attention`.
        attention: a layer (B, 1 + N, D) -> (B, 1 + N, D), not built yet.
        frames: T.
        dense_dim: width of the feed-forward network.
        without_time: start W_t at zero, so that the new block treats frames one by one, as the authors' does.
        activation, dropout, drop_path, epsilon, rematerialize: as those of `TransformerBlock`.
        **kwargs: name, dtype and so on.

    Raises:
        UserError: a number is out of range, or the tokens are not one more than whole frames.
    """

    def __init__(
        self,
        time_attention: keras.Layer,
        attention: keras.Layer,
        frames: int,
        dense_dim: int,
        without_time: bool = True,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        epsilon: float = 1e-6,
        rematerialize: bool = False,
        **kwargs: Any,
    ) -> None:
        shared = {"activation": activation, "dropout": dropout, "drop_path": drop_path, "epsilon": epsilon}
        super().__init__(attention, dense_dim, rematerialize=rematerialize, **shared, **kwargs)
        if frames < 1:
            raise UserError(f"frames of a divided space-time block must be at least 1, got {frames}.")
        if rematerialize and getattr(time_attention, "dropout", 0):
            raise UserError("a block that is rematerialised cannot drop: set the dropout of time_attention to 0.")
        self.time_attention, self.frames, self.without_time = time_attention, frames, without_time

    def build(self, input_shape: Shape) -> None:
        """Create the sub-layers for inputs of width D."""
        batch, tokens, width = input_shape
        if tokens is None or (tokens - 1) % self.frames or tokens < 1 + self.frames:
            raise UserError(f"expected a class token and {self.frames} frames of N tokens each, got {tokens} tokens.")
        self.places = (tokens - 1) // self.frames
        shared = {"dtype": self.dtype_policy}
        start = "zeros" if self.without_time else "glorot_uniform"
        self.time_norm = keras.layers.LayerNormalization(epsilon=self.epsilon, name="time_norm", **shared)
        self.time_dense = keras.layers.Dense(width, kernel_initializer=start, name="time_dense", **shared)
        self.skip_time = keras.layers.Dropout(self.drop_path, noise_shape=(None, 1, 1), name="skip_time", **shared)
        self.drop_time = keras.layers.Dropout(self.dropout, name="drop_time", **shared)
        for layer in (self.time_attention, self.time_norm, self.time_dense):
            layer.build((batch, self.frames, width))
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = super().get_config()
        del config["norm"]
        own = {"frames": self.frames, "without_time": self.without_time}
        return {**config, "time_attention": keras.saving.serialize_keras_object(self.time_attention), **own}

    def _encode(self, x: Tensor, training: bool | None) -> Tensor:
        token, places = ops.split(x, [1], axis=1)
        places = places + self._attend_over_time(places, training)
        gathered = self._attend_over_space(token, places, training)
        x = ops.concatenate([token, places], axis=1) + gathered
        return x + self._think(self.dense_norm(x), training)

    def _attend_over_time(self, x: Tensor, training: bool | None) -> Tensor:
        """(B, T N, D) -> (B, T N, D)."""
        width = x.shape[-1]
        rows = ops.reshape(self._swapped(x, self.frames, self.places), (-1, self.frames, width))
        rows = self.drop_time(self.time_attention(self.time_norm(rows), training=training), training=training)
        rows = self.time_dense(ops.reshape(rows, (-1, self.places * self.frames, width)))
        return self.skip_time(self._swapped(rows, self.places, self.frames), training=training)

    def _attend_over_space(self, token: Tensor, places: Tensor, training: bool | None) -> Tensor:
        """What (B, 1, D) and (B, T N, D) gather: (B, 1 + T N, D)."""
        width = places.shape[-1]
        frames = ops.reshape(places, (-1, self.places, width))
        rows = ops.concatenate([ops.repeat(token, self.frames, axis=0), frames], axis=1)
        rows = self.drop_attention(self.attention(self.attention_norm(rows), training=training), training=training)
        rows = ops.reshape(rows, (-1, self.frames, 1 + self.places, width))
        # A split, not slices: gradients of slices are padded with zeros and then added up.
        of_token, of_places = ops.split(rows, [1], axis=2)
        of_places = ops.reshape(of_places, (-1, self.frames * self.places, width))
        gathered = ops.concatenate([ops.mean(of_token, axis=1), of_places], axis=1)
        return self.skip_attention(gathered, training=training)

    def _swapped(self, x: Tensor, outer: int, inner: int) -> Tensor:
        """(B, outer inner, D) -> (B, inner outer, D)."""
        width = x.shape[-1]
        grid = ops.transpose(ops.reshape(x, (-1, outer, inner, width)), (0, 2, 1, 3))
        return ops.reshape(grid, (-1, inner * outer, width))
