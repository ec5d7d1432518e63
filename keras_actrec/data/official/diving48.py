"""Diving48 (Li et al., ECCV 2018): 48 kinds of dives, each named by its four attributes.

`data.lists` holds `Diving48_V2_train.json` and `Diving48_V2_test.json`, lists of {"vid_name", "label", "start_frame",
"end_frame"} (a version without `_V2` has the same form), and `Diving48_vocab.json`, the attributes of each class in the
order of the labels: take-off, somersaults, twists, flight position. A video is `<vid_name>.mp4`, anywhere in the root.
The frames are taken as `start_frame` up to before `end_frame`. A name is that of a recording and a number; validation
shares no recording with training.

Version 2 of the lists has 15 027 training and 1 970 test clips; the 16 067 and 2 337 that papers name are those of the
first version, whose labels were partly wrong.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from keras_actrec import files
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.official import lists
from keras_actrec.data.splits import carve_validation
from keras_actrec.errors import UserError

ATTRIBUTES = ("takeoff", "somersault", "twist", "flight position")
_MOST_FRAMES = 10**9
_ENTRY = {"vid_name": str, "label": int, "start_frame": int, "end_frame": int}


def read(root: Path, lists_dir: Path, validation_fraction: float, seed: int) -> Manifest:
    """Return the manifest; its classes are in the order of the official labels.

    Raises:
        UserError: a list is missing or malformed; names file and entry.
    """
    classes = tuple(attributes(lists_dir))
    videos = lists.by_stem(root)
    clips = []
    for split in ("train", "test"):
        path = lists.one_of(lists_dir, (f"Diving48_V2_{split}.json", f"Diving48_{split}.json"))
        clips += [_clip(place, entry, classes, split, videos) for place, entry in lists.entries(path, _ENTRY)]
    lists.check_unique(clips)
    clips = carve_validation(clips, validation_fraction, seed)
    return Manifest.from_clips("diving48", root, 1, clips, classes)


def attributes(lists_dir: str | Path) -> dict[str, dict[str, str]]:
    """Return class -> attribute -> value, in the order of the official labels.

    `{"Back 15som 05Twis FREE": {"takeoff": "Back", "somersault": "15som", "twist": "05Twis", ...}, ...}`

    Raises:
        UserError: `Diving48_vocab.json` is missing or malformed.
    """
    path = Path(lists_dir) / "Diving48_vocab.json"
    found: dict[str, dict[str, str]] = {}
    for number, values in enumerate(lists.document(path, list, "a list of four attributes for each class"), start=1):
        values = values.split() if isinstance(values, str) else values
        if not isinstance(values, list) or len(values) != len(ATTRIBUTES) or not all(map(str.strip, map(str, values))):
            raise UserError(f"{path}, entry {number}: expected {', '.join(ATTRIBUTES)}, found {values!r}.")
        name = " ".join(map(str, values))
        if name in found:
            raise UserError(f"{path}, entry {number}: the class '{name}' is there twice.")
        found[name] = dict(zip(ATTRIBUTES, map(str, values), strict=True))
    return found


def write_attributes(lists_dir: str | Path, path: str | Path) -> None:
    """Publish the attributes as a CSV with the columns `class` and one for each attribute."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *ATTRIBUTES])
    writer.writerows([name, *values.values()] for name, values in attributes(lists_dir).items())
    files.write_text(path, text.getvalue())


def _clip(place: str, entry: dict, classes: tuple[str, ...], split: str, videos: dict[str, str]) -> Clip:
    name = entry["vid_name"]
    label = classes[lists.whole(place, "a label", entry["label"], 0, len(classes) - 1)]
    first, stop = (lists.whole(place, key, entry[key], 0, _MOST_FRAMES) for key in ("start_frame", "end_frame"))
    recording = name.rpartition("_")[0] or name
    return Clip(
        videos.get(name, f"{name}.mp4"),
        label,
        split,
        group=lists.in_split(split, recording),
        start_frame=first,
        end_frame=stop,
    )
