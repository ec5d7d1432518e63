"""Keep one frame of a clip, for models that must not see motion."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_actrec.layers.folding import Tensor, fold_time

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class PickFrame(keras.layers.Layer):
    """Keeps a random frame of each clip in training, the middle one (T // 2) in inference: (B, T, ...) -> (B, 1, ...).

    The time axis stays, so that the layer may stand before or after anything that treats frames one by one.

    Args:
        seed: of the random choice; None draws one from the global generator (`keras.utils.set_random_seed`).
        **kwargs: name, dtype and so on.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Return one frame of each clip."""
        batch, frames = ops.shape(inputs)[:2]
        if not training:
            middle = frames // 2
            return inputs[:, middle : middle + 1]
        chosen = keras.random.randint((batch,), 0, frames, dtype="int32", seed=self.generator)
        rows = ops.arange(batch, dtype="int32") * frames + chosen
        return ops.expand_dims(ops.take(fold_time(inputs), rows, axis=0), axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with one frame."""
        return (input_shape[0], 1, *input_shape[2:])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "seed": self.seed}
