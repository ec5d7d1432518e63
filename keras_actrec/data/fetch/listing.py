"""What came out: the manifest's rows, the counts of each class and split, and the receipt."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.config.fetch import FetchConfig
from keras_actrec.data.fetch.origin import without_secrets
from keras_actrec.data.fetch.place import MANIFEST, RECEIPT
from keras_actrec.data.fetch.plan import Candidate, ClassPlan

FORMAT = 1
_SECRETS = {"cookies", "cookies_from_browser", "proxy", "to"}
_MANNER = {"workers", "interval_sec", "timeout_sec", "attempts", "wait_sec", "clip_mb", "keep_archives"}
"""Settings that change how, not what: two receipts of the same videos are the same."""


@dataclasses.dataclass
class Count:
    """Clips of one class and split.

    Attributes:
        official: how many the official list names.
        requested: how many were asked for.
        present: how many of these are there and can be decoded.
    """

    official: int = 0
    requested: int = 0
    present: int = 0


@dataclasses.dataclass(frozen=True)
class Listing:
    """The rows of a manifest and what they were chosen from.

    Attributes:
        rows: the clips.
        splits: column of the manifest ("split", "split_2") -> path -> split; a path that is missing there is not used.
        counts: split -> class -> count.
    """

    rows: Sequence[Candidate]
    splits: Mapping[str, Mapping[str, str]]
    counts: Mapping[str, Mapping[str, Count]]

    @property
    def totals(self) -> dict[str, Count]:
        """Count over all classes, by split."""
        return {split: _sum(list(counts.values())) for split, counts in self.counts.items()}

    @property
    def coverage(self) -> dict[str, float]:
        """Share of the requested clips that is there, by split."""
        return {split: count.present / count.requested for split, count in self.totals.items() if count.requested}

    def write_manifest(self, root: Path) -> None:
        """Publish the manifest, its rows sorted by path."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", "label", "group", *self.splits])
        for row in sorted(self.rows, key=lambda one: one.path):
            cells = [column.get(row.path, "") for column in self.splits.values()]
            if any(cells):
                writer.writerow([row.path, row.label, row.group, *cells])
        files.write_text(root / MANIFEST, text.getvalue())


def write_receipt(
    root: Path, config: FetchConfig, plans: Sequence[ClassPlan], listing: Listing, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Publish the receipt and return it.

    Args:
        root: the target folder, with its manifest.
        config: what was asked for.
        plans: what became of each class.
        listing: what came out.
        about: sources, licence, versions.
    """
    settings = config.model_dump(mode="json", exclude=_SECRETS | _MANNER)
    dead = dead_clips(plans)
    receipt = {
        "format": FORMAT,
        "settings": settings | {"mirror": without_secrets(config.mirror)},
        "counts": {
            split: {label: vars(count) for label, count in counts.items()} for split, counts in listing.counts.items()
        },
        "coverage": listing.coverage,
        "dead": dead,
        "reasons": dict(sorted(Counter(entry["reason"] for entry in dead).items())),
        "manifest_sha256": files.sha256(root / MANIFEST),
        **about,
    }
    files.write_json(root / RECEIPT, receipt)
    return receipt


def dead_clips(plans: Sequence[ClassPlan]) -> list[dict[str, str]]:
    """Return the clips that were wanted and cannot be had, with their reasons, sorted."""
    return [
        {"clip": one.path, "label": plan.label, "list": plan.split, "reason": plan.dead[one.stem].reason}
        for plan in sorted(plans, key=lambda plan: (plan.split, plan.label))
        for one in sorted(_tried(plan), key=lambda one: one.path)
        if one.stem in plan.dead
    ]


def _tried(plan: ClassPlan) -> list[Candidate]:
    """Return the order up to the last clip that was chosen."""
    living, tried = 0, []
    for candidate in plan.order:
        if living == plan.wanted:
            break
        tried.append(candidate)
        living += candidate.stem in plan.alive
    return tried


def _sum(counts: Sequence[Count]) -> Count:
    return Count(*(sum(getattr(one, field.name) for one in counts) for field in dataclasses.fields(Count)))
