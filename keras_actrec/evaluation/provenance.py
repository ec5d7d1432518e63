"""The provenance guard: what a network was trained on, and whether it is about to be tested on that.

A network carries its data set, fold, manifest hash, class map and the identities of the clips in its training and
validation lists; with it those of the networks whose weights it started from. Evaluating it on any of these clips is
refused, or, when allowed on purpose, marks the result. Two identities are kept per file, each of them with the
stretches of the file that were used:

- by name: data set name and path below the root. It holds when the data root has moved, and across folds (the test
  list of fold 2 holds clips of fold 1's training list).
- by content: size, first and last 64 KiB of the file. It holds when files were renamed or listed in another manifest,
  and is asked for names that the network's manifest did not hold. Names that it held decide by themselves, because
  public collections have a few true duplicates, and their official splits are to be run as they are.

Stretches of one file count as the same clip when they overlap.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.data.manifest import SPLITS, Clip, Manifest
from keras_actrec.errors import UserError

FILE_NAME = "provenance.json"
VERSION = 1
LEARNT_FROM = ("train", "validation")
_EDGE_BYTES = 1 << 16

Stretch = tuple[float | None, float | None]
Index = dict[str, list[Stretch]]
"""Digest of a file -> the stretches (start and end in seconds, None: the file's own) that were used of it."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a network was trained on.

    Attributes:
        dataset, fold, manifest_hash: which clips.
        classes: class names in the order of the network's outputs.
        learnt: the splits that it has learnt from or was chosen by.
        by_name: split -> digest -> stretches, for all clips of its manifest.
        by_content: the same for the splits in `learnt`; empty where the files were not at hand.
        ancestors: of the networks whose weights this one started from.
    """

    dataset: str
    fold: int
    manifest_hash: str
    classes: tuple[str, ...]
    learnt: tuple[str, ...]
    by_name: Mapping[str, Index]
    by_content: Mapping[str, Index]
    ancestors: tuple[Provenance, ...] = ()


@dataclasses.dataclass(frozen=True)
class Contamination:
    """How many of the evaluated clips a network knows from training.

    Attributes:
        learnt: split of the network's own data -> number of evaluated clips found in it.
        clips: number of clips evaluated.
        examples: a few of their paths, for messages.
    """

    learnt: Mapping[str, int] = dataclasses.field(default_factory=dict)
    clips: int = 0
    examples: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(self.learnt.values())

    def to_json(self) -> dict[str, Any]:
        """Return the marks for `metrics.json`."""
        return {"contaminated": bool(self), "contaminated_clips": dict(self.learnt)}

    def describe(self) -> str:
        """Return a phrase such as "12 of 40 clips are in the model's train list"."""
        parts = " and ".join(f"{count} in its {split} list" for split, count in self.learnt.items())
        return f"of the {self.clips} clips to evaluate, the model has seen {parts} (such as {self.examples[0]})"


def record(
    manifest: Manifest,
    *,
    splits: Iterable[str] = LEARNT_FROM,
    fingerprints: bool = True,
    ancestors: Sequence[Provenance] = (),
) -> Provenance:
    """Return the provenance of a network that is trained on a manifest's clips.

    Args:
        manifest: the data.
        splits: what training uses; name "unlabelled" as well when a regime learns from those clips.
        fingerprints: also identify the files by content (reads 128 KiB of each; files that are missing are left out).
        ancestors: of the networks whose weights it starts from.
    """
    learnt = tuple(splits)
    named = {split: _index(manifest.split(split), lambda clip: _name(manifest.name, clip)) for split in SPLITS}
    return Provenance(
        dataset=manifest.name,
        fold=manifest.fold,
        manifest_hash=manifest.hash,
        classes=manifest.classes,
        learnt=learnt,
        by_name={split: index for split, index in named.items() if index},
        by_content=_contents(manifest, learnt) if fingerprints else {},
        ancestors=tuple(ancestors),
    )


def check(
    provenance: Provenance, manifest: Manifest, clips: Sequence[Clip], *, allow_contaminated: bool = False
) -> Contamination:
    """Refuse to evaluate a network on clips that it has learnt from.

    Args:
        provenance: of the network.
        manifest: where the clips come from (its name, root, hash and classes are used).
        clips: rows of it that are about to be evaluated.
        allow_contaminated: let them pass, and say so in the result.

    Returns:
        What was found; empty (false) for a clean evaluation.

    Raises:
        UserError: clips were learnt from and that was not allowed, or the class maps differ.
    """
    check_classes(provenance, manifest.classes)
    found = find(provenance, manifest, clips)
    if found and not allow_contaminated:
        raise UserError(
            f"{found.describe()}, so its accuracy on them says little about new videos. Evaluate the test split of "
            f"fold {provenance.fold} of '{provenance.dataset}', or pass --allow-contaminated, which marks the result."
        )
    return found


def check_classes(provenance: Provenance, classes: Sequence[str]) -> None:
    """Refuse a class map that is not the network's own."""
    ours, theirs = list(provenance.classes), list(classes)
    if ours == theirs:
        return
    if sorted(ours) == sorted(theirs):
        what = "the same classes in another order"
    else:
        new, gone = sorted(set(theirs) - set(ours)), sorted(set(ours) - set(theirs))
        what = "; ".join(
            f"{label} {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
            for label, names in (("unknown to the model:", new), ("missing in the data:", gone))
            if names
        )
    raise UserError(
        f"the model was trained on {len(ours)} classes of '{provenance.dataset}', the data has {len(theirs)} ({what}); "
        "evaluate it on data with the class map that it was trained with."
    )


def find(provenance: Provenance, manifest: Manifest, clips: Sequence[Clip]) -> Contamination:
    """Count the clips that a network, or one that it started from, has learnt from. Nothing is refused."""
    family = list(_family(provenance))
    learnt: dict[str, int] = {}
    examples = []
    for clip in clips:
        suspect = _Suspect(manifest, clip)
        split = next(filter(None, (_learnt_split(member, suspect) for member in family)), None)
        if split is not None:
            learnt[split] = learnt.get(split, 0) + 1
            examples.append(clip.path)
    return Contamination(dict(sorted(learnt.items())), len(clips), tuple(examples[:3]))


def fingerprint(path: str | os.PathLike[str]) -> str | None:
    """Return a digest of a file's size, first and last 64 KiB; None for a missing, unreadable or empty file."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_EDGE_BYTES)
            file.seek(max(size - _EDGE_BYTES, 0))
            tail = file.read(_EDGE_BYTES)
    except OSError:
        return None
    return _digest(str(size).encode(), head, tail) if size else None


def write(path: str | os.PathLike[str], provenance: Provenance) -> None:
    """Publish a provenance as JSON; a clip takes one short line."""
    files.write_json(path, {"version": VERSION, **_document(provenance)})


def read(path: str | os.PathLike[str]) -> Provenance:
    """Read what `write` wrote."""
    path = Path(path)
    try:
        document = files.read_json(path)
        if document.pop("version") != VERSION:
            raise UserError(f"{path} was written by another version of keras_actrec; train or evaluate with that one.")
        return _parse(document)
    except FileNotFoundError:
        raise UserError(
            f"there is no {path}: without it nobody knows which clips the model was trained on. "
            "Copy it from the model's run directory, where it is called provenance.json."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; copy it again from the model's run directory.") from None


def beside(model_path: str | os.PathLike[str]) -> Path:
    """Return where the provenance of a model file lies: `best.keras` -> `best.provenance.json`."""
    return Path(model_path).with_suffix(".provenance.json")


def _document(provenance: Provenance) -> dict[str, Any]:
    own = {field.name: getattr(provenance, field.name) for field in dataclasses.fields(provenance)}
    for name in ("by_name", "by_content"):
        own[name] = {
            split: {digest: _write_stretches(stretches) for digest, stretches in index.items()}
            for split, index in own[name].items()
        }
    return {**own, "ancestors": [_document(ancestor) for ancestor in provenance.ancestors]}


def _parse(document: dict[str, Any]) -> Provenance:
    def indices(name: str) -> dict[str, Index]:
        return {
            split: {digest: _read_stretches(text) for digest, text in index.items()}
            for split, index in document[name].items()
        }

    return Provenance(
        dataset=document["dataset"],
        fold=document["fold"],
        manifest_hash=document["manifest_hash"],
        classes=tuple(document["classes"]),
        learnt=tuple(document["learnt"]),
        by_name=indices("by_name"),
        by_content=indices("by_content"),
        ancestors=tuple(_parse(ancestor) for ancestor in document["ancestors"]),
    )


def _write_stretches(stretches: Sequence[Stretch]) -> str:
    """Write [(1.5, 3.0), (None, None)] as "1.5:3.0,:"."""
    return ",".join(":".join("" if end is None else repr(float(end)) for end in stretch) for stretch in stretches)


def _read_stretches(text: str) -> list[Stretch]:
    pairs = (part.split(":") for part in text.split(","))
    return [(float(start) if start else None, float(end) if end else None) for start, end in pairs]


def _family(provenance: Provenance) -> Iterable[Provenance]:
    yield provenance
    for ancestor in provenance.ancestors:
        yield from _family(ancestor)


class _Suspect:
    """A clip about to be evaluated, its file read at most once."""

    def __init__(self, manifest: Manifest, clip: Clip) -> None:
        self.name = _name(manifest.name, clip)
        self.stretch = clip.span_sec
        self.path = manifest.root / clip.path

    @functools.cached_property
    def content(self) -> str | None:
        return fingerprint(self.path)

    def within(self, index: Index, digest: str | None) -> bool:
        return any(_overlap(self.stretch, stretch) for stretch in index.get(digest or "", ()))


def _learnt_split(member: Provenance, suspect: _Suspect) -> str | None:
    """Return the split from which a network has learnt the clip, or None."""
    for split in member.learnt:
        if suspect.within(member.by_name.get(split, {}), suspect.name):
            return split
    if any(suspect.name in index for index in member.by_name.values()):
        return None
    for split, index in member.by_content.items():
        if suspect.within(index, suspect.content):
            return split
    return None


def _contents(manifest: Manifest, splits: Iterable[str]) -> dict[str, Index]:
    found = {
        split: _index(manifest.split(split), lambda clip: fingerprint(manifest.root / clip.path)) for split in splits
    }
    return {split: index for split, index in found.items() if index}


def _index(clips: Sequence[Clip], identify: Callable[[Clip], str | None]) -> Index:
    index: Index = {}
    for clip in clips:
        digest = identify(clip)
        if digest is not None:
            index.setdefault(digest, []).append(clip.span_sec)
    return index


def _overlap(first: Stretch, second: Stretch) -> bool:
    starts = max(first[0] or 0.0, second[0] or 0.0)
    ends = min(float("inf") if end is None else end for end in (first[1], second[1]))
    return starts < ends


def _name(dataset: str, clip: Clip) -> str:
    return _digest(dataset.encode(), posixpath.normpath(clip.path).encode())


def _digest(*parts: bytes) -> str:
    """Return 64 bits of SHA-256 as hexadecimal digits: for a million files a chance collision has odds of 1 in 10^7."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.hexdigest()[:16]
