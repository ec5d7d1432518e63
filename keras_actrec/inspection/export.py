"""A dataset as files: FiftyOne's own format, the manifest, and the answers as a table."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.data.fiftyone_sets import fields, writing
from keras_actrec.data.manifest import Manifest, write_csv
from keras_actrec.errors import UserError
from keras_actrec.inspection import samples

FIFTYONE, MANIFEST, PREDICTIONS = "fiftyone", "manifest.csv", "predictions.csv"


def export(dataset: Any, manifests: Sequence[Manifest], folder: Path) -> list[Path]:
    """Write a dataset into a folder, and return what was written.

    Args:
        dataset: the FiftyOne dataset.
        manifests: of all folds.
        folder: made when it is missing.

    Raises:
        UserError: the folder holds something already.
    """
    check_folder(folder)
    import fiftyone as fo

    dataset.export(str(folder / FIFTYONE), dataset_type=fo.types.FiftyOneDataset, export_media=False, progress=False)
    written = [folder / FIFTYONE, *_manifests(manifests, folder)]
    if dataset.has_sample_field(samples.PREDICTION):
        _predictions(dataset, folder / PREDICTIONS)
        written.append(folder / PREDICTIONS)
    return written


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something already (`UserError`)."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty; choose a new folder for the export.")


def _manifests(manifests: Sequence[Manifest], folder: Path) -> list[Path]:
    """Write one CSV with the splits of all folds; one for each fold where they do not hold the same clips."""
    rows, numbers = writing.rows(manifests), sorted(manifest.fold for manifest in manifests)
    if numbers == list(range(1, len(numbers) + 1)) and all(len(row.splits) == len(numbers) for row in rows):
        folds = [[dataclasses.replace(row.clip, split=row.splits[number]) for row in rows] for number in numbers]
        write_csv(folder / MANIFEST, folds)
        return [folder / MANIFEST]
    paths = [folder / f"manifest-fold{manifest.fold}.csv" for manifest in manifests]
    for path, manifest in zip(paths, manifests, strict=True):
        write_csv(path, [manifest.clips])
    return paths


def _predictions(dataset: Any, path: Path) -> None:
    names = {
        "path": fields.COLUMNS["path"],
        "start_sec": "start_sec",
        "start_frame": "start_frame",
        "split": fields.SPLIT,
        "label": f"{fields.LABEL}.label",
        "prediction": f"{samples.PREDICTION}.label",
        "confidence": samples.CONFIDENCE,
        "correct": samples.CORRECT,
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in zip(*dataset.exists(samples.PREDICTION).values(list(names.values())), strict=True):
        writer.writerow(["" if value is None else value for value in row])
    files.write_text(path, text.getvalue())
