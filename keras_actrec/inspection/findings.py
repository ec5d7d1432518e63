"""What runs and checks have left about single clips: quarantine lists, explanations, near duplicates."""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.errors import UserError

EXPLANATIONS, OVERLAY, NUMBERS = "explanations", "overlay.mp4", "explanation.json"
"""As `python -m keras_actrec explain` leaves them in a run directory."""
RECEIPT, QUARANTINE = "verification.json", "quarantine.json"
"""As `python -m keras_actrec verify` leaves them; the latter as runs do, too."""
Key = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Explained:
    """What `explain` has left of a video.

    Attributes:
        overlay: the video beside itself under its heat.
        method: whose heat it is.
        label: the class that is explained.
    """

    overlay: Path
    method: str
    label: str


def key(clip: Clip) -> Key:
    """Return what tells clips of a data set apart: file and stretch."""
    return (clip.path, clip.start_sec, clip.end_sec, clip.start_frame, clip.end_frame)


def quarantined(path: Path) -> dict[Key, str]:
    """Return key of a clip -> reason, of a list that a run or a check has left; empty where there is none.

    Raises:
        UserError: the list is damaged.
    """
    if not path.is_file():
        return {}
    return {
        (entry.path, entry.start_sec, entry.end_sec, entry.start_frame, entry.end_frame): entry.reason
        for entry in Quarantine(path).entries
    }


def explained(run: Path, manifest: Manifest) -> dict[str, Explained]:
    """Return path of a clip -> its explanation. Videos that do not belong to the data set are passed over."""
    paths = {str((manifest.root / clip.path).resolve()): clip.path for clip in manifest.clips}
    found = {}
    for numbers in sorted((run / EXPLANATIONS).glob(f"*/{NUMBERS}")):
        document, overlay = _object(numbers), numbers.parent / OVERLAY
        clip = paths.get(str(Path(str(document.get("video", ""))).resolve()))
        if clip and overlay.is_file():
            method, label = (str(document.get(name) or "") for name in ("overlay", "explained"))
            found[clip] = Explained(overlay.resolve(), method, label)
    return found


def receipt_of(manifest: Manifest) -> Path:
    """Return where `python -m keras_actrec verify` leaves its receipt of a manifest."""
    return manifest.root / ".keras_actrec" / f"verify-{manifest.hash[:12]}" / RECEIPT


def chosen_receipt(path: str | None, manifest: Manifest) -> Path:
    """Return the receipt that was asked for, or else where the manifest's own would be.

    Raises:
        UserError: there is none where one was asked for.
    """
    if path and not Path(path).is_file():
        raise UserError(f"there is no receipt at {path}; `python -m keras_actrec verify` prints where it wrote one.")
    return Path(path) if path else receipt_of(manifest)


def duplicates(receipt: Path) -> dict[str, int]:
    """Return path of a clip -> number of its group of equal or like videos, as a receipt of `verify` lists them.

    Empty where there is no receipt, or none that lists any.
    """
    document = _object(receipt)
    found = [*_entries(document, "exact_duplicates"), *_entries(document, "near_duplicates")]
    members = [[str(clip["path"]) for clip in _entries(entry, "clips") if "path" in clip] for entry in found]
    return groups_of_pairs(pair for paths in members for pair in itertools.pairwise(paths))


def _entries(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list; empty where there is none."""
    entries = document.get(name)
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def _object(path: Path) -> Mapping[str, Any]:
    try:
        document = files.read_json(path)
    except (OSError, ValueError):  # half a folder, or one of somebody else's: nothing to show
        return {}
    return document if isinstance(document, Mapping) else {}


def groups_of_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return path -> number of its group, where pairs that share a path belong together; numbers follow the paths."""
    neighbours: dict[str, set[str]] = defaultdict(set)
    for one, other in pairs:
        neighbours[one].add(other)
        neighbours[other].add(one)
    numbers: dict[str, int] = {}
    for path in sorted(neighbours):
        if path in numbers:
            continue
        number, waiting = len(set(numbers.values())) + 1, [path]
        while waiting:
            member = waiting.pop()
            if member not in numbers:
                numbers[member] = number
                waiting += neighbours[member]
    return numbers
