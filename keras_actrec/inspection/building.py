"""All parts of an inspection put into one FiftyOne dataset."""

from __future__ import annotations

import argparse
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec.data.targets import targets_of
from keras_actrec.errors import UserError
from keras_actrec.inspection import findings, look, names, samples
from keras_actrec.inspection.answers import Answers
from keras_actrec.inspection.opening import Opened
from keras_actrec.inspection.shown import Shown, replace_reasons
from keras_actrec.training.progress import Progress

MOST_POINTS = 3000
"""Of the map of features, drawn at random when there are more: t-SNE takes a minute for so many."""


def build(
    fiftyone: Any,
    name: str,
    opened: Opened,
    answers: Mapping[str, Answers],
    shown: Sequence[Shown],
    options: argparse.Namespace,
) -> Any:
    """Return the dataset, with saved views and the look of the App; what is half made is removed.

    It is made under a name of its own: one that it replaces is there until nothing can go wrong any more.

    Raises:
        UserError: the name is taken or cannot be, or there is no such receipt.
    """
    receipt = findings.chosen_receipt(options.receipt, opened.manifest)
    names.check(fiftyone, name, overwrite=options.overwrite)
    unfinished = f"unfinished-{uuid.uuid4().hex}"  # of letters that FiftyOne takes, whatever the name is of
    dataset = samples.create(fiftyone, unfinished, opened.manifests)
    try:
        _fill(dataset, opened, answers, shown, receipt)
        look.arrange(dataset, opened.manifest.classes, fiftyone.ViewField)
        dataset.persistent = bool(options.keep)
        names.check(fiftyone, name, overwrite=options.overwrite)  # again: filling takes its time
        older = _rename(fiftyone, dataset, name)
    except BaseException:
        fiftyone.delete_dataset(dataset.name)
        raise
    if older is not None:
        fiftyone.delete_dataset(older)
    return dataset


def _rename(fiftyone: Any, dataset: Any, name: str) -> str | None:
    """Give a dataset its name, and return what the one that had it is called now; None: there was none."""
    if not fiftyone.dataset_exists(name):
        dataset.name = name
        return None
    older = fiftyone.load_dataset(name)
    older.name = f"replaced-{uuid.uuid4().hex}"
    try:
        dataset.name = name
    except BaseException:
        older.name = name
        raise
    return older.name


def summary(dataset: Any, shown: Sequence[Shown]) -> str:
    """Return the main numbers as a line of text."""
    copies = sum(one.medium.copied and not one.reason for one in shown)
    parts = [f"{len(shown)} clips", f"{copies} shown as H.264 copies"]
    parts.append(f"{sum(bool(one.reason) for one in shown)} not readable")
    if dataset.has_sample_field(samples.CORRECT):
        right, total = (dataset.count_values(samples.CORRECT).get(True, 0), dataset.count(samples.CORRECT))
        parts.append(f"{right} of {total} predictions right")
    return ", ".join(parts)


def _fill(dataset: Any, opened: Opened, answers: Mapping[str, Answers], shown: Sequence[Shown], receipt: Path) -> None:
    fold = opened.manifest.fold
    reasons = findings.quarantined(receipt.parent / findings.QUARANTINE) | _reasons(opened, answers)
    with Progress("filling the dataset", unit="clips") as progress:
        samples.fill(dataset, replace_reasons(shown, lambda clip: reasons.get(findings.key(clip), "")), fold, progress)
    samples.add_duplicates(dataset, findings.duplicates(receipt))
    if answers:
        _add_answers(dataset, opened, answers, _ids_by_split(dataset, shown, fold))
    if opened.run is not None:
        samples.add_explanations(dataset, findings.explained(opened.run, opened.manifest))


def _ids_by_split(dataset: Any, shown: Sequence[Shown], fold: int) -> dict[str, list[str]]:
    """Return the samples of each split in the order of the manifest's clips, which that of what is shown is."""
    found: dict[str, list[str]] = defaultdict(list)
    for one, key in zip(shown, dataset.values("id"), strict=True):
        found[one.row.splits[fold]].append(key)
    return found


def _reasons(opened: Opened, answers: Mapping[str, Answers]) -> dict[findings.Key, str]:
    """Return why clips are in quarantine, as the run knows it."""
    known = findings.quarantined(opened.run / findings.QUARANTINE) if opened.run else {}
    for split, found in answers.items():
        clips = opened.manifest.split(split)
        known |= {findings.key(clips[index]): reason for index, reason in found.unreadable.items()}
    return known


def _add_answers(dataset: Any, opened: Opened, answers: Mapping[str, Answers], ids: Mapping[str, list[str]]) -> None:
    manifest = opened.manifest
    heads = {target.name: target.classes for target in targets_of(manifest, opened.config.data.targets)}
    for split, found in answers.items():
        labels = [clip.label for clip in manifest.split(split)]
        samples.add_answers(dataset, ids[split], labels, found, manifest.classes, heads)
    _add_map(dataset, answers, ids)


def _add_map(dataset: Any, answers: Mapping[str, Answers], ids: Mapping[str, list[str]]) -> None:
    """Lay the features of all splits out in one plane."""
    from keras_actrec.evaluation import embedding

    parts = {split: found for split, found in answers.items() if found.features is not None}
    keys = [ids[split][index] for split, found in parts.items() for index in found.indices]
    if len(keys) < embedding.LEAST_CLIPS:
        return
    values = np.concatenate([found.features for found in parts.values()])
    chosen = np.arange(len(keys))
    if len(keys) > MOST_POINTS:
        chosen = np.sort(np.random.default_rng(0).choice(len(keys), MOST_POINTS, replace=False))
    try:
        points = embedding.to_plane(values[chosen], seed=0)
    except UserError as error:  # scikit-learn is missing: all the rest can be shown
        print(f"no map of the features: {error}")
        return
    samples.add_map(dataset, [keys[number] for number in chosen], points)
