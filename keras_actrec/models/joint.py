"""Several heads on one body: networks for different class lists that share all layers before their classifiers.

Either each data set has a head, and a batch of its own (`with_shared_body`, `join`); or each clip has several labels,
such as a verb and a noun, and all heads look at the same clip (`with_heads`).

Tran et al., "Temporal Human Action Recognition" train one network on two data sets at once "by feeding the training
model two different batches of data and changing the last fully connected layer correspondingly" (Sec. 4.1.6). Any
architecture of the package can be joined, because its classifier is a dense layer named "logits" that nothing with
weights follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

CLASSIFIER = "logits"


def with_shared_body(networks: Sequence[keras.Model]) -> list[keras.Model]:
    """Return networks that share the first one's body and keep the classifiers of their own.

    Args:
        networks: the same architecture, with the same input, built for different numbers of classes.

    Returns:
        One network for each: its inputs and all layers before "logits" are those of the first, the classifier (and the
        layers without weights after it) its own. The first is returned as it is.

    Raises:
        ValueError: a network has no layer "logits", or its last layers are no chain.
    """
    first = networks[0]
    features = first.get_layer(CLASSIFIER).input
    return [first, *(_with_head(first, features, network, number) for number, network in enumerate(networks[1:], 2))]


def with_heads(network: keras.Model, classes: Mapping[str, int]) -> keras.Model:
    """Return a network that tells several things of a clip, each by a classifier of its own on the same features.

    Args:
        network: built for the first of them.
        classes: name of the head -> number of its classes.

    Returns:
        The same inputs and layers; outputs {name: logits (B, K of that name)}. The first head is the network's own, the
        classifiers of the others are called "logits_<name>" and start as the first one's would.

    Raises:
        ValueError: a layer is missing, as for `with_shared_body`.
    """
    first, *others = classes
    chain = _from_classifier(network)
    outputs = {first: network.output}
    for name in others:
        x = network.get_layer(CLASSIFIER).input
        for layer in chain:
            x = _like(layer, name, classes[name])(x)
        outputs[name] = x
    return keras.Model(network.inputs, outputs, name=network.name)


def join(networks: Mapping[str, keras.Model]) -> keras.Model:
    """Return one network with an input and an output for each of several that share layers.

    Each network is applied to its own batch, so that batch normalisation sees one data set at a time; its moving
    averages then follow them all.

    Args:
        networks: by the name of their data set.

    Returns:
        A model from {"<name>_<input>": (B, ...)} to {name: logits (B, K of that name)}.
    """
    inputs, outputs = [], {}
    for name, network in networks.items():
        own = [
            keras.Input(tensor.shape[1:], name=f"{name}_{tensor.name}", dtype=tensor.dtype) for tensor in network.inputs
        ]
        inputs.extend(own)
        outputs[name] = network(own if len(own) > 1 or isinstance(network.input, list) else own[0])
    return keras.Model(inputs, outputs, name="joint")


def _with_head(first: keras.Model, features: keras.KerasTensor, network: keras.Model, number: int) -> keras.Model:
    x = features
    for layer in _from_classifier(network):
        x = layer(x)
    return keras.Model(first.inputs, x, name=f"{first.name}_{number}")


def _like(layer: keras.Layer, head: str, classes: int) -> keras.Layer:
    """Return a new layer like one of a classifier's chain, for another head."""
    config = {**layer.get_config(), "name": f"{layer.name}_{head}"}
    if layer.name == CLASSIFIER:
        config["units"] = classes
    return type(layer).from_config(config)


def _from_classifier(network: keras.Model) -> list[keras.Layer]:
    """Return the classifier and what follows it, in the order of their application."""
    chain: list[keras.Layer] = []
    tensor = network.output
    while True:
        layer = tensor._keras_history.operation
        chain.append(layer)
        if layer.name == CLASSIFIER:
            return chain[::-1]
        if isinstance(layer, keras.layers.InputLayer) or not isinstance(layer.input, keras.KerasTensor):
            raise ValueError(f"'{network.name}' does not end in a layer '{CLASSIFIER}' and a chain of layers after it")
        tensor = layer.input
