"""The data set of a run: read or rendered, its frames opened or prepared, its clips counted."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from keras_actrec.config import DataConfig, RunConfig
from keras_actrec.data import collections, labelled_split, person_boxes, prepared, remote
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.prepared_layout import read_receipt
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.source import FrameSource, VideoSource
from keras_actrec.errors import UserError
from keras_actrec.training.progress import Progress

DEFAULT_QUALITY = 90
OFFICIAL_FOLDS = {"stick-actions": 3, "ucf101": 3, "hmdb51": 3, "folder": 1, **dict.fromkeys(collections.OFFICIAL, 1)}


def fold_numbers(config: RunConfig) -> list[int]:
    """Return the folds to run: the one that is named, or all that the data set has."""
    data = config.data
    if config.folds == "one":
        return [data.fold]
    count = OFFICIAL_FOLDS.get(data.source) or collections.count_folds(data)
    if count < 2:
        raise UserError(f"folds: all needs a data set with several folds; '{data.source}' at {data.root} has one.")
    return list(range(1, count + 1))


def in_fold(config: RunConfig, number: int) -> RunConfig:
    """Return the configuration of one fold alone."""
    data = config.data.model_copy(update={"fold": number})
    return config.model_copy(update={"folds": "one", "data": data})


def load(config: RunConfig, checked: bool = True) -> Manifest:
    """Read, or render, the data set of a run; where few labels are asked for, the other clips become unlabelled.

    Args:
        config: names the data set.
        checked: refuse a manifest that is not fit for training.
    """
    read = collections.load_manifest if checked else collections.read_manifest
    seed = config.seed if config.data.split_seed is None else config.data.split_seed
    with Progress("rendering stick-actions", unit="clips") as progress:
        manifest = read(config.data, seed, progress)
    labels = config.data.labels
    if labels is None:
        return manifest
    found = labelled_split.split(manifest, labels, seed)
    return dataclasses.replace(found.manifest, notes=(*manifest.notes, found.summary(), f"chosen: {found.drawn}"))


def open_source(data: DataConfig, manifest: Manifest) -> FrameSource:
    """Return the videos themselves, or the prepared cache of them."""
    if data.prepared is None:
        return videos(data, manifest)
    existing = read_receipt(remote.open_folder(data.prepared))
    quality = existing.quality if existing else DEFAULT_QUALITY
    prepare(data, manifest, data.prepared, data.prepared_short_side, quality)
    return prepared.PreparedSource(data.prepared, manifest.root)


def videos(data: DataConfig, manifest: Manifest) -> VideoSource:
    """Return the videos themselves, read as a configuration says."""
    return VideoSource(manifest.root, depth_range_mm=data.depth_range_mm)


def with_boxes(data: DataConfig, manifest: Manifest) -> tuple[Manifest, dict[str, int]]:
    """Return the manifest with the person boxes by which clips are tailored, and how many come from where.

    Boxes of a detector are made first where they are missing.
    """
    if data.tailor is None:
        return manifest, {}
    with Progress("detecting people", unit="clips") as progress:
        return person_boxes.attach(manifest, data.tailor, videos(data, manifest), progress)


def prepare(
    data: DataConfig, manifest: Manifest, target: str, short_side: int, quality: int = DEFAULT_QUALITY
) -> Quarantine:
    """Write the prepared cache, or what is missing of it, and return the clips that could not be read."""
    quarantine = Quarantine()
    with Progress("preparing frames", unit="clips") as progress:
        prepared.prepare(
            manifest,
            videos(data, manifest),
            target,
            short_side=short_side,
            quality=quality,
            workers=data.workers or os.cpu_count() or 1,
            quarantine=quarantine,
            progress=progress,
        )
    return quarantine


def summary(manifest: Manifest) -> str:
    """Return a table of clips per class and split."""
    counts = manifest.counts()
    splits = [split for split in counts if any(counts[split].values())]
    labels = sorted({label for split in splits for label in counts[split]})
    width = max(len("no label"), *map(len, labels)) + 2
    lines = ["".join([" " * width, *(f"{split:>12}" for split in splits)])]
    for label in labels:
        cells = (f"{counts[split].get(label, 0) or '-':>12}" for split in splits)
        lines.append("".join([f"{label or 'no label':<{width}}", *cells]))
    totals = (f"{sum(counts[split].values()):>12}" for split in splits)
    lines.append("".join([f"{'all':<{width}}", *totals]))
    head = f"{manifest.name}, fold {manifest.fold}, in {Path(manifest.root)}; manifest {manifest.hash[:12]}"
    return "\n".join([head, *manifest.notes, *lines])
