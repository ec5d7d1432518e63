"""Turn the weights of a 2-D network into those of its 3-D twin: Carreira and Zisserman 2017 (arXiv 1705.07750), Sec. 2.

A kernel (kh, kw, I, O) becomes (kt, kh, kw, I, O): "mean" repeats it kt times and divides it by kt, as I3D does;
"centre" puts it whole into the central frame and zeros elsewhere. A clip of one repeated frame then gives the 2-D
network's answer: always with "centre", and with "mean" wherever no convolution reaches beyond the clip's ends, or where
the clip is padded with its edge frames (`temporal_padding` "edge").

"first" is Eq. (4) of Man et al., "The Action Recognition with Multi-Clue Sparse 3-Dimensional Convolutional Networks":
slice d is alpha_d times the 2-D kernel, with alpha (2 kt - 1) / kt for the first slice and -1 / kt for the others. They
sum to (2 kt - 1) / kt - (kt - 1) / kt = 1, as those of "mean" and "centre" do, so that a repeated frame gives the same
answer on the same terms. Unlike them it tells what changes: with kt = 3 the kernel is twice that of the frame before
less the mean of all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import keras
import numpy as np

from keras_actrec.errors import UserError, did_you_mean

Inflation = Literal["mean", "centre", "first"]
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
    return (_shares(frames, how)[:, None, None, None, None] * kernel[None]).astype(kernel.dtype)


def _shares(frames: int, how: Inflation) -> np.ndarray:
    """Return the factor of each temporal slice, (frames,); they sum to 1."""
    even = np.full(frames, 1 / frames)
    if how == "mean":
        return even
    if how == "first":
        return 2 * (np.arange(frames) == 0) - even
    return (np.arange(frames) == frames // 2).astype(float)


def inflate(
    network_2d: keras.Model,
    network_3d: keras.Model,
    how: Inflation = "mean",
    received: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> None:
    """Fill the convolutions and batch normalisations of a 3-D network, in place, from the 2-D layers of the same names.

    The bias of a 2-D convolution `X_conv` goes into the moving mean of `X_bn` where the 3-D one has none, which changes
    no number. What else the 3-D network has (its classifier, non-local blocks) keeps its weights.

    Args:
        network_2d: what is inflated.
        network_3d: what is filled.
        how: kernels are inflated.
        received: for layers of the 3-D network that see only some of the input channels of their 2-D twins: layer name
            -> which ones, in the order in which the layer sees them.

    Raises:
        UserError: naming the layer, if the 2-D network lacks one or its shape does not fit.
    """
    twins = [
        (_twin(network_2d, layer), layer)
        for layer in network_3d.layers
        if isinstance(layer, CONVOLUTIONS_3D | keras.layers.BatchNormalization)
    ]
    # Everything is made before anything is assigned, so that a refusal leaves the network as it was.
    weights = [(layer, _inflated(network_2d, twin, layer, how, received.get(layer.name))) for twin, layer in twins]
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


def _inflated(
    network_2d: keras.Model, twin: keras.Layer, layer: keras.Layer, how: Inflation, received: np.ndarray | None
) -> list[np.ndarray]:
    if isinstance(layer, CONVOLUTIONS_3D):
        kernel, *bias = twin.get_weights()
        kernel = _cut(kernel, received, 2, layer.name)
        values = [inflate_kernel(kernel, layer.kernel_size[0], how), *(bias if layer.use_bias else ())]
    else:
        gamma, beta, mean, variance = twin.get_weights()
        values = [gamma, beta, mean - _lost_bias(network_2d, layer.name), variance]
        values = [_cut(value, received, 0, layer.name) for value in values]
    expected = [tuple(weight.shape) for weight in layer.weights]
    got = [value.shape for value in values]
    if got != expected:
        raise UserError(f"layer '{layer.name}' does not fit: expected weights {expected}, the 2-D ones give {got}.")
    return values


def _cut(weight: np.ndarray, received: np.ndarray | None, axis: int, name: str) -> np.ndarray:
    """Keep the channels on an axis that a layer receives; None: all of them."""
    if received is None:
        return weight
    if max(received) >= weight.shape[axis]:
        raise UserError(
            f"layer '{name}' does not fit: it receives channel {max(received)} of its twin's inputs, which has "
            f"{weight.shape[axis]}."
        )
    return np.take(weight, received, axis)


def _lost_bias(network_2d: keras.Model, name: str) -> np.ndarray | float:
    """Return the bias of the convolution before a batch normalisation of the 2-D network."""
    before = (layer for layer in network_2d.layers if layer.name == f"{name.removesuffix('_bn')}_conv")
    convolution = next((layer for layer in before if isinstance(layer, CONVOLUTIONS_2D)), None)
    return 0.0 if convolution is None or not convolution.use_bias else convolution.get_weights()[1]
