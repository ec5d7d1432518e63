"""ChaLearn IsoGD (Wan et al., CVPRW 2016): 249 gestures, RGB (`M_00001.avi`) and depth (`K_00001.avi`).

`data.lists` holds `train_list.txt`, `valid_list.txt` and `test_list.txt` (or `train.txt`, `valid.txt`, `test.txt`, as a
later release calls them). A line is one of

    train/001/M_00001.avi train/001/K_00001.avi 26      the official one: RGB, depth, label from 1 to 249
    train/001/M_00001 55 25                             of De+Recouple's code: video, frames, label from 0 to 248

and both may be mixed. In the second form the video is `M_00001.avi` or a folder of pictures `M_00001`. The folders
`train`, `valid` and `test` lie in the root, or in `IsoGD_phase_1` and `IsoGD_phase_2` there, as they were released.
Classes are called by their official number, "001" to "249".

The collection is user independent: training, validation and test show different people. With a test list the official
validation list is validation; without one it becomes the test split, and validation is carved out of training, by
sub-folder (`train/001`), since the lists do not tell who is who.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.official import lists
from keras_actrec.data.splits import carve_validation
from keras_actrec.errors import UserError

CLASSES = tuple(f"{number:03d}" for number in range(1, 250))
_PHASES = ("", "IsoGD_phase_1/", "IsoGD_phase_2/")
_VIDEO = re.compile(r"(?P<folder>[\w./-]+)/(?P<kind>[MK])_(?P<number>\d+)(?P<suffix>\.\w+)?")


def read(root: Path, lists_dir: Path, validation_fraction: float, seed: int) -> Manifest:
    """Return the manifest, with RGB as video and depth beside it; all 249 classes in the official order.

    Raises:
        UserError: a list is missing, a line is malformed or has no label; names file and line.
    """
    training = lists.one_of(lists_dir, ("train_list.txt", "train.txt"))
    validation = lists.one_of(lists_dir, ("valid_list.txt", "valid.txt"))
    test = next((path for name in ("test_list.txt", "test.txt") if (path := lists_dir / name).is_file()), None)
    clips = list(_clips(training, "train", root))
    clips += _clips(validation, "validation" if test else "test", root)
    clips += _clips(test, "test", root) if test else []
    lists.check_unique(clips)
    if not test:
        clips = carve_validation(clips, validation_fraction, seed)
    return Manifest.from_clips("isogd", root, 1, clips, CLASSES)


def _clips(path: Path, split: str, root: Path) -> Iterator[Clip]:
    bases: dict[str, str] = {}
    for place, line in lists.lines(path):
        video, depth, number, frames = _parse(place, line)
        top = video["folder"].split("/")[0]
        base = bases.setdefault(top, _base(root, top))
        names = [base + _file(root / base, part, kind) for part, kind in ((video, "M"), (depth or video, "K"))]
        yield Clip(names[0], CLASSES[number - 1], split, group=video["folder"], frames=frames, depth=names[1])


def _parse(place: str, line: str) -> tuple[re.Match, re.Match | None, int, int | None]:
    """Return RGB, depth (None: named like it), label from 1, and number of frames."""
    words = line.split()
    video = _VIDEO.fullmatch(words[0])
    depth = _VIDEO.fullmatch(words[1]) if len(words) == 3 else None
    if video and depth and (video["kind"], depth["kind"]) == ("M", "K") and video["number"] == depth["number"]:
        return video, depth, lists.whole(place, "a label", words[2], 1, len(CLASSES)), None
    if video and len(words) == 3 and words[1].isdecimal():
        number = 1 + lists.whole(place, "a label (this form counts from 0)", words[2], 0, len(CLASSES) - 1)
        return video, None, number, int(words[1])
    forms = "'train/001/M_00001.avi train/001/K_00001.avi 26' or 'train/001/M_00001 55 25'"
    raise UserError(f"{place}: expected {forms}, found '{line}'.")


def _file(base: Path, video: re.Match, kind: str) -> str:
    name = f"{video['folder']}/{kind}_{video['number']}"
    if video["suffix"]:
        return name + video["suffix"]
    return name if (base / name).is_dir() else f"{name}.avi"


def _base(root: Path, top: str) -> str:
    return next((phase for phase in _PHASES if (root / phase / top).is_dir()), "")
