"""From a FiftyOne dataset to a manifest: our own come back as they were, others by their labels, tags and fields."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_actrec.data import splits as carving
from keras_actrec.data.fiftyone_sets import fields
from keras_actrec.data.manifest import SPLITS, Clip, Manifest
from keras_actrec.errors import UserError, did_you_mean

_SPLIT_NAMES = {name: name for name in SPLITS} | {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
    "unlabeled": "unlabelled",
}


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is wanted of a dataset.

    Attributes:
        fold: of a dataset that was made from manifests; others have fold 1.
        label_field: field with the labels; None: `ground_truth`, or the only one that can hold them.
        split_field: field with the splits; None: `split`, or else the tags.
        group_field: field with the groups; None: every file is its own.
        root: folder that paths shall be relative to, if all videos lie in it; else their common folder is.
        test_fraction, validation_fraction: what is held out of a dataset that knows no splits.
        seed: decides which groups that is.
    """

    fold: int = 1
    label_field: str | None = None
    split_field: str | None = None
    group_field: str | None = None
    root: str | None = None
    test_fraction: float = 0.2
    validation_fraction: float = 0.2
    seed: int = 0


def read(view: Any, wish: Wish) -> Manifest:
    """Return the manifest of a dataset or of a view on one.

    Raises:
        UserError: the dataset holds no videos, or lacks a field, labels, or splits.
    """
    if not len(view):
        raise UserError(f"the FiftyOne dataset '{_name(view)}' gives no samples; check the dataset and the view.")
    given = (wish.label_field, wish.split_field, wish.group_field)
    if folds(view) and given == (None, None, None):
        return _own(view, wish)
    return _other(view, wish)


def folds(view: Any) -> list[int]:
    """Return the folds of a dataset that was made from manifests; empty for any other."""
    return sorted(int(fold) for fold in _info(view).get("folds", {}))


def _own(view: Any, wish: Wish) -> Manifest:
    info, known, fold = _info(view), folds(view), wish.fold
    if fold not in known:
        raise UserError(f"'{_name(view)}' has the folds {', '.join(map(str, known))}; data.fold is {fold}.")
    facts = info["folds"][str(fold)]
    columns = [*fields.COLUMNS.values(), f"{fields.LABEL}.label", fields.of_fold(fold)]
    clips = [
        fields.clip_of(dict(zip(columns, values, strict=True)), values[-2], values[-1])
        for values in zip(*view.values(columns), strict=True)
        if values[-1] is not None
    ]
    _check_labels(clips, facts["classes"], _name(view))
    root = info["root"] if wish.root is None or Path(info["root"]).is_dir() else wish.root
    lists = [facts[name] for name in ("classes", "verbs", "nouns")]
    return Manifest.from_clips(info["name"], root, fold, clips, *lists)


def _check_labels(clips: Iterable[Clip], classes: Sequence[str], name: str) -> None:
    """Labels may have been corrected by hand."""
    for clip in clips:
        if clip.split in SPLITS[:3] and clip.label not in classes:
            raise UserError(
                f"{clip.path} of '{name}' has the label '{clip.label}', which is none of the data set's classes."
                f"{did_you_mean(str(clip.label), classes)}"
            )


def _other(view: Any, wish: Wish) -> Manifest:
    if view.media_type != "video":
        raise UserError(f"'{_name(view)}' holds media of the kind '{view.media_type}'; expected a dataset of videos.")
    if wish.fold != 1:
        raise UserError(f"'{_name(view)}' has one fold; data.fold is {wish.fold}.")
    paths = view.values("filepath")
    root = _root(paths, wish.root)
    names = [Path(path).relative_to(root).as_posix() for path in paths]
    groups = _groups(view, wish.group_field)
    clips = [
        Clip(path, label, split, group=group, start_frame=first, end_frame=stop)
        for path, labels, split, group in zip(names, _labels(view, wish), _splits(view, wish), groups, strict=True)
        for label, first, stop in labels
    ]
    clips = [_without_label(clip) if clip.label is None else clip for clip in clips]
    return Manifest.from_clips(_name(view), root, 1, _carve(clips, wish))


def _info(view: Any) -> dict[str, Any]:
    info = _dataset(view).info.get(fields.INFO)
    return info if isinstance(info, Mapping) else {}


def _dataset(view: Any) -> Any:
    return getattr(view, "_root_dataset", view)


def _name(view: Any) -> str:
    return _dataset(view).name


def _root(paths: Sequence[str], wanted: str | None) -> Path:
    folders = [Path(path).parent for path in paths]
    if wanted is not None:
        root = Path(wanted).resolve()
        if all(folder.is_relative_to(root) for folder in folders):
            return root
    return Path(os.path.commonpath(folders))


