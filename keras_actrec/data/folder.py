"""One's own videos: a folder with a sub-folder per class.

Every file below a class folder (nested folders allowed) is a clip, whatever its name ends with: what turns out to be no
video is quarantined with its reason when it is read, instead of being passed over in silence. Only hidden files (a name
that begins with a dot) and the file managers' own (`Thumbs.db`, `desktop.ini`) are left out.

Splits are made by group, by a hash of seed and group (see `splits.carve`), so that they do not depend on the order in
which a file system lists its files and change little when files are added. Sub-folders that are called `train`, `val`
(or `validation`, `valid`) and `test` and hold the class folders are taken as they are; what is missing of validation
and test is carved out of `train`.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_actrec.data import boxes
from keras_actrec.data.manifest import Clip
from keras_actrec.data.splits import carve, group_key
from keras_actrec.errors import UserError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv", ".wmv", ".asf"}
    | {".3gp", ".ogv", ".mxf", ".vob", ".divx"}
)
_SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_IGNORED = frozenset({"thumbs.db", "desktop.ini", "__macosx", boxes.DETECTED})


def read_folder(
    root: str | Path,
    *,
    groups: str | None = None,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> list[Clip]:
    """List and split the videos of a folder.

    Args:
        root: folder of class folders, or of `train`, `val` and `test` folders that hold these.
        groups: regular expression whose first group, found in a file's path (relative, with forward slashes), names its
            group (person, scene); clips of a group stay together. None: every file is its own group.
        test_fraction: share of each class that becomes the test split; 0 for none.
        validation_fraction: share of the remaining clips of each class that becomes validation.
        seed: decides which groups.

    Returns:
        One row per file, with path, label, group and split.

    Raises:
        UserError: no such folder, no class folders, an unusable expression, or too few videos in a class.
    """
    root = Path(root)
    pattern = _compile(groups)
    folders = _class_folders(root)
    clips = [
        Clip(path, label, split, group=_group(pattern, path))
        for split, label, folder in folders
        for path in _files(root, folder)
    ]
    present = {split for split, _, _ in folders}
    wanted = {"test": test_fraction, "validation": validation_fraction}
    carved = {split: share for split, share in wanted.items() if split not in present and share > 0}
    _check_enough(root, clips, sorted({label for _, label, _ in folders}), len(carved) + 1)
    for split, share in carved.items():
        clips = carve(clips, share, seed, split)
    _check_split(clips, carved)
    return clips


def _class_folders(root: Path) -> list[tuple[str, str, Path]]:
    """Return split, class and folder of every class folder."""
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; `data.root` must name the folder that holds the class folders.")
    tops = _subfolders(root)
    names = [folder.name.lower() for folder in tops]
    premade = "train" in names and len(names) > 1 and all(name in _SPLIT_FOLDERS for name in names)
    found = (
        [(_SPLIT_FOLDERS[top.name.lower()], folder.name, folder) for top in tops for folder in _subfolders(top)]
        if premade
        else [("train", folder.name, folder) for folder in tops]
    )
    loose = [path for top in [root, *(tops if premade else [])] for path in _loose_videos(top)]
    if loose:
        raise UserError(f"{loose[0]} lies outside of a class folder; expected {root}/CLASS/video.")
    if len({label for _, label, _ in found}) < 2:
        raise UserError(
            f"{root} holds {len(found)} class folders; expected at least two, as in {root}/CLASS/video.mp4."
        )
    return found


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not _is_ignored(entry.name))


def _loose_videos(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_file() and entry.suffix.lower() in VIDEO_SUFFIXES)


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _IGNORED


def _files(root: Path, folder: Path) -> Iterator[str]:
    """Yield the files below a folder, relative to the root, in a fixed order."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_ignored(name))
        for name in sorted(names):
            if not _is_ignored(name):
                yield (Path(parent) / name).relative_to(root).as_posix()


def _compile(groups: str | None) -> re.Pattern[str] | None:
    if groups is None:
        return None
    try:
        pattern = re.compile(groups)
    except re.error as error:
        raise UserError(f"data.groups: '{groups}' is no regular expression: {error}.") from None
    if not pattern.groups:
        raise UserError(f"data.groups: '{groups}' has no group; put brackets around the part that names it.")
    return pattern


def _group(pattern: re.Pattern[str] | None, path: str) -> str:
    if pattern is None:
        return ""
    found = pattern.search(path)
    if found and found[1]:
        return found[1]
    if Path(path).suffix.lower() in VIDEO_SUFFIXES:
        raise UserError(f"data.groups: '{pattern.pattern}' finds no group in '{path}'; every video needs one.")
    return ""  # a stray file that will be quarantined needs none


def _check_enough(root: Path, clips: Sequence[Clip], classes: Sequence[str], needed: int) -> None:
    """Each class needs a group for each split that is made."""
    groups: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.split == "train":
            groups[clip.label].add(group_key(clip))
    for label in classes:
        if len(groups[label]) < needed:
            unit = "videos" if all(not clip.group for clip in clips) else "groups of videos"
            raise UserError(
                f"class '{label}' in {root} has {len(groups[label])} {unit} for training; at least {needed} are needed,"
                " one for each split that is made."
            )


def _check_split(clips: Sequence[Clip], carved: dict[str, float]) -> None:
    """Groups that span classes can leave a class without clips of a split."""
    for split in ("train", *carved):
        missing = {clip.label for clip in clips} - {clip.label for clip in clips if clip.split == split}
        if missing:
            raise UserError(
                f"no {split} clips are left for class '{min(missing)}', because its groups also hold other classes;"
                " choose smaller groups (`data.groups`), or make the splits yourself in folders train, val and test."
            )
