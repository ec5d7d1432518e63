"""MS3D: Man, Zou and Li, "The Action Recognition with Multi-Clue Sparse 3-Dimensional Convolutional Networks",
Sec. III-A and IV-B, Fig. 1.

Stages: three clips of one video, of 7, 17 and 25 frames (`tempo1`, `tempo2`, `tempo3`: slow, medium and fast pathway)
-> `shared`, a fixed kernel over each frame, the same for all -> a 3-D convolution for each pathway over 3x3, 5x5 and
7x7 pixels and 3 frames -> one length in time, joined along the channels ("3D module") -> `pool1` -> sparse DenseNet3D
(`keras_actrec.backbones.sparse_densenet3d`) -> mean over time and space -> `code`, 256 numbers -> `logits`. With 400
classes it has 10,494,633 parameters, 64,601 of them the fixed kernel and moving statistics; with all connections it
would have 11,799,849. A forward pass takes 177.2 10^9 operations, with all connections 181.9 (`benchmarks/sizes.py`): a
DenseNet's cost lies in its 3x3x3 convolutions, whose inputs sparsity leaves alone, and 38 % of it here in the pathways.

The paper recognises by the nearest centre of codes, not by a classifier: with `training.objective: n_pair` the layer
`logits` is frozen and holds the classes' centres, so that its largest output is the nearest one. With `cross_entropy`
it is a classifier like any other.

Deviations and ambiguities, and how they were settled:
- "Share-kernel s x s x 3" (3x3x3 in Sec. IV-B): the 3 are the colours. It is said to transform frames into initial
  feature maps which are then stacked to blocks, so it acts before there is a time axis, on one frame at a time. For
  depth, which has one channel, it is 3x3x1.
- "Fixed with no training process": what it holds is not said. It is drawn at random with orthonormal columns by a seed
  (`shared_seed`). By default there are as many filters as it sees numbers in RGB, 27, the most that can be orthonormal:
  then it loses nothing of what it sees. With more filters than numbers the rows are orthonormal instead.
- Numbers of filters of the pathways, their stride, normalisation and activation are not stated. They are
  chosen such that the 3D module is what DenseNet-121's own stem gives: 64 channels at a quarter of the rows and columns
  (stride 2, and a max-pooling of 3x3 with stride 2), batch normalisation and ReLU.
- The pathways differ in length and are piled up along the channels: each is first resampled to `frames` steps of time,
  linearly (`keras_actrec.layers.ResampleTime`). The text names no length; 16 lies near the mean of the three.
- "DenseNet" without a number is taken for DenseNet-121. "Dropping rate alpha = 0.7" contradicts Eq. (2) and (3), where
  (l - 2) alpha is the number of layers that layer l receives: alpha is the share that is kept. The equations are built.
  Connections are drawn once, by `connection_seed`: a network that is built again is the same one.
- Poolings over time: transitions halve time as they halve rows and columns, 16 -> 8 -> 4 -> 2; not stated.
- Eq. (4) has "if d = 1" where d is also the temporal depth; read as: the first temporal slice. The slices sum to the
  2-D kernel itself (`keras_actrec.backbones.inflate`, "first"). 2-D weights of DenseNet-121 are cut to the channels
  that a sparse layer receives. Shared kernel, pathways, code and classifier have no counterpart and start at random, so
  that nothing is expected of the input's normalisation. `temporal_padding: edge` keeps the sums true at a clip's ends.
- Eq. (3) has a bias in each convolution; here the batch normalisation that follows has it. Its a_(i-2) and (y+p) are
  taken for misprints of the layers received and of (y+q).
- The code is linear and in float32 whatever the precision, because distances between codes are compared.
  `head_dropout` acts before it, and is 0: none is mentioned.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import keras
import numpy as np
from keras import layers
from pydantic import Field

from keras_actrec.backbones import clip_weights
from keras_actrec.backbones.inflate import Inflation
from keras_actrec.backbones.resnet3d_blocks import TemporalPadding
from keras_actrec.backbones.sparse_densenet3d import EPSILON, MOMENTUM, SparseDenseNet3D, sparse_densenet3d
from keras_actrec.data.views import Normalization
from keras_actrec.errors import UserError
from keras_actrec.layers import Conv3D, MaxPooling3D, ResampleTime
from keras_actrec.models.clips import CHANNELS, ClipModelConfig, tempo_inputs
from keras_actrec.models.codes import CODE
from keras_actrec.models.frames import Count, Rate, Tensor

Lengths = tuple[Count, Count, Count]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
IMAGENET = {"blocks": (6, 12, 24, 16), "growth": 32, "bottleneck": 4, "compression": 0.5}
IMAGENET_WIDTH = 64
"""DenseNet-121, for which there are 2-D weights, and the channels of its first block's input."""


