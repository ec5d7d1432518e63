"""DenseNet in three dimensions whose layers receive only some of the earlier ones: Man et al., "The Action Recognition
with Multi-Clue Sparse 3-Dimensional Convolutional Networks" (MS3D), Sec. III-A, Eq. (2) and (3).

Blocks, bottlenecks and transitions are DenseNet-121's (Huang et al. 2017, arXiv 1608.06993) as keras.applications has
them, its 3x3 kernels inflated to 3x3x3: batch normalisation, ReLU and 1x1x1 convolution, batch normalisation, ReLU and
3x3x3 convolution. In a transition an average pooling halves rows and columns, and time as well, wherever more than one
is left. Layers have the names of keras.applications, so that 2-D weights are found by them: `conv2_block1_0_bn` ...
`conv2_block1_2_conv`, `pool2_bn`, `pool2_conv`, `bn`.

In a block the layer number n, counted from 1, has the outputs 1 .. n - 1 and the block's input, 0, before it. It always
receives its neighbour n - 1, and k of the n - 1 others, drawn at random once and for all. Eq. (2) counts the block's
input as the first layer, so that l = n + 1 and k = (l - 2) alpha = (n - 1) alpha, rounded. The transition after a block
receives all of it, so that nothing that a layer found is lost.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import layers

from keras_actrec.backbones.resnet3d_blocks import TemporalPadding
from keras_actrec.errors import UserError
from keras_actrec.layers import Conv3D, RepeatEdges

Tensor = keras.KerasTensor
MOMENTUM, EPSILON = 0.9, 1.001e-5
"""Of the batch normalisations; epsilon is that of the 2-D weights."""
FIRST_STAGE = 2


@dataclasses.dataclass(frozen=True)
class SparseDenseNet3D:
    """A sparse 3-D DenseNet.

    Attributes:
        blocks: layers of each dense block.
        growth: channels that a layer adds.
        bottleneck: channels between a layer's two convolutions, over `growth`.
        compression: share of a block's channels that the transition after it leaves.
        alpha: share of the earlier layers, its neighbour aside, that a layer receives; 1 is a DenseNet.
        connection_seed: by which they are drawn.
        temporal_padding: what 3x3x3 convolutions see beyond the first and last frame: "zeros", or the "edge" frame.

    Raises:
        UserError: no block, or a share out of range.
    """

    blocks: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    bottleneck: int = 4
    compression: float = 0.5
    alpha: float = 0.7
    connection_seed: int = 0
    temporal_padding: TemporalPadding = "zeros"

    def __post_init__(self) -> None:
        if not self.blocks or min(self.blocks) < 1:
            raise UserError(f"blocks: expected one number of layers, 1 or more, for each block; got {self.blocks}.")
        if not 0 < self.compression <= 1:
            raise UserError(f"compression: expected a share above 0, at most 1; got {self.compression}.")
        if not 0 <= self.alpha <= 1:
            raise UserError(f"alpha: expected a share between 0 and 1 of the earlier layers; got {self.alpha}.")

    def connections(self, block: int) -> tuple[tuple[int, ...], ...]:
        """Return what the layers of a block receive; blocks are counted from 0."""
        return connections(self.blocks[block], self.alpha, self.connection_seed, block)

    def received(self, width: int) -> dict[str, np.ndarray]:
        """Return which input channels of a DenseNet's layers are left, by name of the layer.

        Args:
            width: channels of the first block's input.
        """
        found = {}
        for block, depth in enumerate(self.blocks):
            for number, sources in enumerate(self.connections(block), 1):
                channels = np.concatenate([self._channels(source, width) for source in sources])
                name = _layer_name(block, number)
                found |= {f"{name}_0_bn": channels, f"{name}_1_conv": channels}
            width = self.compressed(width + depth * self.growth)
        return found

    def compressed(self, width: int) -> int:
        """Return how many channels a transition leaves of so many."""
        return max(1, int(width * self.compression))

    def _channels(self, source: int, width: int) -> np.ndarray:
        """Return where the output of a layer, or of the block's input of that width, lies in the whole block."""
        if source == 0:
            return np.arange(width)
        return width + (source - 1) * self.growth + np.arange(self.growth)


