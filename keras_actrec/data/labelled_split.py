"""Few labels: which clips of the training list keep theirs, and which a run sees as unlabelled.

Clips that are drawn (`per_class`, `rate`) keep groups whole: all groups stand in one seeded order, and each class takes
its labelled clips from the first groups of that order that have it. What else those groups hold is left out, neither
labelled nor unlabelled (in HMDB-51, whose groups are those of one class, all clips of the film). Otherwise a network
would meet the persons and scenes of its labelled clips again among the unlabelled ones, and its pseudo-labels would
look better than they are on people it has no label of. Groups that also have clips which were unlabelled before come
last in the order. A list (`list`) is taken as it was published.

The order is one of hashes: it depends on the seed and the names alone, neither on the machine nor on the order of rows,
and the clips that are drawn for a small number are among those for a larger one.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_actrec import files
from keras_actrec.data import label_lists
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.official import lists
from keras_actrec.data.splits import origin_key
from keras_actrec.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from keras_actrec.config import LabelsConfig

TRUTH = "unlabelled_labels.csv"
"""What the unlabelled clips of `stick-actions` show (`synthetic.render` writes it)."""


@dataclasses.dataclass(frozen=True)
class LabelledSplit:
    """A manifest whose training clips are the labelled ones.

    Attributes:
        manifest: labelled clips are "train"; the other training clips are "unlabelled" and keep what is known of their
            label, for audits alone.
        drawn: how the labelled clips were chosen, for people.
        left_out: training clips that are not in the manifest any more, as their groups are labelled.
        taken_back: clips of validation that became training clips, as a list names clips of their groups.
    """

    manifest: Manifest
    drawn: str
    left_out: int = 0
    taken_back: int = 0

    def summary(self) -> str:
        """Return a line for the log: clips, classes, groups, and what is not as it should be."""
        labelled, key = self.manifest.split("train"), origin_key(self.manifest.name)
        numbers = sorted(Counter(clip.label for clip in labelled).values())
        each = f"{numbers[0]}" if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"
        groups = _count(len({key(clip) for clip in labelled}), "group")
        parts = [
            f"{_count(len(labelled), 'labelled clip')} ({each} of each of {len(numbers)} classes, {groups})",
            f"{len(self.manifest.split('unlabelled'))} unlabelled ones",
        ]
        if self.left_out:
            parts.append(f"{self.left_out} left out as their groups are labelled")
        if self.taken_back:
            parts.append(f"{_count(self.taken_back, 'clip')} taken back from validation for the list")
        if shared := straddling(self.manifest):
            parts.append(f"{_count(shared, 'group')} with both labelled and unlabelled clips")
        return ", ".join(parts)


def split(manifest: Manifest, labels: LabelsConfig, seed: int) -> LabelledSplit:
    """Choose the labelled clips among those of the split "train".

    Training clips that have no label at all become unlabelled. Validation, test, unknown and unlabelled clips stay as
    they are, and so do the classes and their order.

    Args:
        manifest: the data set with all its labels.
        labels: `per_class`, `rate` or `list`; `per_group`, and a `seed` or None.
        seed: of the draw, unless `labels` has its own.

    Raises:
        UserError: a class has too few clips or groups for `per_class`; the list is of no use (`label_lists.read`).
    """
    if labels.list is not None:
        return _listed(manifest, labels.list)
    seed = seed if labels.seed is None else labels.seed
    order = _by_class(manifest, labels.per_group, seed)
    wanted = _wanted(manifest, labels, order)
    chosen = {clip for label, clips in order.items() for clip in clips[: wanted[label]]}
    key = origin_key(manifest.name)
    groups = {key(clip) for clip in chosen}
    left_out = {clip for clip in manifest.split("train") if key(clip) in groups} - chosen
    share = f"{labels.per_class} clips" if labels.rate is None else f"{labels.rate:g} of the clips"
    drawn = f"{share} of each class, at most {labels.per_group} of a class from one group, seed {seed}"
    result = _with_labelled(manifest, chosen, left_out)
    return LabelledSplit(result, drawn, left_out=len(manifest.clips) - len(result.clips))


def _listed(manifest: Manifest, path: str) -> LabelledSplit:
    """Take a list as it is. What a run holds out for validation makes way for it, by whole groups."""
    listed, key = set(label_lists.read(path, manifest).clips), origin_key(manifest.name)
    groups = {key(clip) for clip in listed}
    back = {clip for clip in manifest.split("validation") if key(clip) in groups}
    if back and back == set(manifest.split("validation")):
        raise UserError(
            f"{path} has clips of every group that is held out for validation, so that nothing is left to watch the "
            "training by; raise data.validation_fraction, or change data.split_seed."
        )
    chosen = {dataclasses.replace(clip, split="train") for clip in listed}
    whole = _with_clips(
        manifest, (dataclasses.replace(clip, split="train") if clip in back else clip for clip in manifest.clips)
    )
    return LabelledSplit(_with_labelled(whole, chosen, set()), f"listed in {Path(path).name}", taken_back=len(back))


def straddling(manifest: Manifest) -> int:
    """Return how many groups have labelled clips as well as unlabelled ones."""
    key = origin_key(manifest.name)
    labelled, unlabelled = ({key(clip) for clip in manifest.split(name)} for name in ("train", "unlabelled"))
    return len(labelled & unlabelled)


def write_list(path: str | Path, manifest: Manifest, notes: Sequence[str] = ()) -> None:
    """Publish which clips are labelled, as a file for `data.labels.list`; equal splits give equal bytes.

    Args:
        path: of the file.
        manifest: of a `LabelledSplit`.
        notes: what else people should read in it, such as how the clips were chosen.

    Raises:
        UserError: a name holds a line break.
    """
    head = [
        f"# Labelled clips of {manifest.name}, fold {manifest.fold}; the other training clips count as unlabelled.",
        *(f"# {note}" for note in notes),
        "# A line has the path and the class, in quotes where they hold spaces, and, of a clip that is a part of its",
        "# file, the stretch: seconds=START:END or frames=START:END.",
    ]
    lines = [label_lists.line(clip) for clip in manifest.split("train")]
    files.write_text(path, "\n".join([*head, *lines]) + "\n")


def with_truth(manifest: Manifest) -> Manifest:
    """Give unlabelled clips the label that `unlabelled_labels.csv` in the root tells of them, for audits alone.

    Such a file comes with `stick-actions`. Clips that it does not name stay without a label; a manifest without the
    file, or without such clips, is returned as it is.

    Raises:
        UserError: the file is damaged, or names another label than the data set's classes.
    """
    path = manifest.root / TRUTH
    if not path.is_file() or all(clip.label is not None for clip in manifest.split("unlabelled")):
        return manifest
    truth = _truth(path, manifest.classes)
    return _with_clips(
        manifest,
        (
            dataclasses.replace(clip, label=truth.get(clip.path))
            if clip.split == "unlabelled" and clip.label is None
            else clip
            for clip in manifest.clips
        ),
    )


def _by_class(manifest: Manifest, per_group: int, seed: int) -> dict[str, list[Clip]]:
    """Return of each class the clips that may be labelled, in the order in which they are taken."""
    key = origin_key(manifest.name)
    mixed = {key(clip) for clip in manifest.split("unlabelled")}
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in manifest.split("train"):
        groups[key(clip)].append(clip)
    order: dict[str, list[Clip]] = defaultdict(list)
    for name in sorted(groups, key=lambda name: (name in mixed, _hash(seed, name), name)):
        taken: Counter[str] = Counter()
        for clip in sorted(
            groups[name], key=lambda clip: (_hash(seed, name, clip.path, clip.stretch), str(clip.label))
        ):
            if clip.label is not None and taken[clip.label] < per_group:
                taken[clip.label] += 1
                order[clip.label].append(clip)
    return order


def _hash(seed: int, *names: object) -> bytes:
    return hashlib.sha256("/".join([f"{seed}/labelled", *map(str, names)]).encode()).digest()


def _wanted(manifest: Manifest, labels: LabelsConfig, order: dict[str, list[Clip]]) -> dict[str, int]:
    """Return how many clips of each class are to be labelled."""
    training = [clip for clip in manifest.split("train") if clip.label is not None]
    if not training:
        raise UserError(f"data.labels: {manifest.name}, fold {manifest.fold}, has no training clip with a label.")
    counts = Counter(clip.label for clip in training)
    if labels.per_class is None:
        return {label: max(1, int(labels.rate * count + 0.5)) for label, count in counts.items()}
    few = sorted(label for label in counts if len(order[label]) < labels.per_class)
    if few:
        key = origin_key(manifest.name)
        label, groups = few[0], len({key(clip) for clip in training if clip.label == few[0]})
        others = f" (and so for {_count(len(few) - 1, 'further class', 'es')})" if len(few) > 1 else ""
        raise UserError(
            f"data.labels.per_class: expected {labels.per_class} labelled clips of class '{label}', which has"
            f" {_count(counts[label], 'training clip')} in {_count(groups, 'group')}, so that {len(order[label])} can"
            f" be labelled with per_group {labels.per_group}{others}; take a smaller per_class, or a larger per_group."
        )
    return dict.fromkeys(counts, labels.per_class)


def _with_labelled(manifest: Manifest, labelled: set[Clip], left_out: set[Clip]) -> Manifest:
    """Return the manifest in which only these training clips are labelled, without those that are left out."""
    return _with_clips(
        manifest,
        (
            dataclasses.replace(clip, split="unlabelled") if clip.split == "train" and clip not in labelled else clip
            for clip in manifest.clips
            if clip not in left_out
        ),
    )


def _with_clips(manifest: Manifest, clips: Iterable[Clip]) -> Manifest:
    return Manifest.from_clips(
        manifest.name, manifest.root, manifest.fold, clips, manifest.classes, manifest.verbs, manifest.nouns
    )


def _truth(path: Path, classes: Sequence[str]) -> dict[str, str]:
    """Read path -> label."""
    truth: dict[str, str] = {}
    try:
        rows = list(lists.table(path, ("path", "label")))
    except csv.Error as error:
        raise UserError(f"{path} is damaged ({error}); expected a CSV with the columns path and label.") from None
    for place, row in rows:
        if row["label"] not in classes:
            raise UserError(f"{place}: '{row['label']}' is no class.{did_you_mean(row['label'], classes)}")
        if truth.setdefault(row["path"], row["label"]) != row["label"]:
            raise UserError(f"{place}: {row['path']} has two labels, {truth[row['path']]} and {row['label']}.")
    return truth


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"
