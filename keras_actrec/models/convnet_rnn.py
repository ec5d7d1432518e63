"""ConvNet-RNN: Phong and Ribeiro, "Video Action Recognition Collaborative Learning with Dynamics via PSO-ConvNet
Transformer" (2023), Sec. 2.3, Eq. (14) to (29); numbers of Table 2.

Stages: TimeDistributed ConvNet with global average pooling -> recurrent layer, last state -> Gaussian noise -> dense ->
dropout -> logits.

Deviations and ambiguities, and how they were settled:
- Which cell stands behind "RNN" in Table 1 is not stated: the released swarm uses GRU(2048), its transfer-learning
  baselines LSTM. Default `gru`; with DenseNet-201 and 101 classes that is 44,915,365 parameters.
- Eq. (14) and (27) call the activation of the simple RNN a sigmoid; default is Keras' tanh, `activation` chooses.
- Eq. (26) swaps the roles of z and 1 - z against Keras, and Eq. (25) multiplies by r before the matrix product, Keras'
  GRU (`reset_after`) after it. Kept as in Keras: the first is a renaming of z, the second what the authors ran.
- Eq. (29) adds separate products of both directions, which equals one dense layer on their concatenation, as built.
- The head is that of the Transformer (Table 2, "Classification layer"), as released.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import keras
from keras import layers

from keras_actrec.models.frames import Count, PSOHeadConfig, Rate, classify, clip_input, frame_features

CELLS = {"simple": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


@dataclasses.dataclass(frozen=True)
class ConvNetRNNConfig(PSOHeadConfig):
    """ConvNet on each frame, then a recurrent network over time (Sec. 2.3 of the PSO-ConvNet Transformer)."""

    cell: Literal["simple", "lstm", "gru"] = "gru"
    """Kind of recurrent layer."""
    bidirectional: bool = False
    """Run a second layer backwards in time and join both last states."""
    units: Count = 2048
    """Memory units of each direction (units)."""
    activation: Literal["tanh", "sigmoid", "relu"] = "tanh"
    """Activation of the new state; of the LSTM's and GRU's, only tanh has fast kernels on GPUs."""
    recurrent_dropout: Rate = 0.0
    """Share of the recurrent state that is dropped; above 0 there are no fast kernels."""


def build_convnet_rnn(config: ConvNetRNNConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    clip = clip_input(config)
    x = frame_features(config, clip)
    x = _recurrence(config)(x)
    return keras.Model([clip], classify(config, x), name="convnet_rnn")


def _recurrence(config: ConvNetRNNConfig) -> keras.Layer:
    arguments = {"activation": config.activation, "recurrent_dropout": config.recurrent_dropout}
    if not config.bidirectional:
        return CELLS[config.cell](config.units, name="recurrence", **arguments)
    return layers.Bidirectional(CELLS[config.cell](config.units, **arguments), name="recurrence")
