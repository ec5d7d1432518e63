"""Apply a layer to every frame at once, by folding the time axis into the batch.

Keras' own `TimeDistributed` unrolls a static time axis in Python, so that a backbone is traced once per frame. Folding
traces it once: (B, T, ...) becomes (B*T, ...), the layer runs, and the result is unfolded again.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_actrec.layers.folding import Tensor, fold_time, unfold_time

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="keras_actrec")
class TimeDistributed(keras.layers.Wrapper):
    """Wraps a layer or model so that it is applied to each time step: (B, T, ...) -> (B, T, ...).

    In inference the numbers are those of `keras.layers.TimeDistributed`. In training they can differ where the wrapped
    layer looks at its batch or draws random numbers: `BatchNormalization` takes its statistics over all B*T frames at
    once and moves its averages once per call (Keras: over B frames, T times per call), and `Dropout` draws one mask
    for all frames (same distribution, other numbers). The wrapped layer may also return a structure of tensors, and
    runs under its own dtype policy.

    A mask (B, T, ...) reaches a layer whose `call` takes one as (B*T, ...), and is handed on to the next layer as it
    came. Layers that keep a state from batch to batch cannot be folded.

    Args:
        layer: the layer or model; its input is (B*T, ...).
        **kwargs: name, dtype and so on, as for any layer.

    Raises:
        ValueError: if `layer` is no layer, or keeps a state between batches.
    """

    def __init__(self, layer: keras.Layer, **kwargs: Any) -> None:
        if not isinstance(layer, keras.Layer):
            raise ValueError(f"TimeDistributed wraps a layer or a model, got {layer!r}.")
        if getattr(layer, "stateful", False):
            raise ValueError(f"TimeDistributed folds time into the batch, so '{layer.name}' cannot be stateful.")
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Build the wrapped layer for (B*T, ...)."""
        super().build(_folded(input_shape))

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        """Map (B, T, ...) to (B, T, ...).

        Args:
            inputs: (B, T, ...); either size may be unknown until the call.
            training: handed on to layers that take it.
            mask: bool (B, T, ...); handed on, folded, to layers that take one.
        """
        arguments: dict[str, Any] = {}
        if mask is not None:
            _check_mask(mask.shape, inputs.shape)
            if self.layer._call_has_mask_arg:
                arguments["mask"] = fold_time(mask)
        if self.layer._call_has_training_arg:
            arguments["training"] = training
        outputs = self.layer(fold_time(inputs), **arguments)
        return keras.tree.map_structure(lambda output: unfold_time(output, like=inputs), outputs)

    def compute_output_shape(self, input_shape: Shape) -> Any:
        """Return the wrapped layer's output shape with the time axis put back."""
        shapes = self.layer.compute_output_shape(_folded(input_shape))
        return keras.tree.map_shape_structure(lambda shape: (*input_shape[:2], *shape[1:]), shapes)


def _folded(shape: Shape) -> Shape:
    """(B, T, ...) -> (B*T, ...)."""
    if len(shape) < 3:
        raise ValueError(f"TimeDistributed expects an input of shape (batch, time, ...), got {tuple(shape)}.")
    batch, frames, *rest = shape
    return (None if batch is None or frames is None else batch * frames, *rest)


def _check_mask(mask: Shape, inputs: Shape) -> None:
    """Refuse a mask that does not begin with the batch and time of the inputs."""
    pairs = zip(mask[:2], inputs[:2], strict=False)
    if len(mask) < 2 or any(a is not None and b is not None and a != b for a, b in pairs):
        raise ValueError(f"the mask of TimeDistributed has shape {tuple(mask)}, expected {tuple(inputs[:2])} first.")
