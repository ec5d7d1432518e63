"""Non-local networks: Wang et al. 2018, "Non-local Neural Networks" (arXiv 1711.07971), Sec. 3 to 4.1 and Table 1; the
Non-local model of Tran et al., "Temporal Human Action Recognition", Sec. 3.1.5 and Fig. 9.

Stages: those of the body (`i3d_resnet50` or `c3d`), with non-local blocks (`keras_actrec.layers.NonLocalBlock`) after
some of them. The published five: after every other block of conv3 and conv4, two and three.

Deviations and ambiguities, and how they were settled:
- Stem and poolings are those of `i3d_resnet50`, so that the published ones are a matter of its fields.
- The network of "Temporal Human Action Recognition" is `I3Res50` of Tushar Nagarajan's pytorch-resnet3d with weights of
  Kinetics-400 (made for 32 frames; the paper gives it 16): `stem_temporal_stride: 2`, `stem_pool_kernel: [2, 3, 3]`,
  `stem_pool_stride: [2, 2, 2]`, `stem_pool_padded: false`, `stride_on: 3x3`, `scaled: true`, otherwise the defaults.
- Non-local C3D is published nowhere in detail. Here one block may follow the convolutions of each stage, before their
  pooling; by default the third and the fourth. Its head is that of `c3d`.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import keras

from keras_actrec.backbones import clip_weights
from keras_actrec.backbones.c3d import CONVOLUTIONS, c3d_stages, check_c3d
from keras_actrec.backbones.resnet3d import FIRST_STAGE, resnet3d_features
from keras_actrec.errors import UserError
from keras_actrec.layers import NonLocalBlock
from keras_actrec.models.c3d import classify_c3d
from keras_actrec.models.clips import clip_inputs
from keras_actrec.models.frames import Count
from keras_actrec.models.resnet3d import ResNet3D50Config, classify_clip, fill

Tensor = keras.KerasTensor
RESNET_BLOCKS = ((), (2, 4), (2, 4, 6), ())
C3D_BLOCKS = ((), (), (1,), (1,), ())


@dataclasses.dataclass(frozen=True)
class NonLocalConfig(ResNet3D50Config):
    """Inflated ResNet-50 or C3D in which every place sees every other one (Wang et al. 2018)."""

    body: Literal["i3d_resnet50", "c3d"] = "i3d_resnet50"
    """The network that the blocks are put into; of c3d, only base_width and the fields of every clip model apply."""
    kind: Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"] = "embedded_gaussian"
    """How two places are compared."""
    blocks_per_stage: tuple[tuple[Count, ...], ...] | None = None
    """For each stage the numbers of the blocks that a non-local one follows. ResNet: conv2 to conv5, by default
    [[], [2, 4], [2, 4, 6], []]; c3d: its five stages, [1] or [], by default [[], [], [1], [1], []]."""
    subsample: bool = True
    """Whether keys and values are max-pooled over 1x2x2."""
    reduction: Count = 2
    """Width of the features over that of queries, keys and values."""
    scaled: bool = False
    """Whether the dot products of a softmax are divided by the square root of their width."""
    fc_units: Count = 4096
    """Neurons of fc6 and of fc7; for the body c3d only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.body == "c3d":
            self._check_c3d()
            _check_placement(self.placement, (1,) * len(CONVOLUTIONS), first_stage=1)
        else:
            _check_placement(self.placement, self.depths, FIRST_STAGE)

    @property
    def normalization(self) -> str:
        """How the input must be normalised: as the body's published weights expect it."""
        return (self.input_normalization or "sports1m") if self.body == "c3d" else super().normalization

    @property
    def placement(self) -> tuple[tuple[int, ...], ...]:
        """For each stage, the numbers of the blocks that a non-local one follows."""
        if self.blocks_per_stage is not None:
            return self.blocks_per_stage
        return C3D_BLOCKS if self.body == "c3d" else RESNET_BLOCKS

    @property
    def c3d_widths(self) -> tuple[int, ...]:
        """Channels of C3D's stages."""
        return tuple(self.base_width * factor for factor in (1, 2, 4, 8, 8))

    def _check_c3d(self) -> None:
        check_c3d(self.frames, self.size, self.c3d_widths)
        if self.weights == "imagenet":
            raise UserError("the body 'c3d' has no ImageNet weights; set weights: none, or the path of a .keras file.")


def build_non_local(config: NonLocalConfig) -> keras.Model:
    """Build the network: clip (B, T, H, W, 3) -> logits (B, num_classes)."""
    return _build_c3d(config) if config.body == "c3d" else _build_resnet(config)


def _build_resnet(config: NonLocalConfig) -> keras.Model:
    chosen = [
        f"conv{stage}_block{number}"
        for stage, numbers in enumerate(config.placement, start=FIRST_STAGE)
        for number in numbers
    ]

    def after_block(name: str, x: Tensor) -> Tensor:
        return _block(config, name, x) if name in chosen else x

    inputs, clip = clip_inputs(config)
    x = resnet3d_features(clip, config.network(), after_block)
    return fill(keras.Model(inputs, classify_clip(config, x), name="non_local"), config)


def _build_c3d(config: NonLocalConfig) -> keras.Model:
    def after_stage(number: int, x: Tensor) -> Tensor:
        return _block(config, f"conv{number}", x) if config.placement[number - 1] else x

    inputs, clip = clip_inputs(config)
    x = c3d_stages(clip, config.c3d_widths, after_stage)
    logits = classify_c3d(x, config.num_classes, config.fc_units, config.head_dropout)
    model = keras.Model(inputs, logits, name="non_local")
    clip_weights.load(model, config.weights)
    return model


def _block(config: NonLocalConfig, name: str, x: Tensor) -> Tensor:
    inner = max(x.shape[-1] // config.reduction, 1)
    block = NonLocalBlock(config.kind, config.subsample, inner, config.scaled, name=f"{name}_non_local")
    return block(x)


def _check_placement(placement: tuple[tuple[int, ...], ...], depths: tuple[int, ...], first_stage: int) -> None:
    if len(placement) != len(depths):
        raise UserError(f"blocks_per_stage: expected a list for each of {len(depths)} stages, got {len(placement)}.")
    for stage, (numbers, depth) in enumerate(zip(placement, depths, strict=True), start=first_stage):
        if any(number > depth for number in numbers):
            blocks = f"{depth} block{'' if depth == 1 else 's'}"
            raise UserError(f"blocks_per_stage: stage conv{stage} has {blocks}, got {list(numbers)}.")