@dataclasses.dataclass(frozen=True)
class MS3DConfig(ClipModelConfig):
    """Three tempos through one fixed kernel, piled up for a sparse 3-D DenseNet that gives codes (Man et al., MS3D)."""

    frames: Count = 16
    """Steps of time to which all pathways are brought before they are joined."""
    size: Annotated[int, Field(ge=16)] = 224
    """Height and width of the frames, in pixels."""
    tempos: tuple[Count, ...] = (7, 17, 25)
    """Frames of the pathways' clips, n1, n2, n3."""
    shared_kernel: Count = 3
    """Rows and columns of the fixed kernel, s."""
    shared_filters: Count = 27
    """Filters of the fixed kernel."""
    shared_seed: Seed = 0
    """Seed by which it is drawn."""
    pathway_kernels: tuple[Lengths, ...] = ((3, 3, 3), (3, 5, 5), (3, 7, 7))
    """Frames, rows and columns of each pathway's kernel."""
    pathway_filters: tuple[Count, ...] = (24, 24, 16)
    """Channels of each pathway."""
    pathway_stride: Lengths = (1, 2, 2)
    """Stride of the pathways' convolutions over frames, rows and columns."""
    pool: bool = True
    """Whether a max-pooling over 3x3 pixels with stride 2 follows the joined pathways."""
    blocks: tuple[Count, ...] = (6, 12, 24, 16)
    """Layers of each dense block."""
    growth: Count = 32
    """Channels that each of them adds."""
    bottleneck: Count = 4
    """Channels between a layer's two convolutions, over `growth`."""
    compression: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a block's channels that is left behind it."""
    alpha: Share = 0.7
    """Share of the earlier layers, the neighbour aside, that a layer receives (Eq. 2); 1: a DenseNet."""
    connection_seed: Seed = 0
    """Seed by which they are drawn."""
    code_size: Count = 256
    """Length of the code."""
    head_dropout: Rate = 0.0
    """Dropout before the code."""
    weights: str = "none"
    """Initial weights of the dense blocks: none, imagenet (inflated from keras.applications' DenseNet-121), or the path
    of a .keras file of a 2-D DenseNet or of this network, or of a 2-D DenseNet-121's .h5 or .weights.h5 file without
    top."""
    inflation: Inflation = "first"
    """How 2-D kernels get their time: by Eq. (4), or as their mean over it, or whole in the centre."""
    temporal_padding: TemporalPadding = "zeros"
    """What the dense blocks' convolutions see beyond the first and last step of time: zeros, or the edge again."""

    EXPECTED: ClassVar[Normalization] = "minus_one_one"

    def __post_init__(self) -> None:
        self.network()
        if len(self.modalities) != 1:
            raise UserError(f"ms3d looks at one modality, rgb or depth; got {list(self.modalities)}.")
        if not self.tempos:
            raise UserError("tempos: expected the frames of each pathway, such as [7, 17, 25]; got none.")
        for name in ("pathway_kernels", "pathway_filters"):
            if len(getattr(self, name)) != len(self.tempos):
                raise UserError(
                    f"{name}: expected one for each of the {len(self.tempos)} tempos, got {len(getattr(self, name))}."
                )
        if self.weights == "imagenet":
            self._check_imagenet()

    @property
    def channels(self) -> int:
        """Channels of a frame."""
        return CHANNELS[self.modalities[0]]

    def network(self) -> SparseDenseNet3D:
        """Return the dense blocks as `keras_actrec.backbones.sparse_densenet3d` describes them."""
        names = [field.name for field in dataclasses.fields(SparseDenseNet3D)]
        return SparseDenseNet3D(**{name: getattr(self, name) for name in names})

    def _check_imagenet(self) -> None:
        other = {name: getattr(self, name) for name, value in IMAGENET.items() if getattr(self, name) != value}
        if other or sum(self.pathway_filters) != IMAGENET_WIDTH:
            raise UserError(
                f"weights: imagenet are DenseNet-121's: {IMAGENET}, pathway_filters that sum to {IMAGENET_WIDTH}; got "
                f"{other | {'pathway_filters': self.pathway_filters}}. Set weights: none."
            )


