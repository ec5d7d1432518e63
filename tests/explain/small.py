"""Small networks whose explanations can be worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from keras_actrec.layers import PickFrame, TimeDistributed


def frame_network(frames: int = 4, size: int = 8, pick: bool = False, activation: str = "relu") -> keras.Model:
    """A convolution on each frame, averages over space, then over time, two classes."""
    keras.utils.set_random_seed(1)
    frame = keras.Input((size, size, 3))
    x = layers.Conv2D(5, 3, padding="same", activation=activation, name="conv")(frame)
    backbone = keras.Model(frame, layers.GlobalAveragePooling2D(name="pool")(x), name="backbone")
    clip = keras.Input((frames, size, size, 3), name="rgb")
    x = PickFrame(name="pick")(clip) if pick else clip
    x = TimeDistributed(backbone, name="frames")(x)
    x = layers.Lambda(lambda x: x[:, 0], name="first")(x) if pick else layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model([clip], layers.Dense(2, name="logits")(x), name="frame_network")


def clip_network(frames: int = 4, size: int = 8) -> keras.Model:
    """Two 3-D convolutions, the second of stride 2, normalisation, ReLU, average over the clip, two classes."""
    keras.utils.set_random_seed(2)
    clip = keras.Input((frames, size, size, 3), name="rgb")
    x = layers.Conv3D(4, 3, padding="same", activation="relu", name="conv1")(clip)
    x = layers.Conv3D(6, 3, padding="same", strides=2, name="conv2")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.GlobalAveragePooling3D(name="pool")(x)
    return keras.Model([clip], layers.Dense(2, name="logits")(x), name="clip_network")


def noise(model: keras.Model, seed: int = 0) -> np.ndarray:
    """A clip that fits a network."""
    return np.random.default_rng(seed).normal(size=model.input_shape[1:]).astype("float32")


def output_of(model: keras.Model, name: str, clip: np.ndarray) -> np.ndarray:
    """What a layer of the outermost graph gives for a clip (T, H, W, C)."""
    part = keras.Model(model.inputs, model.get_layer(name).output)
    return keras.ops.convert_to_numpy(part([clip[None]], training=False))[0]
