"""EfficientNet with its input normalisation as a constant.

In keras.applications the mean and variance of the input are weights of a `Normalization` layer, with two traps. They
take effect only when Keras' own loader puts them there: assigning them (`set_weights`, a safetensors checkpoint,
weights of a neighbour in a swarm) leaves the layer at mean 0 and variance 1, silently. And the graph differs with the
argument `weights`: only "imagenet" adds a second rescaling, because the published variance is a standard deviation.
Here both are constants of one graph, equal in numbers to the ImageNet original.
"""

from __future__ import annotations

import keras
import numpy as np

from keras_actrec.errors import UserError

MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)


def with_constant_input(original: keras.Model) -> keras.Model:
    """Return a copy of the graph, with new weights, whose `Normalization` holds ImageNet's mean and variance."""
    return keras.models.clone_model(original, clone_function=_clone)


def copy_weights(original: keras.Model, network: keras.Model) -> None:
    """Copy every weight of an original that was trained on ImageNet-normalised input into its constant-input twin."""
    mean = next(np.array(layer.mean) for layer in original.layers if isinstance(layer, keras.layers.Normalization))
    if not np.allclose(mean.reshape(-1), MEAN, atol=1e-3):
        raise UserError(
            f"these weights of '{network.name}' were trained on another input: their mean is {mean.reshape(-1)}, "
            f"expected ImageNet's {MEAN}."
        )
    for source, target in zip(_learned(original), _learned(network), strict=True):
        target.set_weights(source.get_weights())


def _clone(layer: keras.Layer) -> keras.Layer:
    if not isinstance(layer, keras.layers.Normalization):
        return layer.__class__.from_config(layer.get_config())
    variance = tuple(deviation**2 for deviation in STANDARD_DEVIATION)
    return keras.layers.Normalization(axis=-1, mean=MEAN, variance=variance, name="normalization")


def _learned(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if layer.weights and not isinstance(layer, keras.layers.Normalization)]
