"""Late Fusion: Tran et al., "Temporal Human Action Recognition", Sec. 3.1.1 and Fig. 5; after Karpathy et al. 2014,
"Large-scale Video Classification with Convolutional Neural Networks".

Stages: shared 2-D ConvNet with global average pooling on each frame -> dense layer of 512 with ReLU per frame -> the
frames are joined -> logits. Each frame is described alone, so small shifts between two frames can only be seen as far
as their descriptions tell them.

Deviations and ambiguities, and how they were settled:
- The text concatenates the frames "before ... feeding them to a fusion layer"; the released code averages them, and has
  no fusion layer. Default `concatenate`, with which the order of frames counts; `average` gives the released network,
  whose output does not change when the frames are shuffled.
- The fusion layer is not described. Here it is a dense layer with ReLU as wide as a frame's description, as in Karpathy
  et al., where the towers meet in a fully connected layer; without it (`fusion_units: null`) the logits are a sum over
  frames, and no two frames are ever compared.
- The dense layer per frame is in the released code only, where it takes the place of ResNet-152's classifier.
- The released code has no dropout; `head_dropout` adds one before the logits.
- The released code never trains the backbone; here the training regime decides (`transfer` is the same).
- Each backbone gets the input that its ImageNet weights expect (`normalization`): keras.applications' ResNet-152 is not
  torchvision's, and takes other means.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import keras
from keras import layers

from keras_actrec import backbones
from keras_actrec.models.frames import Count, FrameModelConfig, Rate, clip_input, frame_features


@dataclasses.dataclass(frozen=True)
class LateFusionConfig(FrameModelConfig):
    """ConvNet on each frame, then the descriptions of all frames are joined (Late Fusion, Karpathy et al. 2014)."""

    frames: Count = 5
    """Frames per clip, T."""
    backbone: backbones.FrameBackboneName = "resnet152"
    """The ConvNet that turns each frame into features."""
    latent_dim: Count = 512
    """Width of each frame's description (latent_dim)."""
    fusion: Literal["concatenate", "average"] = "concatenate"
    """How the frames are joined: side by side in their order, or by their mean, which forgets the order."""
    fusion_units: Count | None = 512
    """Neurons of the layer on the concatenated frames; none: the logits follow at once. Of no effect on `average`."""
    head_dropout: Rate = 0.0
    """Dropout before the logits."""


def build_late_fusion(config: LateFusionConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    clip = clip_input(config)
    x = frame_features(config, clip)
    x = layers.Dense(config.latent_dim, activation="relu", name="latent")(x)
    x = _fuse(config, x)
    x = layers.Dropout(config.head_dropout, name="dropout")(x)
    x = layers.Dense(config.num_classes, dtype="float32", name="logits")(x)
    return keras.Model([clip], x, name="late_fusion")


def _fuse(config: LateFusionConfig, x: keras.KerasTensor) -> keras.KerasTensor:
    """Join the frames: (B, T, D) -> (B, D) if averaged, else (B, fusion_units), or (B, T * D) without that layer."""
    if config.fusion == "average":
        return layers.GlobalAveragePooling1D(name="time_pool")(x)
    x = layers.Flatten(name="concatenate")(x)
    if config.fusion_units is None:
        return x
    return layers.Dense(config.fusion_units, activation="relu", name="fusion")(x)
