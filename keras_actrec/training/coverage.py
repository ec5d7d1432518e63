"""How many of a data set's clips a run could read: by a verification beforehand, and by the run itself in the end."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any

from keras_actrec import files
from keras_actrec.data.manifest import Manifest
from keras_actrec.data.quarantine import Quarantined
from keras_actrec.data.verification import receipt as receipts
from keras_actrec.data.verification import text
from keras_actrec.errors import UserError
from keras_actrec.training.run_directory import RunDirectory

MOST_NAMED = 5
"""Clips of the receipt's list that are named when a run starts."""
_READ = ("train", "validation", "test")


def verified(manifest: Manifest) -> list[str]:
    """Return what a verification has found of a run's clips, in lines; none where there was no verification.

    The clips that it calls bad are read all the same: what a run cannot read goes to its own quarantine, and counts.
    """
    try:
        receipt = receipts.find(manifest)
    except UserError as error:
        return [str(error)]
    if receipt is None:
        return []
    bad = [f"  {text.name(clip)} ({clip['split']}): {clip['reason']}" for clip in receipt["unreadable"]]
    where = receipts.folder_of(manifest.root, manifest.hash) / receipts.NAME
    more = [f"  and {len(bad) - MOST_NAMED:,} more; see {where}"] if len(bad) > MOST_NAMED else []
    return [f"verified {receipt['date'][:10]}: {text.headline(receipt)}", *bad[:MOST_NAMED], *more]


def keep_receipt(directory: RunDirectory, manifest: Manifest) -> None:
    """Keep with a run what a verification has found of its clips, if there was one."""
    path = receipts.folder_of(manifest.root, manifest.hash) / receipts.NAME
    if path.is_file():
        files.write_text(directory.verification, path.read_text(encoding="utf-8"))


def of(manifest: Manifest, lost: Iterable[Quarantined], unlabelled: bool) -> dict[str, Any]:
    """Return the clips of a run and how many of them it could read, of all and by split, for `metrics.json`.

    Args:
        manifest: the clips.
        lost: entries of the run's quarantine.
        unlabelled: whether the run learns from unlabelled clips, too.
    """
    read = (*_READ, "unlabelled") if unlabelled else _READ
    bad = collections.Counter(entry.split for entry in lost)
    sizes = {split: len(clips) for split in read if (clips := manifest.split(split))}
    splits = {split: {"clips": size, "readable": size - bad[split]} for split, size in sizes.items()}
    totals = {name: sum(split[name] for split in splits.values()) for name in ("clips", "readable")}
    return {"coverage": {**totals, "splits": splits}}


def sentence(coverage: dict[str, Any]) -> str:
    """Return such as "19,881 of 19,907 clips could be read", and where the others are."""
    lost = coverage["clips"] - coverage["readable"]
    others = f"; quarantine.json says why not the other{'' if lost == 1 else f' {lost:,}'}" if lost else ""
    return f"{coverage['readable']:,} of {coverage['clips']:,} clips could be read{others}"
