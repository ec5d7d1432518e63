"""C3D: Tran et al. 2015, "Learning Spatiotemporal Features with 3D Convolutional Networks" (arXiv 1412.0767), Sec. 3.3
and Fig. 3; also Tran et al., "Temporal Human Action Recognition", Sec. 3.1.2 and Fig. 6.

Stages: five stages of 3x3x3 convolutions and poolings (`keras_actrec.backbones.c3d`) -> flatten -> fc6 -> dropout ->
fc7 -> dropout -> logits. With 101 classes it has 78,409,573 parameters, 27,655,936 of them in the convolutions. The
width of fc6's input, and so its weights, follow from the number of frames and their size.

Deviations and ambiguities, and how they were settled:
- Weights start from He's distribution and biases from zero, not from the original's narrow Gaussians, in which the
  signal fades (`keras_actrec.backbones.c3d`).
- `batch_norm` puts a batch normalisation between each convolution and its ReLU. The original has none, and no published
  weights fit a network that has; it is there for training from scratch.
- The original subtracts a mean clip of 16 x 128 x 171; the input here is BGR minus that clip's mean per channel
  ("sports1m"), as the PyTorch versions of its weights take it. A network from scratch without `batch_norm` wants values
  near one: set `input_normalization: minus_one_one`.
- The paper's clips are resized to 128 x 171 and cropped to 112; cropping is the data section's concern.
- fc6 and fc7 read the last feature map row by row with the channels last; the original reads the channels first.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
from keras import layers

from keras_actrec.backbones.c3d import INITIALIZER, WIDTHS, c3d_stages, check_c3d
from keras_actrec.data.views import Normalization
from keras_actrec.models.clips import ClipModelConfig, clip_inputs
from keras_actrec.models.frames import Count, Rate


@dataclasses.dataclass(frozen=True)
class C3DConfig(ClipModelConfig):
    """Eight 3x3x3 convolutions and three dense layers over a whole clip (Tran et al. 2015, C3D)."""

    head_dropout: Rate = 0.5
    """Dropout after fc6 and after fc7."""
    widths: tuple[Count, Count, Count, Count, Count] = WIDTHS
    """Channels of the five stages of convolutions."""
    fc_units: Count = 4096
    """Neurons of fc6 and of fc7."""
    batch_norm: bool = False
    """Whether each convolution is followed by a batch normalisation, which the original has not."""

    EXPECTED: ClassVar[Normalization] = "sports1m"

    def __post_init__(self) -> None:
        check_c3d(self.frames, self.size, self.widths)


def build_c3d(config: C3DConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    x = c3d_stages(clip, config.widths, batch_norm=config.batch_norm)
    return keras.Model(inputs, classify_c3d(x, config.num_classes, config.fc_units, config.head_dropout), name="c3d")


def classify_c3d(x: keras.KerasTensor, num_classes: int, fc_units: int, dropout: float) -> keras.KerasTensor:
    """Apply fc6, fc7 and the classifier to the last feature map: (B, t, h, w, D) -> float32 (B, num_classes)."""
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = layers.Dense(fc_units, activation="relu", kernel_initializer=INITIALIZER, name=name)(x)
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return layers.Dense(num_classes, dtype="float32", name="logits")(x)
