"""Slow: the slow pathway of SlowFast as a network of its own. Feichtenhofer et al. 2019, "SlowFast Networks for Video
Recognition" (arXiv 1812.03982), Table 1, left; the primary network of "ActNetFormer".

Stages: 1x7x7 stem -> max-pooling -> residual stages conv2 to conv5 -> mean over time and space -> dropout -> logits.
Bottlenecks; time has no stride anywhere and no kernel before conv4, where every block spans 3 frames. With 400 classes
it has 32,454,096 trained parameters, those of PyTorchVideo's `slow_r50`.

Deviations: none in the graph. `weights: imagenet`, which the authors do not use, wants `stride_on: 1x1`, because the
strides of keras.applications are there.
"""

from __future__ import annotations

import dataclasses

import keras

from keras_actrec.backbones.resnet3d import StrideOn, resnet3d_features
from keras_actrec.models.clips import clip_inputs
from keras_actrec.models.frames import Count
from keras_actrec.models.resnet3d import ResNet3D50Config, classify_clip, fill


@dataclasses.dataclass(frozen=True)
class R3D50Config(ResNet3D50Config):
    """3-D ResNet-50 without temporal strides, the slow pathway of SlowFast (Feichtenhofer et al. 2019)."""

    frames: Count = 8
    """Frames per clip, T."""
    weights: str = "none"
    """Initial weights: none, imagenet (inflated from keras.applications' ResNet-50), the path of a .keras file of a 3-D
    network (taken by layer name) or of a 2-D one, or of a 2-D ResNet-50's .h5 or .weights.h5 file without top."""
    stem_temporal_kernel: Count = 1
    """Frames that the first convolution spans."""
    temporal_kernels: tuple[tuple[Count, ...], ...] = ((1,), (1,), (3,), (3,))
    """For each stage the temporal kernels of its blocks' first convolutions, repeated until the stage is full."""
    temporal_pool: bool = False
    """Whether a max-pooling halves time after the first stage of blocks."""
    stride_on: StrideOn = "3x3"
    """The convolution of a block that has the spatial stride: 1x1 as in keras.applications, 3x3 as in PyTorch."""


def build_r3d_50(config: R3D50Config) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    x = resnet3d_features(clip, config.network())
    return fill(keras.Model(inputs, classify_clip(config, x), name="r3d_50"), config)
