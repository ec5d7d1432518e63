"""The code of a clip: the vector that a network's classifier sees, and by which metric learning compares clips."""

from __future__ import annotations

import keras

from keras_actrec.errors import UserError
from keras_actrec.models.joint import CLASSIFIER

CODE = "code"
MOMENTUM = 0.9
"""Of the moving statistics of standardised codes, as in the 3-D networks: an epoch of a small data set is short."""


def encoder_of(network: keras.Model) -> keras.Model:
    """Return the part of a network before its classifier: its inputs -> codes (B, D). Layers are shared.

    Raises:
        UserError: the network has no classifier, or classifies something else than one vector per clip.
    """
    return keras.Model(network.inputs, _code(network), name=f"{network.name}_encoder")


def with_code(network: keras.Model, width: int, normalize: bool = False, standardize: bool = False) -> keras.Model:
    """Return a network with a linear layer "code" before its classifier, which is new and frozen.

    The classifier is to be filled with the classes' centres (`as_classifier`), so that it finds the nearest one. A
    network that has a code of its own, such as MS3D, keeps it. Codes are in float32 whatever the precision, because
    distances between them are compared.

    Args:
        network: any architecture of the package, with one head.
        width: length of the code, D.
        normalize: bring codes to length 1.
        standardize: bring each number of the code to mean 0 and variance 1 over the batch, before that. What all codes
            have in common tells nothing, and takes long to unlearn where codes are compared by their products.

    Returns:
        The same inputs and layers up to the code; logits (B, K).

    Raises:
        UserError: as `encoder_of`.
    """
    code = _code(network)
    if not any(layer.name == CODE for layer in network.layers):
        code = keras.layers.Dense(width, dtype="float32", name=CODE)(code)
    if standardize:
        code = keras.layers.BatchNormalization(
            momentum=MOMENTUM, center=False, scale=False, dtype="float32", name="standard_code"
        )(code)
    if normalize:
        code = keras.layers.UnitNormalization(dtype="float32", name="unit_code")(code)
    classes = network.output.shape[-1]
    logits = keras.layers.Dense(classes, dtype="float32", trainable=False, name=CLASSIFIER)(code)
    return keras.Model(network.inputs, logits, name=network.name)


def _code(network: keras.Model) -> keras.KerasTensor:
    try:
        code = network.get_layer(CLASSIFIER).input
    except ValueError:
        raise UserError(
            f"'{network.name}' has no layer '{CLASSIFIER}', so that nothing tells where its code is."
        ) from None
    if len(code.shape) != 2:
        raise UserError(
            f"'{network.name}' classifies {code.shape[1:]} per clip, not one vector, so that it has no code. Metric "
            "learning (training.objective), a repository of actions (training.repository) and contrastive learning "
            "(training.semi_supervised.contrastive_weight) want a network with one, such as ms3d, c3d or "
            "convnet_transformer."
        )
    return code