def connections(depth: int, alpha: float, seed: int, block: int) -> tuple[tuple[int, ...], ...]:
    """Return for each layer of a block the outputs that it receives, in order: 0 is the block's input, n layer n's.

    Args:
        depth: layers of the block.
        alpha: share of the others that a layer receives beside its neighbour, Eq. (2).
        seed: of the draws.
        block: its number, counted from 0; blocks are drawn apart.
    """
    return tuple(
        _sources(number, alpha, np.random.default_rng([seed, block, number])) for number in range(1, depth + 1)
    )


def _sources(number: int, alpha: float, rng: np.random.Generator) -> tuple[int, ...]:
    others = number - 1
    drawn = rng.choice(others, size=round(others * alpha), replace=False) if others else ()
    return (*sorted(int(source) for source in drawn), others)


def sparse_densenet3d(x: Tensor, network: SparseDenseNet3D) -> Tensor:
    """Apply the dense blocks, the transitions between them, and a last normalisation.

    (B, T, H, W, C) -> (B, t, h, w, D), where D is the width of the last block, which no transition follows.
    """
    for block in range(len(network.blocks)):
        if block > 0:
            x = _transition(x, f"pool{block - 1 + FIRST_STAGE}", network)
        x = _dense_block(x, block, network)
    return _normalize(x, "")


def _dense_block(x: Tensor, block: int, network: SparseDenseNet3D) -> Tensor:
    outputs = [x]
    for number, sources in enumerate(network.connections(block), 1):
        name = _layer_name(block, number)
        seen = _join([outputs[source] for source in sources], f"{name}_received")
        outputs.append(_dense_layer(seen, name, network))
    return _join(outputs, f"conv{block + FIRST_STAGE}_concat")


def _dense_layer(x: Tensor, name: str, network: SparseDenseNet3D) -> Tensor:
    """(B, T, H, W, D) -> (B, T, H, W, growth)."""
    x = _convolve(_normalize(x, f"{name}_0_"), network.bottleneck * network.growth, 1, f"{name}_1_conv")
    x = _normalize(x, f"{name}_1_")
    if network.temporal_padding == "zeros":
        return _convolve(x, network.growth, 3, f"{name}_2_conv")
    x = RepeatEdges(1, name=f"{name}_2_repeat")(x)
    x = layers.ZeroPadding3D((0, 1, 1), name=f"{name}_2_pad")(x)
    return _convolve(x, network.growth, 3, f"{name}_2_conv", padding="valid")


def _transition(x: Tensor, name: str, network: SparseDenseNet3D) -> Tensor:
    x = _convolve(_normalize(x, f"{name}_"), network.compressed(x.shape[-1]), 1, f"{name}_conv")
    window = tuple(min(2, size) for size in x.shape[1:4])
    # In float32 whatever the policy: PyTorch has no 3-D average pooling of shorter numbers on a CPU.
    return layers.AveragePooling3D(window, dtype="float32", name=f"{name}_pool")(x)


def _normalize(x: Tensor, prefix: str) -> Tensor:
    x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{prefix}bn")(x)
    return layers.ReLU(name=f"{prefix}relu")(x)


def _convolve(x: Tensor, width: int, kernel: int, name: str, padding: str = "same") -> Tensor:
    # He et al. 2015: behind a ReLU the signal keeps its size.
    start = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
    return Conv3D(width, kernel, padding=padding, use_bias=False, kernel_initializer=start, name=name)(x)


def _join(parts: list[Tensor], name: str) -> Tensor:
    return parts[0] if len(parts) == 1 else layers.Concatenate(axis=-1, name=name)(parts)


def _layer_name(block: int, number: int) -> str:
    return f"conv{block + FIRST_STAGE}_block{number}"
