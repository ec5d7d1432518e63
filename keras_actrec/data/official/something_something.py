"""Something-Something v2 (Goyal et al., ICCV 2017): 174 templates such as "Putting something into something".

`data.lists` holds `something-something-v2-train.json`, `-validation.json` and `-labels.json` (or the later release's
`train.json`, `validation.json`, `labels.json`). An entry names the video (`id`, a file `<id>.webm` anywhere in the
root) and its `template`, whose brackets are left out to give a label of the list of labels. The official test list has
no labels; so the official validation list is our test split, and validation is carved out of training, video by
video: who acts in them is not told.
"""

from __future__ import annotations

from pathlib import Path

from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.official import lists
from keras_actrec.data.splits import carve_validation
from keras_actrec.errors import UserError, did_you_mean

_LISTS = {"train": "train", "validation": "test"}


def read(root: Path, lists_dir: Path, validation_fraction: float, seed: int) -> Manifest:
    """Return the manifest; its classes are in the order of the official numbers.

    Raises:
        UserError: a list is missing or malformed; names file and entry.
    """
    classes = _classes(_list(lists_dir, "labels"))
    known, videos = frozenset(classes), lists.by_stem(root)
    clips = [
        _clip(place, entry, known, split, videos)
        for name, split in _LISTS.items()
        for place, entry in lists.entries(_list(lists_dir, name), {"id": (str, int), "template": str})
    ]
    lists.check_unique(clips)
    clips = carve_validation(clips, validation_fraction, seed)
    return Manifest.from_clips("something_something_v2", root, 1, clips, classes)


def _list(lists_dir: Path, name: str) -> Path:
    return lists.one_of(lists_dir, (f"something-something-v2-{name}.json", f"{name}.json"))


def _classes(path: Path) -> tuple[str, ...]:
    """Return the labels in the order of their numbers, which count from 0."""
    labels = lists.document(path, dict, "labels and their numbers")
    numbers = {
        lists.whole(str(path), "a number", number, 0, len(labels) - 1): label for label, number in labels.items()
    }
    if len(numbers) != len(labels):
        raise UserError(f"{path}: expected a number of its own for each label from 0 to {len(labels) - 1}.")
    return tuple(numbers[number] for number in range(len(labels)))


def _clip(place: str, entry: dict, classes: frozenset[str], split: str, videos: dict[str, str]) -> Clip:
    label = entry["template"].replace("[", "").replace("]", "")
    if label not in classes:
        raise UserError(f"{place}: the template '{label}' is none of the labels.{did_you_mean(label, classes)}")
    name = str(entry["id"])
    return Clip(videos.get(name, f"{name}.webm"), label, split)
