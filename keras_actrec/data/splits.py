"""The official split lists of UCF-101 and HMDB-51, and validation clips carved out of a training list by group.

UCF-101 (`classInd.txt`, `trainlist0K.txt`, `testlist0K.txt`): clips of one class that were cut from one video carry the
same number gNN; numbers of different classes are unrelated, so a group is "Class/gNN".

HMDB-51 (`<class>_test_splitK.txt`, tag 1 train, 2 test, 0 unused): the official lists were made class by class. Within
a class no source straddles train and test (checked by `tests/data/test_splits.py`), but about 140 sources occur in the
training clips of one class and in the test clips of another; a group is therefore "class/source". Validation is carved
by the source alone, so it shares no film with training. Clips with tag 0 are left out: they come from sources of either
side, and would bring test material into any use that is made of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError, did_you_mean

VALIDATION_FRACTION = 0.2
"""As in the "five models" paper: training list : validation = 4 : 1."""
FOLDS = (1, 2, 3)
_UCF_NAME = re.compile(r"_g(\d+)_c\d+\.\w+$")


def read_ucf101(
    lists_dir: str | Path, fold: int, validation_fraction: float = VALIDATION_FRACTION, seed: int = 0
) -> list[Clip]:
    """Read one fold of UCF-101.

    Args:
        lists_dir: folder with `classInd.txt`, `trainlist0K.txt`, `testlist0K.txt`.
        fold: 1, 2 or 3.
        validation_fraction: share of each class's training clips that becomes validation; 0 for none.
        seed: which groups those are.

    Returns:
        Rows with path (`ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi`), label, group and split.

    Raises:
        UserError: a list is missing or a line is malformed; names file and line.
    """
    _check_fold("UCF-101", fold)
    folder = Path(lists_dir)
    classes = dict(_ucf_classes(folder / "classInd.txt"))
    clips = [
        _ucf_clip(place, words, classes, split)
        for split in ("train", "test")
        for place, words in _lines(folder / f"{split}list{fold:02d}.txt")
    ]
    _check_unique(clips)
    return carve_validation(clips, validation_fraction, seed)


def read_hmdb51(
    lists_dir: str | Path, fold: int, validation_fraction: float = VALIDATION_FRACTION, seed: int = 0
) -> list[Clip]:
    """Read one fold of HMDB-51.

    Args:
        lists_dir: folder with the files `<class>_test_split<fold>.txt`.
        fold: 1, 2 or 3.
        validation_fraction: share of each class's training clips that becomes validation; 0 for none.
        seed: which sources those are.

    Returns:
        Rows with path (`brush_hair/NAME.avi`), label, group and split; clips that the fold does not use are left out.

    Raises:
        UserError: a list is missing or a line is malformed; names file and line.
    """
    _check_fold("HMDB-51", fold)
    folder = Path(lists_dir)
    suffix = f"_test_split{fold}.txt"
    lists = sorted(folder.glob(f"*{suffix}"))
    _check_hmdb_lists(folder, suffix, lists)
    clips = []
    for path in lists:
        label = path.name.removesuffix(suffix)
        rows = (_hmdb_clip(place, words, label) for place, words in _lines(path))
        clips += [clip for clip in rows if clip is not None]
    _check_unique(clips)
    return carve_validation(clips, validation_fraction, seed, key=film_key)


def carve_validation(
    clips: Iterable[Clip], fraction: float, seed: int, key: Callable[[Clip], str] | None = None
) -> list[Clip]:
    """Move whole groups of training clips to validation, about `fraction` of the clips of every class.

    Args:
        clips: rows of all splits; only those with split "train" may move.
        fraction: wanted share of each class's training clips.
        seed: decides which groups.
        key: names a clip's group; default `clip.group`, or its path where that is empty.

    Returns:
        All rows in their order. Each class keeps training clips, and gets a validation clip when it has two groups.
    """
    return carve(clips, fraction, seed, "validation", key)


def carve(
    clips: Iterable[Clip], fraction: float, seed: int, target: str, key: Callable[[Clip], str] | None = None
) -> list[Clip]:
    """Move whole groups from "train" to the split `target` (see `carve_validation`).

    Groups are visited in the order of a hash of seed, target and name. So the choice depends on no other randomness,
    and clips that are added later move few of the others.
    """
    clips = list(clips)
    key = key or group_key
    groups: dict[str, Counter[str | None]] = defaultdict(Counter)
    for clip in clips:
        if clip.split == "train":
            groups[key(clip)][clip.label] += 1
    chosen = _choose_groups(groups, fraction, f"{seed}/{target}") if fraction > 0 else set()
    return [
        dataclasses.replace(clip, split=target) if clip.split == "train" and key(clip) in chosen else clip
        for clip in clips
    ]


def group_key(clip: Clip) -> str:
    """Return the name of a clip's group; a clip of unknown origin is a group of its own."""
    return clip.group or clip.path