_Labels = list[tuple[str | None, int | None, int | None]]


def _labels(view: Any, wish: Wish) -> Iterable[_Labels]:
    """Yield the labels of each sample: one, or several with the frames at which each begins and has ended."""
    import fiftyone as fo

    field = wish.label_field or _label_field(view)
    schema = _schema(view)
    if field not in schema:
        raise UserError(f"'{_name(view)}' has no field '{field}'.{did_you_mean(field, schema)}")
    kind = getattr(schema[field], "document_type", None)
    if kind is fo.TemporalDetections:
        every, supports = view.values([f"{field}.detections.label", f"{field}.detections.support"])
        return [
            [(label, first - 1, last) for label, (first, last) in zip(labels or [], support or [], strict=True)]
            for labels, support in zip(every, supports, strict=True)
        ]
    if kind is fo.Classification:
        return [[(label, None, None)] for label in view.values(f"{field}.label")]
    if isinstance(schema[field], fo.StringField):
        return [[(label, None, None)] for label in view.values(field)]
    raise UserError(
        f"the field '{field}' of '{_name(view)}' holds {getattr(kind, '__name__', type(schema[field]).__name__)}; "
        "expected Classification, TemporalDetections, or a string."
    )


def _label_field(view: Any) -> str:
    import fiftyone as fo

    schema = _schema(view)
    if fields.LABEL in schema:
        return fields.LABEL
    kinds = (fo.Classification, fo.TemporalDetections)
    found = [name for name, field in schema.items() if getattr(field, "document_type", None) in kinds]
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"'{_name(view)}' has no field '{fields.LABEL}', and {len(found)} others that could hold the labels "
        f"({', '.join(found) or 'none'}); name one in data.fiftyone.label_field."
    )


def _schema(view: Any) -> dict[str, Any]:
    return view.get_field_schema()


def _splits(view: Any, wish: Wish) -> list[str]:
    """Return the split of each sample; "train" for all where nothing tells them."""
    field = wish.split_field or (fields.SPLIT if fields.SPLIT in _schema(view) else None)
    if field is None:
        return _splits_from_tags(view)
    if field not in _schema(view):
        raise UserError(f"'{_name(view)}' has no field '{field}'.{did_you_mean(field, _schema(view))}")
    return [_split(view, value, field) for value in view.values(field)]


def _split(view: Any, value: Any, field: str) -> str:
    name = _SPLIT_NAMES.get(str(value).lower())
    if name is None:
        raise UserError(
            f"the field '{field}' of '{_name(view)}' holds '{value}'; expected one of {', '.join(SPLITS)}. Choose a "
            "saved view without such samples (data.fiftyone.view), or another field."
        )
    return name


def _splits_from_tags(view: Any) -> list[str]:
    found = [sorted({_SPLIT_NAMES[tag] for tag in tags or [] if tag in _SPLIT_NAMES}) for tags in view.values("tags")]
    if not any(found):
        return ["train"] * len(found)
    counts = Counter(len(names) for names in found)
    if set(counts) != {1}:
        raise UserError(
            f"of the samples of '{_name(view)}', {counts[0]} have no tag that names a split and "
            f"{len(found) - counts[0] - counts[1]} have several; tag each with one of {', '.join(SPLITS)}, choose a "
            "saved view (data.fiftyone.view), or name a field (data.fiftyone.split_field)."
        )
    return [names[0] for names in found]


def _groups(view: Any, field: str | None) -> list[str]:
    if field is None:
        return [""] * len(view)
    if field not in _schema(view):
        raise UserError(f"'{_name(view)}' has no field '{field}'.{did_you_mean(field, _schema(view))}")
    values = view.values(f"{field}.label" if hasattr(_schema(view)[field], "document_type") else field)
    return ["" if value is None else str(value) for value in values]


def _without_label(clip: Clip) -> Clip:
    if clip.split in ("train", "unlabelled"):
        return dataclasses.replace(clip, split="unlabelled")
    raise UserError(f"{clip.path} is a {clip.split} clip without a label; give it one, or leave it out by a view.")


def _carve(clips: list[Clip], wish: Wish) -> list[Clip]:
    """Hold out test and validation clips where the dataset names none."""
    present = {clip.split for clip in clips}
    if present <= {"train", "unlabelled"} and wish.test_fraction:
        clips = carving.carve(clips, wish.test_fraction, wish.seed, "test")
    if "validation" not in present:
        clips = carving.carve_validation(clips, wish.validation_fraction, wish.seed)
    return clips
