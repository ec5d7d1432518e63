"""From a configuration to a manifest: `load_manifest`."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from keras_actrec.config import DataConfig
from keras_actrec.data import folder, splits
from keras_actrec.data.fiftyone_sets import source as fiftyone_source
from keras_actrec.data.manifest import Clip, Manifest, header, read_csv
from keras_actrec.data.official import diving48, epic_kitchens, isogd, kinetics, ntu_rgbd, something_something
from keras_actrec.errors import UserError

Progress = Callable[[int, int], None]


def load_manifest(data: DataConfig, seed: int, progress: Progress | None = None) -> Manifest:
    """Return the manifest of the fold that a configuration names.

    Args:
        data: the section `data` of a run's configuration.
        seed: decides which training groups become validation (and, for `folder`, which become test).
        progress: called with (clips there, clips in all) while `stick-actions` is rendered.

    Raises:
        UserError: missing or malformed folder, list or manifest; a group that straddles splits; no clips to train on;
            validation or test clips without a label.
    """
    manifest = read_manifest(data, seed, progress)
    check_groups(manifest.clips)
    _check_labels(manifest)
    for split in ("train", "validation"):
        if not manifest.split(split):
            raise UserError(
                f"{manifest.root} gives no {split} clips for fold {data.fold}; more groups or clips are needed."
            )
    return manifest


def read_manifest(data: DataConfig, seed: int, progress: Progress | None = None) -> Manifest:
    """Return the manifest whether or not it is fit for training (see `load_manifest` for the arguments)."""
    if data.source == "stick-actions":
        _render(data, progress)
    return _without_held_out(_READERS[data.source](data, seed))


def count_folds(data: DataConfig) -> int:
    """Return how many folds a manifest file has (columns `split_1`, `split_2`, ...)."""
    if data.source == "fiftyone":
        return fiftyone_source.count_folds(data)
    path = _manifest_path(data)
    if not path.is_file():
        raise UserError(f"there is no manifest at {path}; check `data.root` or `data.lists`.")
    return max(1, sum(re.fullmatch(r"split_\d+", column) is not None for column in header(path)))


def check_groups(clips: Iterable[Clip]) -> None:
    """Refuse clips of one group in more than one of train, validation and test.

    Raises:
        UserError: names the group and its splits.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.group and clip.split in ("train", "validation", "test"):
            found[clip.group].add(clip.split)
    for group, names in sorted(found.items()):
        if len(names) > 1:
            raise UserError(
                f"group '{group}' has clips in {' and '.join(sorted(names))}; a group (person, scene, source"
                " video) must lie in one split, or the accuracy would be too good."
            )


def _without_held_out(manifest: Manifest) -> Manifest:
    """Leave out unlabelled clips of groups that have validation or test clips: networks learn from these, too."""
    held = {splits.group_key(clip) for split in ("validation", "test") for clip in manifest.split(split)}
    kept = [clip for clip in manifest.clips if clip.split != "unlabelled" or splits.group_key(clip) not in held]
    if len(kept) == len(manifest.clips):
        return manifest
    note = (
        f"{len(manifest.clips) - len(kept)} unlabelled clips left out: others of their groups (persons, scenes, source "
        "videos) are validation or test clips"
    )
    return dataclasses.replace(manifest, clips=tuple(kept), notes=(*manifest.notes, note))


def _check_labels(manifest: Manifest) -> None:
    """Refuse clips without a label where accuracy is measured; it would be found when all the training is done."""
    for split in ("validation", "test"):
        without = [clip.path for clip in manifest.split(split) if not clip.label]
        if without:
            raise UserError(
                f"{len(without)} of the {len(manifest.split(split))} {split} clips of {manifest.name} without a label, "
                f"such as {without[0]}; give each one in the manifest, or take it out of the split."
            )


def _ucf101(data: DataConfig, seed: int) -> Manifest:
    clips = splits.read_ucf101(_lists(data), data.fold, data.validation_fraction, seed)
    return Manifest.from_clips("ucf101", _root(data), data.fold, clips)


def _hmdb51(data: DataConfig, seed: int) -> Manifest:
    clips = splits.read_hmdb51(_lists(data), data.fold, data.validation_fraction, seed)
    return Manifest.from_clips("hmdb51", _root(data), data.fold, clips)


