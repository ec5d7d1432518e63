"""pytorch-resnet3d: `I3Res50`, an inflated ResNet-50 with or without non-local blocks, converted from the networks of
Wang et al. 2018, trained on Kinetics-400.

Names are those of torchvision's image ResNets; a non-local block is `nl` of the block that it follows. The stem has
stride 2 in time, the poolings have no padding, the spatial strides are on the 3x3 convolutions, and the dot products of
the non-local blocks are scaled.
"""

from __future__ import annotations

import re
from typing import Any

from keras_actrec.porting.family import Family, depths, known, width_of
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Rule, batch_norm, convolution, convolution_and_norm, dense

STAGE = r"layer(?P<stage>[1-4])\.(?P<block>\d+)"
BLOCK = "conv{stage:+1}_block{block:+1}"
GEOMETRY = {
    "stride_on": "3x3",
    "stem_temporal_stride": 2,
    "stem_pool_kernel": (2, 3, 3),
    "stem_pool_stride": (2, 2, 2),
    "stem_pool_padded": False,
    "temporal_pool": True,
}
NON_LOCAL = {"body": "i3d_resnet50", "kind": "embedded_gaussian", "subsample": True, "reduction": 2, "scaled": True}


def _rules() -> tuple[Rule, ...]:
    rules = (*convolution_and_norm("conv1", "bn1", "conv1"), *dense("fc", "logits"))
    for number in (1, 2, 3):
        rules += convolution_and_norm(rf"{STAGE}\.conv{number}", rf"{STAGE}\.bn{number}", f"{BLOCK}_{number}")
    rules += convolution_and_norm(rf"{STAGE}\.downsample\.0", rf"{STAGE}\.downsample\.1", f"{BLOCK}_0")
    for part in ("theta", "phi", "g", "out"):
        rules += convolution(rf"{STAGE}\.nl\.{part}", f"{BLOCK}_non_local/{part}")
    return (*rules, *batch_norm(rf"{STAGE}\.nl\.bn", f"{BLOCK}_non_local/bn"))


def _demands(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    return known(
        **GEOMETRY,
        **NON_LOCAL,
        depths=depths(tensors, rf"{STAGE}\.conv1\.weight"),
        base_width=width_of(tensors, "conv1.weight"),
        blocks_per_stage=_blocks_per_stage(tensors),
    )


def _blocks_per_stage(tensors: Tensors) -> tuple[tuple[int, ...], ...]:
    """Return the numbers, from 1, of the blocks that a non-local one follows; empty where there are none."""
    matches = [found for name in tensors if (found := re.fullmatch(rf"{STAGE}\.nl\.theta\.weight", name))]
    found = [(int(match["stage"]), int(match["block"]) + 1) for match in matches]
    stages = tuple(tuple(sorted(block for at, block in found if at == stage)) for stage in range(1, 5))
    return stages if any(stages) else ()


I3RES = Family(
    name="i3res",
    publisher="pytorch-resnet3d's I3Res50",
    models=("i3d_resnet50", "non_local"),
    rules=_rules(),
    normalization="slowfast",
    demands=_demands,
    published={"frames": 32, "size": 224},
)
