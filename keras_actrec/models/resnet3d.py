"""What the 3-D ResNets share: the fields of the fifty-layer ones, their weights, and the head of all of them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import keras
from keras import layers
from pydantic import Field

from keras_actrec.backbones import clip_weights
from keras_actrec.backbones.inflate import Inflation
from keras_actrec.backbones.resnet3d import Pool, ResNet3D, Stem, StrideOn, TemporalPadding
from keras_actrec.data.views import Normalization
from keras_actrec.errors import UserError
from keras_actrec.models.clips import ClipModelConfig
from keras_actrec.models.frames import Count

Lengths = tuple[Count, Count, Count]
RESNET50_DEPTHS = (3, 4, 6, 3)
RESNET50_WIDTH = 64
FILES_OF_2D_WEIGHTS = ".h5"


@dataclasses.dataclass(frozen=True)
class ResNet3D50Config(ClipModelConfig):
    """The fields of every 3-D ResNet-50, with the values of the inflated one."""

    size: Annotated[int, Field(ge=16)] = 224
    """Height and width of the frames, in pixels."""
    weights: str = "imagenet"
    """Initial weights: imagenet (inflated from keras.applications' ResNet-50), none, the path of a .keras file of a 3-D
    network (taken by layer name) or of a 2-D one, or of a 2-D ResNet-50's .h5 or .weights.h5 file without top."""
    inflation: Inflation = "mean"
    """How 2-D kernels get their time: their mean over it, or whole in the centre and zeros elsewhere."""
    depths: tuple[Count, ...] = RESNET50_DEPTHS
    """Residual blocks of each stage."""
    base_width: Count = RESNET50_WIDTH
    """Channels of the stem and of the first stage's inner convolutions; each stage doubles them."""
    stem_temporal_kernel: Count = 5
    """Frames that the first convolution spans."""
    stem_temporal_stride: Count = 1
    """Temporal stride of the first convolution."""
    stem_pool_kernel: Lengths = (1, 3, 3)
    """Frames, rows and columns of the max-pooling after the first convolution."""
    stem_pool_stride: Lengths = (1, 2, 2)
    """Strides of that pooling."""
    stem_pool_padded: bool = True
    """Whether that pooling is padded by half its kernel."""
    temporal_kernels: tuple[tuple[Count, ...], ...] = ((3,), (3, 1), (3, 1), (1, 3))
    """For each stage the temporal kernels of its blocks' first convolutions, repeated until the stage is full."""
    middle_temporal_kernel: Count = 1
    """Temporal kernel of the blocks' second convolutions."""
    temporal_strides: tuple[Count, ...] = (1, 1, 1, 1)
    """Temporal stride of each stage's first block."""
    temporal_pool: bool = True
    """Whether a max-pooling halves time after the first stage of blocks."""
    stride_on: StrideOn = "1x1"
    """The convolution of a block that has the spatial stride: 1x1 as in keras.applications, 3x3 as in PyTorch."""
    temporal_padding: TemporalPadding = "zeros"
    """What convolutions see beyond the first and last frame: zeros, or the edge frame again."""

    EXPECTED: ClassVar[Normalization] = "slowfast"

    def __post_init__(self) -> None:
        self.network()
        if self.weights == "imagenet":
            self._check_imagenet()

    @property
    def normalization(self) -> str:
        """How the input must be normalised: for weights of keras.applications as these expect it."""
        inflated = self.weights == "imagenet" or self.weights.endswith(FILES_OF_2D_WEIGHTS)
        return self.input_normalization or ("caffe" if inflated else self.EXPECTED)

    def network(self) -> ResNet3D:
        """Return the network as `keras_actrec.backbones.resnet3d` describes it."""
        return ResNet3D(
            block="bottleneck",
            depths=self.depths,
            base_width=self.base_width,
            stem=self._stem(),
            temporal_kernels=self.temporal_kernels,
            middle_temporal_kernel=self.middle_temporal_kernel,
            temporal_strides=self.temporal_strides,
            stride_on=self.stride_on,
            temporal_pool=Pool((2, 1, 1), (2, 1, 1), padded=False) if self.temporal_pool else None,
            temporal_padding=self.temporal_padding,
        )

    def _stem(self) -> Stem:
        pool = Pool(self.stem_pool_kernel, self.stem_pool_stride, self.stem_pool_padded)
        return Stem((self.stem_temporal_kernel, 7, 7), (self.stem_temporal_stride, 2, 2), pool)

    def _check_imagenet(self) -> None:
        deeper = len(self.depths) > 4 or any(a > b for a, b in zip(self.depths, RESNET50_DEPTHS, strict=False))
        if deeper or self.base_width != RESNET50_WIDTH:
            raise UserError(
                f"weights: imagenet are a ResNet-50's, depths {RESNET50_DEPTHS} and base_width {RESNET50_WIDTH}; got "
                f"{self.depths} and {self.base_width}. Set weights: none."
            )
        if self.stride_on != "1x1":
            raise UserError(
                "weights: imagenet are those of keras.applications, whose strides are on 1x1 convolutions; "
                "set stride_on: 1x1, or weights: none."
            )


def fill(model: keras.Model, config: ResNet3D50Config) -> keras.Model:
    """Give a network the weights that its config asks for, and return it."""
    clip_weights.load(model, config.weights, config.inflation, _resnet50)
    return model


def classify_clip(config: ClipModelConfig, x: keras.KerasTensor) -> keras.KerasTensor:
    """Average over T, H, W, drop out and classify: (B, t, h, w, D) -> float32 (B, num_classes)."""
    x = layers.GlobalAveragePooling3D(name="average_pool")(x)
    x = layers.Dropout(config.head_dropout, name="dropout")(x)
    # As 3-D ResNets are published: logits that start near zero.
    start = keras.initializers.RandomNormal(stddev=0.01)
    return layers.Dense(config.num_classes, kernel_initializer=start, dtype="float32", name="logits")(x)


def _resnet50(weights: str | None) -> keras.Model:
    """Build the network as keras.applications has it; its weights do not depend on the size."""
    return keras.applications.ResNet50(include_top=False, weights=weights, input_shape=(224, 224, 3), pooling="avg")
