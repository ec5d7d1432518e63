"""ConvNet-Transformer: Phong and Ribeiro, "Video Action Recognition Collaborative Learning with Dynamics via
PSO-ConvNet Transformer" (2023), Sec. 2.2 and Fig. 2; numbers of Table 2.

Stages, left to right in Fig. 2: TimeDistributed ConvNet with global average pooling -> position embedding -> N encoder
layers -> global max pooling over time -> Gaussian noise -> dense -> dropout -> logits.

Deviations and ambiguities, and how they were settled:
- Positions: the text has sines and cosines (Eq. 8), the released code a learned table. Default `sinusoidal`; `learned`
  gives the released network (with DenseNet-201, 4 frames and 101 classes 79,663,077 parameters; 7,680 fewer by Eq. 8).
- N is not stated; the released code has one encoder layer. Default 1.
- d_k is not stated. The released code gives each of the 4 heads the full width D, so default `key_dim` None means D.
- The text says "residual connections are employed before each operation, followed by layer normalization": post-norm,
  as released. Attention dropout 0.3 and LayerNorm's epsilon 1e-3 are the released values, named nowhere in the paper.
- "Preprocessing [-1, 1]" in Table 2 is not what the released code does. Each backbone gets the input that its ImageNet
  weights expect (`normalization`).
- The network ends in logits; the softmax of the text is part of the loss.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import keras
from keras import layers

from keras_actrec.layers import LearnedPosition, SinusoidalPosition, TransformerEncoder
from keras_actrec.models.frames import (
    Count,
    PSOHeadConfig,
    Rate,
    classify,
    clip_input,
    frame_features,
)


@dataclasses.dataclass(frozen=True)
class ConvNetTransformerConfig(PSOHeadConfig):
    """ConvNet on each frame, then a Transformer encoder over time (Sec. 2.2 of the PSO-ConvNet Transformer)."""

    position: Literal["sinusoidal", "learned"] = "sinusoidal"
    """How the order of the frames is encoded: by Eq. (8) or by a trained table."""
    encoder_layers: Count = 1
    """Number of encoder layers, N."""
    heads: Count = 4
    """Attention heads (num_heads)."""
    key_dim: Count | None = None
    """Width of each head; not given: the width of the features."""
    dense_dim: Count = 64
    """Width of each encoder layer's feed-forward network (dense_dim)."""
    attention_dropout: Rate = 0.3
    """Share of the attention weights that is dropped; 0 lets attention run fused."""
    encoder_dropout: Rate = 0.0
    """Share of each encoder sub-layer's output that is dropped."""


def build_convnet_transformer(config: ConvNetTransformerConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    clip = clip_input(config)
    x = frame_features(config, clip)
    x = _positions(config)(x)
    for number in range(1, config.encoder_layers + 1):
        x = _encoder(config, number)(x)
    x = layers.GlobalMaxPooling1D(name="time_pool")(x)
    return keras.Model([clip], classify(config, x), name="convnet_transformer")


def _positions(config: ConvNetTransformerConfig) -> keras.Layer:
    if config.position == "learned":
        return LearnedPosition(config.frames, name="position")
    return SinusoidalPosition(name="position")


def _encoder(config: ConvNetTransformerConfig, number: int) -> keras.Layer:
    return TransformerEncoder(
        num_heads=config.heads,
        dense_dim=config.dense_dim,
        key_dim=config.key_dim,
        attention_dropout=config.attention_dropout,
        dropout=config.encoder_dropout,
        name=f"encoder{number}",
    )
