"""torchvision.models.video: `r3d_18`, `mc3_18` and `r2plus1d_18` (Tran et al. 2018), trained on Kinetics-400.

A block's convolutions are `layer1.0.conv1.0` and `layer1.0.conv2.0`, the batch normalisation of each stands at `.1`
beside it. In R(2+1)D a convolution is a sequence itself: spatial at `.0.0`, its normalisation at `.0.1`, temporal at
`.0.3`. Stages and blocks count from 1 and 0 there, from 2 and 1 here.
"""

from __future__ import annotations

from typing import Any

from keras_actrec.porting.family import Family, depths, known, width_of
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Rule, convolution_and_norm, dense

STAGE = r"layer(?P<stage>[1-4])\.(?P<block>\d+)"
BLOCK = "conv{stage:+1}_block{block:+1}"
SHORTCUT = convolution_and_norm(rf"{STAGE}\.downsample\.0", rf"{STAGE}\.downsample\.1", f"{BLOCK}_0")
CLASSIFIER = dense("fc", "logits")
SIZE = {"frames": 16, "size": 112}


def _convolution(number: int) -> tuple[Rule, ...]:
    module = rf"{STAGE}\.conv{number}"
    return convolution_and_norm(rf"{module}\.0", rf"{module}\.1", f"{BLOCK}_{number}")


def _factorised(number: int) -> tuple[Rule, ...]:
    module = rf"{STAGE}\.conv{number}"
    return (
        *convolution_and_norm(rf"{module}\.0\.0", rf"{module}\.0\.1", f"{BLOCK}_{number}_spatial"),
        *convolution_and_norm(rf"{module}\.0\.3", rf"{module}\.1", f"{BLOCK}_{number}"),
    )


def _demands(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    return known(depths=depths(tensors, rf"{STAGE}\.conv1\.0\.weight"), base_width=width_of(tensors, "stem.0.weight"))


def _factorised_demands(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    return known(
        depths=depths(tensors, rf"{STAGE}\.conv1\.0\.0\.weight"),
        base_width=width_of(tensors, "stem.3.weight"),
        stem_mid_width=width_of(tensors, "stem.0.weight"),
    )


TORCHVISION_R3D = Family(
    name="torchvision_r3d",
    publisher="torchvision's r3d_18 and mc3_18",
    models=("r3d_18", "mc3_18"),
    rules=(
        *convolution_and_norm(r"stem\.0", r"stem\.1", "conv1"),
        *_convolution(1),
        *_convolution(2),
        *SHORTCUT,
        *CLASSIFIER,
    ),
    normalization="kinetics",
    demands=_demands,
    published=SIZE,
)

TORCHVISION_R2PLUS1D = Family(
    name="torchvision_r2plus1d",
    publisher="torchvision's r2plus1d_18",
    models=("r2plus1d_18",),
    rules=(
        *convolution_and_norm(r"stem\.0", r"stem\.1", "conv1_spatial"),
        *convolution_and_norm(r"stem\.3", r"stem\.4", "conv1"),
        *_factorised(1),
        *_factorised(2),
        *SHORTCUT,
        *CLASSIFIER,
    ),
    normalization="kinetics",
    demands=_factorised_demands,
    published=SIZE,
)
