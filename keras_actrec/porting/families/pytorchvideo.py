"""PyTorchVideo: `slow_r50` (Feichtenhofer et al. 2019) and `i3d_r50` (Carreira and Zisserman 2017), Kinetics-400.

The network is a list, `blocks`: the stem, four stages, the head. `i3d_r50` has its pooling over time among them, behind
the first stage, so that the later ones count one higher. In a block `conv_a`, `conv_b`, `conv_c` are the three
convolutions, `norm_a` and so on their normalisations, `branch1_conv` the shortcut. The spatial stride is on `conv_b`.
"""

from __future__ import annotations

import functools
from typing import Any

from keras_actrec.porting.family import Family, depths, known, width_of
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Rule, convolution_and_norm, dense

CONVOLUTIONS = {"a": 1, "b": 2, "c": 3}
# (number in `blocks`, as a regular expression; how our stage number follows from it).
SLOW_STAGES = (("[1-4]", "{stage:+1}"),)
I3D_STAGES = (("1", "{stage:+1}"), ("[345]", "{stage}"))


def _rules(stages: tuple[tuple[str, str], ...], head: int) -> tuple[Rule, ...]:
    rules = (
        *convolution_and_norm(r"blocks\.0\.conv", r"blocks\.0\.norm", "conv1"),
        *dense(rf"blocks\.{head}\.proj", "logits"),
    )
    for numbers, stage in stages:
        rules += _stage(_block(numbers), f"conv{stage}_block{{block:+1}}")
    return rules


def _block(numbers: str) -> str:
    return rf"blocks\.(?P<stage>{numbers})\.res_blocks\.(?P<block>\d+)"


def _stage(theirs: str, ours: str) -> tuple[Rule, ...]:
    rules = convolution_and_norm(rf"{theirs}\.branch1_conv", rf"{theirs}\.branch1_norm", f"{ours}_0")
    for letter, number in CONVOLUTIONS.items():
        branch = rf"{theirs}\.branch2"
        rules += convolution_and_norm(rf"{branch}\.conv_{letter}", rf"{branch}\.norm_{letter}", f"{ours}_{number}")
    return rules


def _demands(tensors: Tensors, settings: Settings, numbers: str) -> dict[str, Any]:
    return known(
        stride_on="3x3",
        depths=depths(tensors, rf"{_block(numbers)}\.branch2\.conv_a\.weight"),
        base_width=width_of(tensors, "blocks.0.conv.weight"),
    )


PYTORCHVIDEO_SLOW = Family(
    name="pytorchvideo_slow",
    publisher="PyTorchVideo's slow_r50",
    models=("r3d_50",),
    rules=_rules(SLOW_STAGES, head=5),
    normalization="slowfast",
    demands=functools.partial(_demands, numbers="[1-4]"),
    published={"frames": 8, "size": 224},
)

PYTORCHVIDEO_I3D = Family(
    name="pytorchvideo_i3d",
    publisher="PyTorchVideo's i3d_r50",
    models=("i3d_resnet50",),
    rules=_rules(I3D_STAGES, head=6),
    normalization="slowfast",
    demands=functools.partial(_demands, numbers="[1345]"),
    published={"frames": 8, "size": 224},
)
