"""A slow copy of a network, whose weights are the exponential moving average of the network's: a mean teacher.

Tarvainen & Valpola 2017 (arXiv 1703.01780), Sec. 2.
"""

from __future__ import annotations

import random
from typing import Any

import keras
from keras import ops

from keras_actrec.errors import UserError

Tensor = Any


class Teacher(keras.layers.Layer):
    """Answers as a network does whose weights follow those of another one slowly: w_t <- m w_t + (1 - m) w_s.

    All floating weights follow, moving statistics of batch normalisation as well; integers and the states of random
    generators do not. The copy infers only, its outputs have no gradient, and it stays frozen even when a model that
    holds it is thawed.

    The network itself is not a part of this layer: a model that trains it must hold it elsewhere. With several devices
    on TensorFlow, build the layer inside of the strategy's scope; each device moves its own copy by its own copy of
    the network, which are the same on all of them.

    Attributes:
        copy: the slow network.
        momentum: m.

    Args:
        network: a functional or sequential network with its weights.
        momentum: m, from 0 (the copy is the network as it was at the last call in training) to below 1.
        **kwargs: name and so on.

    Raises:
        UserError: the momentum is out of range, or the network cannot be copied.
    """

    def __init__(self, network: keras.Model, momentum: float, **kwargs: Any) -> None:
        # Without casts of its own: the average wants whole precision, and the copy casts its inputs as the network.
        super().__init__(**{"dtype": "float32", **kwargs}, autocast=False)
        if not 0 <= momentum < 1:
            raise UserError(f"the momentum of a teacher must be at least 0 and below 1, got {momentum}.")
        self.momentum = momentum
        graph = _graph(network)
        self.copy = _copy(graph)
        self.copy.trainable = False
        pairs = zip(self.copy.weights, graph.weights, strict=True)
        floating = [pair for pair in pairs if keras.backend.is_float_dtype(pair[0].dtype)]
        # Past Keras' tracking of attributes, which would make the network a part of this layer.
        object.__setattr__(self, "_pairs", floating)
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Any:
        """Return the outputs of the slow network.

        Args:
            inputs: as the network takes them.
            training: first move the copy towards the network as it is now.
        """
        if training:
            self._follow()
        return keras.tree.map_structure(ops.stop_gradient, self.copy(inputs, training=False))

    @property
    def trainable(self) -> bool:
        """Whether an optimiser may change the copy: never."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        """Stay frozen; models pass what is set for them on to all that they hold."""

    def _follow(self) -> None:
        for slow, fast in self._pairs:
            old = ops.cast(slow.value, "float32")
            new = ops.cast(ops.stop_gradient(fast.value), "float32")
            # In this form equal weights stay exactly equal.
            slow.assign(old + (1 - self.momentum) * (new - old))


def _graph(network: keras.Model) -> keras.Model:
    """Return a model of the same layers that knows nothing of training."""
    try:
        return keras.Model(network.input, network.output, name=network.name)
    except (AttributeError, ValueError) as error:
        raise UserError(f"a teacher wants a functional network, '{network.name}' has no graph of layers.") from error


def _copy(graph: keras.Model) -> keras.Model:
    """Return a network of the same architecture and weights, without drawing from the generator of seeds."""
    state = random.getstate()
    try:
        copied = keras.models.clone_model(graph)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise UserError(f"the network '{graph.name}' cannot be copied for a teacher: {error}") from error
    finally:
        # Keras draws seeds that nobody gave from Python's generator. What is built after this layer shall be the same
        # as without it.
        random.setstate(state)
    copied.set_weights(graph.get_weights())
    return copied
