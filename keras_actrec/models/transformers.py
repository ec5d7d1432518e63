"""What the video Transformers share: the fields that each has, one encoder layer, stacks of them, and the head."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import keras
from keras import layers, ops
from pydantic import Field

from keras_actrec.backbones import vit_weights
from keras_actrec.backbones.inflate import Inflation
from keras_actrec.data.views import Normalization
from keras_actrec.layers import (
    ClassToken,
    LearnedPosition,
    SelfAttention,
    SinusoidalPosition,
    TransformerBlock,
    TubeletEmbedding,
)
from keras_actrec.layers.transformer_block import Activation
from keras_actrec.models.clips import ClipModelConfig
from keras_actrec.models.frames import Count, Rate

Tensor = keras.KerasTensor
Position = Literal["learned", "sinusoidal", "none"]
Pool = Literal["token", "mean"]


@dataclasses.dataclass(frozen=True)
class TransformerConfig(ClipModelConfig):
    """The fields of every video Transformer; width, depth and heads are those of ViT-B."""

    size: Count = 224
    """Height and width of the frames, in pixels."""
    patch: Count = 16
    """Height and width of a patch, in pixels."""
    width: Count = 768
    """Width of the tokens, D."""
    depth: Count = 12
    """Number of encoder layers."""
    heads: Count = 12
    """Attention heads of each layer."""
    dense_dim: Count | None = None
    """Width of each layer's feed-forward network; not given: four times the width."""
    activation: Activation = "gelu"
    """Of the feed-forward networks: gelu, or gelu_tanh, its approximation by a hyperbolic tangent."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the variance in the layer normalisations."""
    dropout: Rate = 0.0
    """Share of each sub-layer's output that is dropped."""
    attention_dropout: Rate = 0.0
    """Share of the attention weights that is dropped; 0 lets attention run fused."""
    drop_path: Rate = 0.0
    """Stochastic depth: probability with which the last sub-layers are left out; it rises linearly from the first."""
    head_dropout: Rate = 0.0
    """Dropout before the logits."""
    weights: str = "none"
    """Weights that the network starts from: none, the path of a ViT's image weights (.safetensors), or of a .keras file
    of a network like this one."""
    inflation: Inflation = "centre"
    """How image weights fill patches of several frames: centre (the middle frame), or mean (all frames alike)."""
    rematerialize: bool = False
    """Compute each layer's inside again for the gradient in place of keeping it: slower, for far less memory."""

    EXPECTED: ClassVar[Normalization] = "minus_one_one"

    @property
    def feed_forward(self) -> int:
        """Width of the feed-forward networks."""
        return self.dense_dim or 4 * self.width


def embed_patches(config: TransformerConfig, clip: Tensor, frames: int = 1) -> Tensor:
    """Cut a clip (B, T, H, W, C) into boxes of `frames` frames: a map of tokens (B, T', h, w, D)."""
    return TubeletEmbedding(config.width, (frames, config.patch, config.patch), name="patches")(clip)


def flatten_places(x: Tensor) -> Tensor:
    """Make one row of tokens of a map: (B, T', h, w, D) -> (B, T' h w, D), with the frames outermost."""
    return layers.Reshape((-1, x.shape[-1]), name="tokens")(x)


def add_position(x: Tensor, position: str, name: str) -> Tensor:
    """Add a vector to each token (B, N, D) that depends on its place in the row; nothing for "none"."""
    if position == "none":
        return x
    return LearnedPosition(x.shape[1], name=name)(x) if position == "learned" else SinusoidalPosition(name=name)(x)


def begin(config: TransformerConfig, x: Tensor, position: str, class_token: bool, prefix: str = "") -> Tensor:
    """Prepare tokens (B, N, D) for a stack of encoder layers: class token, position, dropout."""
    if class_token:
        x = ClassToken(name=f"{prefix}class_token")(x)
    x = add_position(x, position, f"{prefix}position")
    return layers.Dropout(config.dropout, name=f"{prefix}position_dropout")(x)


def encode(config: TransformerConfig, x: Tensor, depth: int, prefix: str = "", key_bias: bool = True) -> Tensor:
    """Apply `depth` encoder layers with plain self-attention to tokens (B, N, D); no normalisation follows them."""
    for number in range(1, depth + 1):
        attention = SelfAttention(config.heads, key_bias=key_bias, dropout=config.attention_dropout, name="attention")
        x = encoder_layer(config, f"{prefix}block{number}", number, attention, stack=depth)(x)
    return x


def normalize(config: TransformerConfig, x: Tensor, name: str = "norm") -> Tensor:
    """Apply the layer normalisation behind a pre-norm stack."""
    return layers.LayerNormalization(epsilon=config.epsilon, name=name)(x)


def pool_tokens(x: Tensor, pool: Pool) -> Tensor:
    """Take the first token, or the mean of all: (B, N, D) -> (B, D)."""
    return x[:, 0] if pool == "token" else ops.mean(x, axis=1)


def encoder_layer(
    config: TransformerConfig,
    name: str,
    number: int,
    attention: keras.Layer | None = None,
    norm: str = "pre",
    stack: int | None = None,
) -> TransformerBlock:
    """Return layer `number` (counted from 1) of a stack.

    Args:
        config: of the network.
        name: of the layer.
        number: from which its stochastic depth follows.
        attention: a layer named "attention"; None: plain self-attention.
        norm: "pre" or "post".
        stack: number of layers of its stack; None: `config.depth`.
    """
    if attention is None:
        attention = SelfAttention(config.heads, dropout=config.attention_dropout, name="attention")
    return TransformerBlock(attention, norm=norm, name=name, **block_options(config, number, stack))


def block_options(config: TransformerConfig, number: int, stack: int | None = None) -> dict[str, object]:
    """Return what a config says of layer `number` of a stack, as arguments of a block."""
    return {
        "dense_dim": config.feed_forward,
        "activation": config.activation,
        "dropout": config.dropout,
        "drop_path": drop_path_of(config, number, stack),
        "epsilon": config.epsilon,
        "rematerialize": config.rematerialize,
    }


def drop_path_of(config: TransformerConfig, number: int, stack: int | None = None) -> float:
    """Return the probability with which layer `number` of a stack is left out: from 0 up to `drop_path`."""
    return config.drop_path * (number - 1) / max((stack or config.depth) - 1, 1)


def classify_token(config: TransformerConfig, features: Tensor) -> Tensor:
    """Drop out and classify: (B, D) -> float32 (B, num_classes)."""
    x = layers.Dropout(config.head_dropout, name="dropout")(features)
    start = keras.initializers.TruncatedNormal(stddev=0.02)
    return layers.Dense(config.num_classes, kernel_initializer=start, dtype="float32", name="logits")(x)


def finish(config: TransformerConfig, inputs: list[Tensor], features: Tensor, name: str) -> keras.Model:
    """Classify features (B, D), and give the network its initial weights.

    Raises:
        UserError: when the weights that the config asks for cannot be had or do not fit.
    """
    model = keras.Model(inputs, classify_token(config, features), name=name)
    vit_weights.load(model, config.weights, config.modalities, config.inflation)
    return model
