"""Give a 3-D network its weights: random, from ImageNet by inflation, or from a file of a 3-D or a 2-D network."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import keras
import numpy as np

from keras_actrec.backbones import pretrained
from keras_actrec.backbones.inflate import Inflation, inflate
from keras_actrec.errors import UserError

CLASSIFIER = "logits"
MODEL_SUFFIX = ".keras"
IMAGE_RANK, CLIP_RANK = 4, 5


def load(
    network: keras.Model,
    weights: str,
    how: Inflation = "mean",
    original: pretrained.Build | None = None,
    received: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Load weights into a 3-D network, in place.

    Args:
        network: (B, T, H, W, 3) -> logits.
        weights: "none"; "imagenet"; the path of a `.keras` file of a 3-D network, which is copied by layer name, or of
            a 2-D one, which is inflated; or of an `.h5` or `.weights.h5` file of the 2-D network without its top (or of
            this very network).
        how: of inflation.
        original: builds the 2-D network as keras.applications has it, with `weights` "imagenet" or None; None if there
            is no such thing.
        received: of inflation: which input channels of their 2-D twins layers see, where that is not all.

    Returns:
        The names of the layers that a 3-D `.keras` file had nothing for, and that keep their initial weights.

    Raises:
        UserError: when the weights cannot be had or do not fit; the message says what was tried and what to do.
    """
    if not weights.endswith(MODEL_SUFFIX):
        pretrained.load(network, weights, original, functools.partial(inflate, how=how, received=received))
        return ()
    source = pretrained.read_model(Path(weights))
    rank = len(source.inputs[0].shape)
    if rank == IMAGE_RANK:
        inflate(source, network, how, received)
        return ()
    if rank != CLIP_RANK:
        raise UserError(f"{weights} holds neither a network over clips nor one over images: its input has {rank} axes.")
    return copy_by_name(source, network)


def copy_by_name(source: keras.Model, network: keras.Model) -> tuple[str, ...]:
    """Copy the weights of every layer that both networks have, in place.

    The classifier, "logits", is left alone where its number of classes differs.

    Returns:
        The names of the layers that keep their weights.

    Raises:
        UserError: naming the layer, if one does not fit; or if the networks have no layer in common.
    """
    twins = {layer.name: layer for layer in source.layers if layer.weights}
    learned = [layer for layer in network.layers if layer.weights]
    shared = [layer for layer in learned if layer.name in twins and not _other_classes(twins[layer.name], layer)]
    if not shared:
        raise UserError(f"'{source.name}' has no layer of '{network.name}': expected weights of a network like it.")
    for layer in shared:
        _check_shapes(twins[layer.name], layer)
    for layer in shared:
        layer.set_weights(twins[layer.name].get_weights())
    return tuple(layer.name for layer in learned if layer not in shared)


def _other_classes(twin: keras.Layer, layer: keras.Layer) -> bool:
    return layer.name == CLASSIFIER and _shapes(twin)[0][-1] != _shapes(layer)[0][-1]


def _check_shapes(twin: keras.Layer, layer: keras.Layer) -> None:
    if _shapes(twin) != _shapes(layer):
        raise UserError(
            f"layer '{layer.name}' does not fit: expected weights {_shapes(layer)}, the file has {_shapes(twin)}; "
            "set the model's options as they were for the file."
        )


def _shapes(layer: keras.Layer) -> list[tuple[int, ...]]:
    return [tuple(np.shape(weight)) for weight in layer.get_weights()]
