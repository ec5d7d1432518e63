"""NTU RGB+D (Shahroudy et al., CVPR 2016) and NTU RGB+D 120 (Liu et al., TPAMI 2019): RGB and depth of daily actions.

There are no lists: the name tells all. `S001C002P003R002A013` is setup 1, camera 2, performer 3, repetition 2, action
13. Anywhere in the root lie the RGB videos, `NAME_rgb.avi`, and perhaps the depth maps, folders `NAME` of 16 bit PNGs
in millimetres below a folder with "depth" in its name (`nturgb+d_depth_masked/NAME/MDepth-00000000.png`), or depth
videos `NAME_depth.SUFFIX`. RGB may be a folder of pictures as well, `NAME_rgb`, or `NAME` below a folder without
"depth" in its name. Where only depth is there it stands for RGB, too, so that `data.modalities: [depth]` works.

Protocols: `cross_subject` trains on 20 of the 40 performers; `cross_view` trains on cameras 2 and 3 and tests on camera
1. Both take setups 1 to 17 and actions 1 to 60. `cross_subject_120` (53 of 106 performers) and `cross_setup_120` (even
setups) take all. Validation is carved out of training by performer. In `cross_view` and `cross_setup_120` the same
people are in training and test, by design of the protocols.

`data.lists` may name a text file, or a folder with files `*missing*.txt`, of samples to be left out: the authors' list
of the 302 (535 of 120 classes) whose skeletons are missing or incomplete. Only comparisons with skeletons need that.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.official import lists
from keras_actrec.data.official.ntu_rgbd_classes import ACTIONS
from keras_actrec.data.splits import carve_validation
from keras_actrec.errors import UserError

TRAINING_SUBJECTS = frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38))
TRAINING_SUBJECTS_120 = TRAINING_SUBJECTS.union(
    (45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80),
    (81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
)
_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
_FILE = re.compile(rf"({_NAME.pattern})(_rgb|_depth)?")


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a name tells, each counted from 1."""

    setup: int
    camera: int
    performer: int
    repetition: int
    action: int


@dataclasses.dataclass(frozen=True)
class _Protocol:
    """Which samples there are, and which of them are for training."""

    setups: int
    actions: int
    trains: Callable[[Sample], bool]


_PROTOCOLS = {
    "cross_subject": _Protocol(17, 60, lambda sample: sample.performer in TRAINING_SUBJECTS),
    "cross_view": _Protocol(17, 60, lambda sample: sample.camera in (2, 3)),
    "cross_subject_120": _Protocol(32, 120, lambda sample: sample.performer in TRAINING_SUBJECTS_120),
    "cross_setup_120": _Protocol(32, 120, lambda sample: sample.setup % 2 == 0),
}


def read(root: Path, lists_path: Path | None, protocol: str, validation_fraction: float, seed: int) -> Manifest:
    """Return the manifest of a protocol; its classes are the 60 (120) actions in the official order.

    Args:
        root: folder of the videos and depth maps.
        lists_path: text file of samples to leave out, or a folder that holds it; None for none.
        protocol: see the module.
        validation_fraction: share of each class's training clips that becomes validation.
        seed: decides which performers.

    Raises:
        UserError: no video with such a name, one that is there twice, or a malformed list of samples to leave out.
    """
    rules = _PROTOCOLS[protocol]
    left_out = _left_out(lists_path)
    clips = [
        _clip(name, parse(name), rules, parts)
        for name, parts in sorted(_find(root).items())
        if name not in left_out and _takes_part(parse(name), rules)
    ]
    if not clips:
        raise UserError(
            f"{root} holds no video or depth map of {protocol}; expected files like S001C001P001R001A001_rgb.avi, in "
            "any sub-folder of `data.root`."
        )
    clips = carve_validation(clips, validation_fraction, seed)
    return Manifest.from_clips("ntu_rgbd", root, 1, clips, ACTIONS[: rules.actions])


def parse(name: str) -> Sample:
    """Return what a name tells.

    Raises:
        UserError: it is no name of a sample.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise UserError(f"expected a sample like S001C001P001R001A001, found '{name}'.")
    return Sample(*map(int, match.groups()))


def _takes_part(sample: Sample, rules: _Protocol) -> bool:
    return 1 <= sample.setup <= rules.setups and 1 <= sample.action <= rules.actions


def _find(root: Path) -> dict[str, dict[str, str]]:
    """Return name -> modality -> path."""
    found: dict[str, dict[str, str]] = {}
    for path in lists.find_videos(root, lambda name: bool(_FILE.fullmatch(name))):
        match = _FILE.fullmatch(Path(path).stem)
        if not match:
            continue
        parts, modality = found.setdefault(match[1], {}), _modality(root, path, match[match.re.groups])
        if modality in parts:
            raise UserError(f"{root} holds {match[1]} twice as {modality}: {parts[modality]} and {path}; remove one.")
        parts[modality] = path
    return found


def _modality(root: Path, path: str, ending: str | None) -> str:
    if ending:
        return ending[1:]
    folder = f"{root.resolve().name}/{path.rpartition('/')[0]}".lower()
    return "depth" if "depth" in folder else "rgb"


def _clip(name: str, sample: Sample, rules: _Protocol, parts: dict[str, str]) -> Clip:
    split = "train" if rules.trains(sample) else "test"
    return Clip(
        parts.get("rgb") or parts["depth"],
        ACTIONS[sample.action - 1],
        split,
        group=lists.in_split(split, f"P{sample.performer:03d}"),
        fps=30.0,
        depth=parts.get("depth"),
    )


def _left_out(path: Path | None) -> frozenset[str]:
    """Return the names in the lists of samples to leave out; sentences may stand above them."""
    if path is None:
        return frozenset()
    paths: Iterable[Path] = [path]
    if path.is_dir():
        paths = sorted(path.glob("*missing*.txt"))
        if not paths:
            raise UserError(
                f"{path} holds no list *missing*.txt of samples to leave out; leave `data.lists` away to keep all."
            )
    return frozenset(name for path in paths for name in _names(path))


def _names(path: Path) -> list[str]:
    names: list[str] = []
    for place, line in lists.lines(path):
        name = line.removesuffix(".skeleton")
        if _NAME.fullmatch(name):
            names.append(name)
        elif names:
            raise UserError(f"{place}: expected a sample like S001C001P001R001A001, found '{line}'.")
    if not names:
        raise UserError(f"{path} names no sample like S001C001P001R001A001.")
    return names
