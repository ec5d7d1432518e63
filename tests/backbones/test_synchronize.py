"""Synchronised batch statistics reach every BatchNormalization."""

from __future__ import annotations

import keras

from keras_actrec import backbones
from keras_actrec.layers import TimeDistributed


def norms(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_every_layer_of_a_wrapped_backbone() -> None:
    backbone = backbones.build_frame_backbone("mobilenet_v2", 32)
    clip = keras.Input((2, 32, 32, 3))
    x = TimeDistributed(backbone)(clip)
    model = keras.Model(clip, keras.layers.BatchNormalization()(x))
    assert backbones.synchronize(model) == len(norms(backbone)) + 1 == 53
    assert all(layer.synchronized for layer in [*norms(backbone), *norms(model)])
    assert backbones.synchronize(model, enabled=False) == 53
    assert not any(layer.get_config()["synchronized"] for layer in [*norms(backbone), *norms(model)])


def test_a_network_without_batch_normalization() -> None:
    assert backbones.synchronize(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])) == 0
