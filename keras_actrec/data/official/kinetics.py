"""Kinetics-400, -600 and -700 (Kay et al., 2017; Carreira et al., 2018 and 2019).

`data.lists` holds a CSV with `train` in its name and one with `val` (`train.csv`, `val.csv`, `validate.csv`,
`kinetics_val.csv`, ...), with the columns `label`, `youtube_id`, `time_start`, `time_end` and perhaps `split`. A video
is `<youtube_id>_000012_000022.mp4` (start and end in seconds, six digits) or `<youtube_id>.mp4`, with any suffix of a
video, in class folders or not, anywhere in the root: cut already, as everybody passes them on.

Many of the listed videos exist no more. They stay in the manifest, are quarantined as "missing file" and lower the
coverage that stands beside each accuracy. Results are reported on the official validation list, since the labels of
the test list were long kept back; so that list is our test split, and validation is carved out of training, by YouTube
video.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.official import lists
from keras_actrec.data.splits import carve_validation
from keras_actrec.errors import UserError

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_LISTS = {
    "train": (("train.csv", "*train*.csv"), ("train",)),
    "test": (("val.csv", "validate.csv", "*val*.csv"), ("val", "validate", "validation")),
}


def read(root: Path, lists_dir: Path, validation_fraction: float, seed: int) -> Manifest:
    """Return the manifest; its classes are the labels of both lists, sorted.

    Raises:
        UserError: a list is missing or malformed; names file and line.
    """
    videos = lists.by_stem(root)
    clips = [clip for split in _LISTS for clip in _clips(lists_dir, split, videos)]
    lists.check_unique(clips)
    clips = carve_validation(clips, validation_fraction, seed)
    return Manifest.from_clips("kinetics", root, 1, clips)


def _clips(lists_dir: Path, split: str, videos: dict[str, str]) -> Iterator[Clip]:
    names, words = _LISTS[split]
    for place, row in lists.table(lists.one_of(lists_dir, names), _COLUMNS):
        if row.get("split") and row["split"] not in words:
            raise UserError(f"{place}: expected the split '{words[0]}' in this file, found '{row['split']}'.")
        name, source = _name(place, row), row["youtube_id"]
        path = videos.get(name) or videos.get(source) or f"{row['label']}/{name}.mp4"
        yield Clip(path, row["label"], split, group=lists.in_split(split, source))


def _name(place: str, row: dict[str, str]) -> str:
    """Return what the file of a stretch is called, without its suffix."""
    times = []
    for column in ("time_start", "time_end"):
        if not re.fullmatch(r"\d+(\.0*)?", row[column]):
            raise UserError(f"{place}: expected whole seconds for {column}, found '{row[column]}'.")
        times.append(int(float(row[column])))
    return f"{row['youtube_id']}_{times[0]:06d}_{times[1]:06d}"
