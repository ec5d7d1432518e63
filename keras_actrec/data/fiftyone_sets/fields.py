"""How a clip stands in a FiftyOne dataset: one sample, with a field for each column of the manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from keras_actrec.data.manifest import Clip

INFO = "keras_actrec"
"""Key of a dataset's `info` under which stands what belongs to no single clip."""
LABEL, SPLIT = "ground_truth", "split"
COLUMNS = {
    "path": "clip_path",
    "group": "clip_group",
    "start_sec": "start_sec",
    "end_sec": "end_sec",
    "start_frame": "start_frame",
    "end_frame": "end_frame",
    "frames": "declared_frames",
    "fps": "declared_fps",
    "verb": "verb",
    "noun": "noun",
    "depth": "depth_path",
    "boxes": "boxes_path",
    "cameras": "camera_paths",
}
"""Column of the manifest -> field of the sample. The label is a `Classification`, and the split a string."""
TEXTS = frozenset({"path", "group", "verb", "noun", "depth", "boxes", "cameras"})
WHOLE = frozenset({"start_frame", "end_frame", "frames"})


def of_fold(fold: int) -> str:
    """Return the field that holds the split of a fold."""
    return f"{SPLIT}_{fold}"


def values_of(clip: Clip) -> dict[str, Any]:
    """Return the plain fields of a clip's sample: all but label and splits."""
    return {field: clip[column] for column, field in COLUMNS.items()}


def clip_of(values: Mapping[str, Any], label: str | None, split: str) -> Clip:
    """Return the clip that `values_of` was asked about."""
    return Clip(label=label, split=split, **{column: values[field] for column, field in COLUMNS.items()})


@dataclasses.dataclass(frozen=True)
class Row:
    """One clip in all folds.

    Attributes:
        clip: as the first fold that uses it has it.
        splits: fold -> its split there; folds that leave the clip out are missing.
    """

    clip: Clip
    splits: Mapping[int, str]


def declare(dataset: Any, folds: list[int]) -> None:
    """Give a FiftyOne dataset the fields of clips, so that those without a value anywhere are there as well."""
    import fiftyone as fo

    for column, field in COLUMNS.items():
        dataset.add_sample_field(field, _kind(column))
    dataset.add_sample_field(LABEL, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    for field in [SPLIT, *map(of_fold, folds)]:
        dataset.add_sample_field(field, fo.StringField)


def _kind(column: str) -> Callable[..., Any]:
    import fiftyone as fo

    if column in TEXTS:
        return fo.StringField
    return fo.IntField if column in WHOLE else fo.FloatField
