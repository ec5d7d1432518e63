"""pytorch-i3d: `InceptionI3d` (Carreira and Zisserman 2017), converted from the original or trained further.

Each unit has `conv3d` and `bn`. The branches of a module are b0, b1a, b1b, b2a, b2b, b3b. The classifier is a 1x1x1
convolution.
"""

from __future__ import annotations

from typing import Any

from keras_actrec.porting.family import Family, known, width_of
from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Rule, convolution_and_norm, dense

PLAIN = r"(?P<unit>Conv3d_1a_7x7|Conv3d_2b_1x1|Conv3d_2c_3x3)"
MODULE = r"(?P<module>Mixed_[345][b-f])"
BRANCHES = {
    "b0": "Branch_0_Conv3d_0a_1x1",
    "b1a": "Branch_1_Conv3d_0a_1x1",
    "b1b": "Branch_1_Conv3d_0b_3x3",
    "b2a": "Branch_2_Conv3d_0a_1x1",
    "b2b": "Branch_2_Conv3d_0b_3x3",
    "b3b": "Branch_3_Conv3d_0b_1x1",
}
STEM_WIDTH = 64


def _unit(theirs: str, ours: str) -> tuple[Rule, ...]:
    return convolution_and_norm(rf"{theirs}\.conv3d", rf"{theirs}\.bn", ours)


def _rules() -> tuple[Rule, ...]:
    rules = (*_unit(PLAIN, "{unit}"), *dense(r"logits\.conv3d", "logits"))
    for theirs, ours in BRANCHES.items():
        rules += _unit(rf"{MODULE}\.{theirs}", f"{{module}}_{ours}")
    return rules


def _demands(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    width = width_of(tensors, "Conv3d_1a_7x7.conv3d.weight")
    return known(width_factor=width and width / STEM_WIDTH)


I3D_INCEPTION = Family(
    name="i3d_inception",
    publisher="pytorch-i3d's InceptionI3d",
    models=("i3d_inception",),
    rules=_rules(),
    normalization="minus_one_one",
    demands=_demands,
    published={"frames": 64, "size": 224},
)
