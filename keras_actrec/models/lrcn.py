"""LRCN: Tran et al., "Temporal Human Action Recognition", Sec. 3.1.3 and Fig. 7, after Donahue et al. 2015, "Long-term
Recurrent Convolutional Networks for Visual Recognition and Description" (arXiv 1411.4389).

Stages: shared 2-D ConvNet with global average pooling on each frame -> dense layer of 512 per frame -> LSTM layers over
time -> logits of each time step -> their mean.

Deviations and ambiguities, and how they were settled:
- The text names "usually, an LSTM" without numbers. Those of the released code are the defaults: two bidirectional
  layers of 256. One layer that runs forwards (`lstm_layers: 1`, `bidirectional: false`) is that of Donahue et al.
- How the time steps become one answer is not stated. Donahue et al. average the predictions of all steps; the released
  code classifies the last step of the output sequence, where the backward direction has seen one frame only. Default
  `mean`, with which both directions see the clip; `last` gives the released network. The mean is taken over logits,
  where Donahue et al. take it over probabilities, because the network ends in logits.
- The dense layer per frame, linear and without ReLU, is in the released code only, where it takes the place of
  ResNet-152's classifier.
- PyTorch's LSTM has two biases per gate where Keras' has one: 4,096 parameters less per bidirectional layer of 256.
- The released code has no dropout; `head_dropout` adds one before the logits.
- The released code never trains the backbone; here the training regime decides (`transfer` is the same).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import keras
from keras import layers

from keras_actrec import backbones
from keras_actrec.models.frames import Count, FrameModelConfig, Rate, clip_input, frame_features


@dataclasses.dataclass(frozen=True)
class LRCNConfig(FrameModelConfig):
    """ConvNet on each frame, then LSTM layers and a prediction at each time step (LRCN, Donahue et al. 2015)."""

    frames: Count = 5
    """Frames per clip, T."""
    backbone: backbones.FrameBackboneName = "resnet152"
    """The ConvNet that turns each frame into features."""
    latent_dim: Count = 512
    """Width of each frame's description (latent_dim)."""
    hidden_size: Count = 256
    """Units of each LSTM layer and direction (hidden_size)."""
    lstm_layers: Count = 2
    """Number of LSTM layers, one upon the other (lstm_layers)."""
    bidirectional: bool = True
    """Whether each layer also runs backwards in time and both outputs are joined (bidirectional)."""
    readout: Literal["mean", "last"] = "mean"
    """What is classified: each time step, whose logits are averaged, or the last step of the output sequence alone."""
    head_dropout: Rate = 0.0
    """Dropout before the logits."""


def build_lrcn(config: LRCNConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    clip = clip_input(config)
    x = frame_features(config, clip)
    x = layers.Dense(config.latent_dim, name="latent")(x)
    for number in range(1, config.lstm_layers + 1):
        x = _recurrence(config, number)(x)
    return keras.Model([clip], _read_out(config, x), name="lrcn")


def _recurrence(config: LRCNConfig, number: int) -> keras.Layer:
    """Return a layer (B, T, D) -> (B, T, hidden_size), twice as wide if bidirectional."""
    name = f"lstm{number}"
    if not config.bidirectional:
        return layers.LSTM(config.hidden_size, return_sequences=True, name=name)
    return layers.Bidirectional(layers.LSTM(config.hidden_size, return_sequences=True), name=name)


def _read_out(config: LRCNConfig, x: keras.KerasTensor) -> keras.KerasTensor:
    """Classify the time steps that count: (B, T, D) -> float32 (B, num_classes)."""
    if config.readout == "last":
        x = layers.Cropping1D((config.frames - 1, 0), name="last_step")(x)
    x = layers.Dropout(config.head_dropout, name="dropout")(x)
    x = layers.Dense(config.num_classes, dtype="float32", name="logits")(x)
    return layers.GlobalAveragePooling1D(name="time_pool", dtype="float32")(x)
