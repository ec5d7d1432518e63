"""Turn the weights of a 2-D network into those of its 3-D twin: Carreira and Zisserman 2017 (arXiv 1705.07750), Sec. 2.

A kernel (kh, kw, I, O) becomes (kt, kh, kw, I, O): "mean" repeats it kt times and divides it by kt, as I3D does;
"centre" puts it whole into the central frame and zeros elsewhere. A clip of one repeated frame then gives the 2-D
network's answer: always with "centre", and with "mean" wherever no convolution reaches beyond the clip's ends, or where
the clip is padded with its edge frames (`temporal_padding` "edge").
"""

from __future__ import annotations

from typing import Literal, get_args

import keras
import numpy as np

from keras_actrec.errors import UserError, did_you_mean

Inflation = Literal["mean", "centre"]
CONVOLUTIONS_2D = keras.layers.Conv2D
CONVOLUTIONS_3D = keras.layers.Conv3D


def inflate_kernel(kernel: np.ndarray, frames: int, how: Inflation = "mean") -> np.ndarray:
    """Give a kernel an axis of time: (kh, kw, I, O) -> (frames, kh, kw, I, O).

    Raises:
        UserError: for an unknown way, or no frames.
    """
    if how not in get_args(Inflation):
        raise UserError(f"kernels are not inflated by '{how}'.{did_you_mean(how, get_args(Inflation))}")
    if frames < 1:
        raise UserError(f"a kernel is inflated to at least 1 frame, got {frames}.")
    shares = np.full(frames, 1 / frames) if how == "mean" else np.arange(frames) == frames // 2
    return (shares[:, None, None, None, None] * kernel[None]).astype(kernel.dtype)


def inflate(network_2d: keras.Model, network_3d: keras.Model, how: Inflation = "mean") -> None:
    """Fill the convolutions and batch normalisations of a 3-D network, in place, from the 2-D layers of the same names.

    The bias of a 2-D convolution `X_conv` goes into the moving mean of `X_bn` where the 3-D one has none, which changes
    no number. What else the 3-D network has (its classifier, non-local blocks) keeps its weights.

    Raises:
        UserError: naming the layer, if the 2-D network lacks one or its shape does not fit.
    """
    twins = [
        (_twin(network_2d, layer), layer)
        for layer in network_3d.layers
        if isinstance(layer, CONVOLUTIONS_3D | keras.layers.BatchNormalization)
    ]
    # Everything is made before anything is assigned, so that a refusal leaves the network as it was.
    weights = [(layer, _inflated(network_2d, twin, layer, how)) for twin, layer in twins]
    for layer, values in weights:
        layer.set_weights(values)


def _twin(network_2d: keras.Model, layer: keras.Layer) -> keras.Layer:
    kind = CONVOLUTIONS_2D if isinstance(layer, CONVOLUTIONS_3D) else keras.layers.BatchNormalization
    found = next((twin for twin in network_2d.layers if twin.name == layer.name and isinstance(twin, kind)), None)
    if found is None:
        raise UserError(
            f"the 2-D network '{network_2d.name}' has no layer '{layer.name}' to inflate; give the weights of a "
            "network with the same layers (a ResNet-50 of keras.applications), or set weights: none."
        )
    return found


def _inflated(network_2d: keras.Model, twin: keras.Layer, layer: keras.Layer, how: Inflation) -> list[np.ndarray]:
    if isinstance(layer, CONVOLUTIONS_3D):
        kernel, *bias = twin.get_weights()
        values = [inflate_kernel(kernel, layer.kernel_size[0], how), *(bias if layer.use_bias else ())]
    else:
        gamma, beta, mean, variance = twin.get_weights()
        values = [gamma, beta, mean - _lost_bias(network_2d, layer.name), variance]
    expected = [tuple(weight.shape) for weight in layer.weights]
    got = [value.shape for value in values]
    if got != expected:
        raise UserError(f"layer '{layer.name}' does not fit: expected weights {expected}, the 2-D ones give {got}.")
    return values


def _lost_bias(network_2d: keras.Model, name: str) -> np.ndarray | float:
    """Return the bias of the convolution before a batch normalisation of the 2-D network."""
    convolution = next((layer for layer in network_2d.layers if layer.name == name.replace("_bn", "_conv")), None)
    return 0.0 if convolution is None or not convolution.use_bias else convolution.get_weights()[1]