def _folder(data: DataConfig, seed: int) -> Manifest:
    if data.fold != 1:
        raise UserError(f"a folder of videos has one fold; data.fold is {data.fold}.")
    clips = folder.read_folder(
        data.root,
        groups=data.groups,
        test_fraction=data.test_fraction,
        validation_fraction=data.validation_fraction,
        seed=seed,
    )
    return Manifest.from_clips(Path(data.root).resolve().name, data.root, 1, clips)


def _manifest(data: DataConfig, seed: int) -> Manifest:
    root = _root(data)
    path = _manifest_path(data)
    clips = _with_validation(path, data, seed) if _names_splits(path) else _dealt(path, data, seed)
    return Manifest.from_clips(root.resolve().name, root, data.fold, clips)


def _names_splits(path: Path) -> bool:
    return not path.is_file() or any(name.startswith("split") for name in header(path))


def _dealt(path: Path, data: DataConfig, seed: int) -> list[Clip]:
    """Deal the clips of a table without splits to training, validation and test, as those of a folder are."""
    if data.fold != 1:
        raise UserError(f"{path} names no splits, so it has one fold; data.fold is {data.fold}.")
    clips = _unlabelled_apart(read_csv(path, 1, split="train"))
    clips = splits.carve(clips, data.test_fraction, seed, "test")
    return splits.carve_validation(clips, data.validation_fraction, seed)


def _unlabelled_apart(clips: list[Clip]) -> list[Clip]:
    """Give training clips without a label the split "unlabelled": no network can be told what they show."""
    return [
        clip if clip.label or clip.split != "train" else dataclasses.replace(clip, split="unlabelled") for clip in clips
    ]


def _manifest_path(data: DataConfig) -> Path:
    return Path(data.lists) if data.lists else Path(data.root) / "manifest.csv"


def _stick_actions(data: DataConfig, seed: int) -> Manifest:
    clips = _with_validation(Path(data.root) / "manifest.csv", data, seed)
    return Manifest.from_clips("stick-actions", data.root, data.fold, clips)


def _render(data: DataConfig, progress: Progress | None) -> None:
    from keras_actrec.data import synthetic  # renders with OpenCV; other sources do not need it

    synthetic.ensure(data.root, data.stick_actions, progress)


def _with_validation(path: Path, data: DataConfig, seed: int) -> list[Clip]:
    """Read a manifest file; carve validation unless it names validation clips itself."""
    clips = _unlabelled_apart(read_csv(path, data.fold))
    if any(clip.split == "validation" for clip in clips):
        return clips
    return splits.carve_validation(clips, data.validation_fraction, seed)


def _root(data: DataConfig) -> Path:
    root = Path(data.root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; `data.root` must name the folder that holds the videos.")
    return root


def _lists(data: DataConfig) -> Path:
    if data.lists is None:
        raise UserError(f"data.source {data.source} needs `data.lists`, the folder of the official split lists.")
    path = Path(data.lists)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}; `data.lists` must name the folder of the official split lists.")
    return path


def _ntu_rgbd(data: DataConfig, seed: int) -> Manifest:
    _check_one_fold(data)
    lists = Path(data.lists) if data.lists else None
    return ntu_rgbd.read(_root(data), lists, data.protocol, data.validation_fraction, seed)


def _official(read: Callable[[Path, Path, float, int], Manifest]) -> Callable[[DataConfig, int], Manifest]:
    """Return the reader of a collection that has one split and a folder of lists."""

    def reader(data: DataConfig, seed: int) -> Manifest:
        _check_one_fold(data)
        return read(_root(data), _lists(data), data.validation_fraction, seed)

    return reader


def _check_one_fold(data: DataConfig) -> None:
    if data.fold != 1:
        raise UserError(f"{data.source} has one official split; data.fold is {data.fold}.")


_OFFICIAL = {
    "ntu_rgbd": _ntu_rgbd,
    "isogd": _official(isogd.read),
    "diving48": _official(diving48.read),
    "epic_kitchens_100": _official(epic_kitchens.read),
    "kinetics": _official(kinetics.read),
    "something_something_v2": _official(something_something.read),
}
OFFICIAL = tuple(_OFFICIAL)
"""Sources with one official split."""

_READERS = {
    "ucf101": _ucf101,
    "hmdb51": _hmdb51,
    "folder": _folder,
    "manifest": _manifest,
    "stick-actions": _stick_actions,
    "fiftyone": fiftyone_source.read,
    **_OFFICIAL,
}
