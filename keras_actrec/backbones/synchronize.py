"""Batch statistics over all devices, which MirroredStrategy needs."""

from __future__ import annotations

import keras


def synchronize(model: keras.Layer, enabled: bool = True) -> int:
    """Turn synchronised statistics of every `BatchNormalization` inside a model on or off, in place.

    Under MirroredStrategy unsynchronised layers let the replicas' moving statistics drift apart, and the saved model
    predicts otherwise than the trained one. Call it before the first training step is traced. Only TensorFlow can load
    a model that was saved with the flag on, so turn it off before a model is kept.

    Args:
        model: any layer or model; nested models and wrapped layers are found too.
        enabled: the flag's new value.

    Returns:
        The number of layers that were set.
    """
    # A private method, but the one walk that also finds what wrappers and custom layers hold.
    found = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in found:
        layer.synchronized = enabled
    return len(found)
