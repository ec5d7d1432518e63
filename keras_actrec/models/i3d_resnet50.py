"""I3D on ResNet-50: an image network inflated into time. Carreira and Zisserman 2017, "Quo Vadis, Action Recognition?"
(arXiv 1705.07750), on the ResNet-50 of Wang et al. 2018, "Non-local Neural Networks" (arXiv 1711.07971), Table 1; the
I3D of Tran et al., "Temporal Human Action Recognition", Sec. 3.1.4.

Stages: 5x7x7 stem -> max-pooling -> residual stage conv2 -> max-pooling that halves time -> conv3, conv4, conv5 -> mean
over time and space -> dropout -> logits. Bottlenecks; a temporal kernel of 3 in every block of conv2, in every second
one of the others. With 400 classes it has 28,043,472 trained parameters, and 53,120 moving statistics.

Deviations and ambiguities, and how they were settled:
- Carreira and Zisserman inflate Inception-v1 (`i3d_inception`). Which ResNet-50 "I3D" means differs between codes; the
  default is that of PyTorchVideo's `i3d_r50`, which Wang et al. have too but for the strides in time before conv2.
- The strides are on the 1x1 convolutions, as in keras.applications, whose ImageNet weights are the default, and not on
  the 3x3 ones, as in PyTorch. For weights from there set `stride_on: 3x3`.
- The released code of "Temporal Human Action Recognition" has full 3x3x3 convolutions in the middle of its blocks, and
  more temporal strides; with 101 classes, 46,387,109 parameters. As fields: `temporal_kernels: [[1], [1], [1], [1]]`,
  `middle_temporal_kernel: 3`, `stem_temporal_stride: 2`, `stem_pool_stride: [2, 2, 2]`, `temporal_pool: false`,
  `stride_on: 3x3`.
- The input is normalised as the weights expect it: "caffe" for those of keras.applications, else "slowfast".
"""

from __future__ import annotations

import dataclasses

import keras

from keras_actrec.backbones.resnet3d import resnet3d_features
from keras_actrec.models.clips import clip_inputs
from keras_actrec.models.resnet3d import ResNet3D50Config, classify_clip, fill


@dataclasses.dataclass(frozen=True)
class I3DResNet50Config(ResNet3D50Config):
    """ResNet-50 with its kernels inflated into time (Carreira and Zisserman 2017; Wang et al. 2018)."""


def build_i3d_resnet50(config: I3DResNet50Config) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    inputs, clip = clip_inputs(config)
    x = resnet3d_features(clip, config.network())
    return fill(keras.Model(inputs, classify_clip(config, x), name="i3d_resnet50"), config)
