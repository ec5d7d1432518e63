"""From manifests, one for each fold, to the samples of a FiftyOne dataset."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_actrec.data.fiftyone_sets import fields
from keras_actrec.data.fiftyone_sets.fields import Row
from keras_actrec.data.manifest import Clip, Manifest


def rows(manifests: Sequence[Manifest]) -> list[Row]:
    """Return the clips of all folds, each once, in the order of the first fold.

    A clip is the same in two folds where all of its columns but the split are equal; of several equal ones in a fold
    the first belongs to the first, and so on.
    """
    found: dict[tuple[Clip, int], tuple[Clip, dict[int, str]]] = {}
    for manifest in manifests:
        seen: collections.Counter[Clip] = collections.Counter()
        for clip in manifest.clips:
            key = dataclasses.replace(clip, split="train")
            _, splits = found.setdefault((key, seen[key]), (clip, {}))
            splits[manifest.fold] = clip.split
            seen[key] += 1
    return [Row(clip, splits) for clip, splits in found.values()]


def describe(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """Return what a dataset's `info` holds under `fields.INFO`: all of the manifests but their clips."""
    first = manifests[0]
    folds = {
        str(manifest.fold): {
            "classes": list(manifest.classes),
            "verbs": list(manifest.verbs),
            "nouns": list(manifest.nouns),
            "hash": manifest.hash,
        }
        for manifest in manifests
    }
    return {"format": 1, "name": first.name, "root": str(first.root.resolve()), "folds": folds}


def sample(row: Row, fold: int, filepath: str) -> Any:
    """Return the FiftyOne sample of a clip.

    Args:
        row: the clip.
        fold: whose split stands in the field `split` and among the tags.
        filepath: the video that FiftyOne shows.
    """
    import fiftyone as fo

    label = None if row.clip.label is None else fo.Classification(label=row.clip.label)
    split = row.splits.get(fold)
    return fo.Sample(
        filepath=filepath,
        tags=[split] if split else [],
        **{fields.LABEL: label, fields.SPLIT: split},
        **fields.values_of(row.clip),
        **{fields.of_fold(number): name for number, name in row.splits.items()},
    )
