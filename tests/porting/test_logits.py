"""Imported networks answer as the originals do: every family, in inference mode, in float32.

`pytest tests/porting/test_logits.py -s` prints the largest relative difference of each; docs/weights.md has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the original networks run on PyTorch")

import reference_c3d as c3d  # noqa: E402
import reference_common as common  # noqa: E402
import reference_i3d_inception as inception  # noqa: E402
import reference_i3res as i3res  # noqa: E402
import reference_pytorchvideo as pytorchvideo  # noqa: E402
import reference_torchvision as torchvision  # noqa: E402

from keras_actrec.porting import importing, reading  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Case:
    """A network of a family.

    Attributes:
        model: ours.
        family: that is to be recognised.
        build: theirs.
        narrow: arguments that make it small.
        frames, size: of the clips.
        full_size: of the clips for the network as published.
    """

    model: str
    family: str
    build: Callable[..., Any]
    narrow: dict[str, Any]
    frames: int = 8
    size: int = 64
    full_size: int = 64


NARROW_50 = {"num_classes": 7, "width": 8, "depths": (1, 2, 2, 2)}
NARROW_C3D = {"num_classes": 7, "widths": (4, 6, 8, 8, 10), "units": 32}
CASES = {
    "r3d_18": Case("r3d_18", "torchvision_r3d", torchvision.r3d_18, {"num_classes": 7, "width": 8, "depth": 1}),
    "mc3_18": Case("mc3_18", "torchvision_r3d", torchvision.mc3_18, {"num_classes": 7, "width": 8}),
    "r2plus1d_18": Case("r2plus1d_18", "torchvision_r2plus1d", torchvision.r2plus1d_18, {"num_classes": 7, "width": 8}),
    "slow_r50": Case("r3d_50", "pytorchvideo_slow", pytorchvideo.slow_r50, NARROW_50),
    "i3d_r50": Case("i3d_resnet50", "pytorchvideo_i3d", pytorchvideo.i3d_r50, NARROW_50),
    "i3res50": Case("i3d_resnet50", "i3res", i3res.i3res50, NARROW_50, frames=16),
    "i3res50_nl": Case("non_local", "i3res", i3res.i3res50, {**NARROW_50, "use_nl": True}, frames=16),
    "c3d": Case("c3d", "c3d", c3d.c3d, NARROW_C3D, frames=16, size=112, full_size=112),
    "c3d_sequential": Case("c3d", "c3d_sequential", c3d.c3d_sequential, NARROW_C3D, frames=16, size=112, full_size=112),
    "inception_i3d": Case(
        "i3d_inception", "i3d_inception", inception.inception_i3d, {"num_classes": 7, "factor": 1 / 16}, 24, 224, 224
    ),
}
# What makes the published network where it is not what the function builds by itself.
FULL: dict[str, dict[str, Any]] = {"i3res50_nl": {"use_nl": True}}
ORDINARY = "r3d_18"
# Those of a family with a larger network that continuous integration compares; and C3D again, at 300 MB each.
LEFT_OUT_OF_CI = ("mc3_18", "i3res50", "c3d_sequential")


def compare(name: str, network: Any, source: Path, size: int, tmp_path: Path) -> importing.Report:
    """Import and compare the logits; return the report."""
    case = CASES[name]
    out = tmp_path / f"{name}.keras"
    report = importing.import_weights(
        case.model, source, out, {"frames": case.frames, "size": size}, say=lambda _: None
    )
    values = common.clips(case.frames, size)
    theirs, ours = common.their_logits(network, values), common.our_logits(out, values)
    common.assert_telling(theirs)
    difference = common.largest_relative_difference(ours, theirs)
    print(f"\n{name} -> {case.model}: largest relative difference {difference:.1e}", end="")
    assert difference < common.LARGEST_DIFFERENCE
    return report


@pytest.mark.parametrize("name", CASES)
def test_a_narrow_network_gives_the_same_logits(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    network = common.randomised(case.build(**case.narrow))
    torch_file = common.save(network, tmp_path / "weights.pth")
    safetensors_file = common.save(network, tmp_path / "weights.safetensors")
    one, other = reading.read(torch_file).tensors, reading.read(safetensors_file).tensors
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[tensor], other[tensor]) for tensor in one)

    report = compare(name, network, torch_file, case.size, tmp_path)

    assert report.family.name == case.family
    assert report.num_classes == case.narrow["num_classes"]
    assert not report.match.strangers
    assert not report.match.orphans


def full(name: str) -> Any:
    marks = [] if name == ORDINARY else [pytest.mark.slow]
    if marks and name not in LEFT_OUT_OF_CI:
        marks.append(pytest.mark.ci)
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [full(name) for name in CASES])
def test_a_published_network_gives_the_same_logits(name: str, tmp_path: Path) -> None:
    """At full width and depth, with options left to the weights but for a short, small clip."""
    case = CASES[name]
    network = common.randomised(case.build(**FULL.get(name, {})))
    source = common.save(network, tmp_path / "weights.safetensors")
    report = compare(name, network, source, case.full_size, tmp_path)
    counted = sum(parameter.numel() for parameter in network.state_dict().values() if parameter.is_floating_point())
    assert counted == sum(value.size for value in report.match.values.values())