def build_ms3d(config: MS3DConfig) -> keras.Model:
    """Build the network: one clip (B, T, H, W, C) for each tempo -> logits (B, num_classes)."""
    inputs = tempo_inputs(config.tempos, config.size, config.modalities[0])
    module = pile_up(config, inputs)
    maps = sparse_densenet3d(module, config.network())
    _fill(config, module, maps)
    x = layers.GlobalAveragePooling3D(name="average_pool")(maps)
    x = layers.Dropout(config.head_dropout, name="dropout")(x)
    x = layers.Dense(config.code_size, dtype="float32", name=CODE)(x)
    logits = layers.Dense(config.num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="ms3d")


def pile_up(config: MS3DConfig, clips: list[Tensor]) -> Tensor:
    """Make the 3D module of the pathways' clips: (B, T, H, W, C) each -> (B, frames, h, w, sum of pathway_filters)."""
    shared = shared_layer(config)
    paths = [_pathway(config, number, shared(clip)) for number, clip in enumerate(clips)]
    x = paths[0] if len(paths) == 1 else layers.Concatenate(axis=-1, name="pile_up")(paths)
    return MaxPooling3D((1, 3, 3), strides=(1, 2, 2), padding="same", name="pool1")(x) if config.pool else x


def shared_layer(config: MS3DConfig) -> Conv3D:
    """Return the fixed convolution of single frames: (B, T, H, W, C) -> (B, T, H, W, shared_filters)."""
    side = config.shared_kernel
    layer = Conv3D(
        config.shared_filters, (1, side, side), padding="same", use_bias=False, trainable=False, name="shared"
    )
    layer.build((None, None, config.size, config.size, config.channels))
    kernel = orthogonal(side * side * config.channels, config.shared_filters, config.shared_seed)
    layer.kernel.assign(kernel.reshape(layer.kernel.shape))
    return layer


def orthogonal(rows: int, columns: int, seed: int) -> np.ndarray:
    """Draw a random matrix, float32 (rows, columns), with orthonormal columns; with orthonormal rows if it is wide."""
    drawn = np.random.default_rng(seed).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q = q * np.sign(np.diag(r))  # else signs, and with them the numbers, would be those of the machine's LAPACK
    return (q if rows >= columns else q.T).astype("float32")


def _pathway(config: MS3DConfig, number: int, x: Tensor) -> Tensor:
    """(B, T, H, W, shared_filters) -> (B, frames, h, w, D)."""
    name = f"pathway{number + 1}"
    x = Conv3D(
        config.pathway_filters[number],
        config.pathway_kernels[number],
        strides=config.pathway_stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_bn")(x)
    return ResampleTime(config.frames, name=f"{name}_resample")(layers.ReLU(name=f"{name}_relu")(x))


def _fill(config: MS3DConfig, module: Tensor, maps: Tensor) -> None:
    """Give the dense blocks, which lie between two tensors, the weights that the config asks for."""
    if config.weights == "none":
        return
    part = keras.Model(module, maps, name="ms3d")
    received = config.network().received(module.shape[-1])
    clip_weights.load(part, config.weights, config.inflation, _densenet121, received)


def _densenet121(weights: str | None) -> keras.Model:
    """Build the network as keras.applications has it; its weights do not depend on the size."""
    return keras.applications.DenseNet121(include_top=False, weights=weights, input_shape=(224, 224, 3))