def film_key(clip: Clip) -> str:
    """Return what a clip of HMDB-51 was cut from, whose groups are those of one class."""
    return clip.group.partition("/")[2] or group_key(clip)


def origin_key(collection: str) -> Callable[[Clip], str]:
    """Return what names the origin of a collection's clips, of which no two splits should have a part."""
    return film_key if collection == "hmdb51" else group_key


def _choose_groups(groups: dict[str, Counter[str | None]], fraction: float, salt: str) -> set[str]:
    """Choose groups so that every class comes near its share and keeps something.

    First in the order of the hash, each group that brings the classes nearer to their shares; then, for classes that
    have nothing yet, their smallest groups.
    """
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{salt}/{name}".encode()).digest())
    total: Counter[str | None] = Counter()
    for counts in groups.values():
        total.update(counts)
    taken: Counter[str | None] = Counter()
    chosen: set[str] = set()

    def keeps_all_classes(name: str) -> bool:
        return all(taken[label] + count < total[label] for label, count in groups[name].items())

    def gain(name: str) -> float:
        wanted = {label: fraction * total[label] - taken[label] for label in groups[name]}
        return sum(abs(wanted[label]) - abs(wanted[label] - count) for label, count in groups[name].items())

    def take(name: str) -> None:
        chosen.add(name)
        taken.update(groups[name])

    for name in order:
        if keeps_all_classes(name) and gain(name) > 0:
            take(name)
    for label in sorted(total, key=str):
        if taken[label]:
            continue
        left = [name for name in order if label in groups[name] and keeps_all_classes(name)]
        if left:
            take(min(left, key=lambda name: groups[name].total()))
    return chosen


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield "file, line n" and the words of each line that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no list {path}; `data.lists` must name the folder of the official lists.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path}: {error}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.split()


def _ucf_classes(path: Path) -> Iterator[tuple[str, str]]:
    for place, words in _lines(path):
        if len(words) != 2 or not words[0].isdecimal():
            raise UserError(f"{place}: expected a number and a class, found '{' '.join(words)}'.")
        yield words[1], words[0]


def _ucf_clip(place: str, words: Sequence[str], classes: dict[str, str], split: str) -> Clip:
    found = _UCF_NAME.search(words[0])
    label, slash, name = words[0].partition("/")
    if len(words) > 2 or not found or not slash or "/" in name:
        raise UserError(f"{place}: expected Class/v_Class_gNN_cNN.avi and perhaps a number, found '{' '.join(words)}'.")
    if label not in classes:
        raise UserError(f"{place}: class '{label}' is not in classInd.txt.{did_you_mean(label, classes)}")
    if len(words) == 2 and words[1] != classes[label]:
        raise UserError(f"{place}: class '{label}' has number {classes[label]} in classInd.txt, here {words[1]}.")
    return Clip(words[0], label, split, group=f"{label}/g{found[1]}")


def _check_hmdb_lists(folder: Path, suffix: str, lists: Sequence[Path]) -> None:
    if not lists:
        raise UserError(f"there is no list *{suffix} in {folder}; `data.lists` must name the folder of the lists.")
    classes = {re.sub(r"_test_split\d\.txt$", "", path.name) for path in folder.glob("*_test_split?.txt")}
    missing = sorted(classes - {path.name.removesuffix(suffix) for path in lists})
    if missing:
        raise UserError(f"there is no list {folder / (missing[0] + suffix)}, but other folds have that class.")


def _hmdb_clip(place: str, words: Sequence[str], label: str) -> Clip | None:
    if len(words) != 2 or words[1] not in ("0", "1", "2"):
        raise UserError(f"{place}: expected a file and 0, 1 or 2, found '{' '.join(words)}'.")
    if words[1] == "0":
        return None
    # NAME is source_class_body_camera_people_view_quality_number.avi; the class may occur in the source too.
    source = re.sub(rf"_{re.escape(label)}_(?!.*_{re.escape(label)}_).*$", "", words[0])
    return Clip(f"{label}/{words[0]}", label, "train" if words[1] == "1" else "test", group=f"{label}/{source}")


def _check_fold(name: str, fold: int) -> None:
    if fold not in FOLDS:
        raise UserError(f"{name} has the folds 1, 2 and 3; fold {fold} was asked for.")


def _check_unique(clips: Sequence[Clip]) -> None:
    path, count = Counter(clip.path for clip in clips).most_common(1)[0] if clips else ("", 0)
    if not clips:
        raise UserError("the official lists name no clip; check `data.lists`.")
    if count > 1:
        splits = sorted({clip.split for clip in clips if clip.path == path})
        raise UserError(f"the official lists name {path} {count} times ({', '.join(splits)}); expected once.")
