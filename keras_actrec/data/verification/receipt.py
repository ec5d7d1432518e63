"""The receipt of a verification: what a data set held on a day, by which tools, and where it is kept.

It lies in the data set's root, in a folder named after the manifest's hash, with `manifest.lock` and the quarantine
list beside it; so whoever has the manifest finds its receipt.
"""

from __future__ import annotations

import collections
import datetime
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.verification import findings, near, parts
from keras_actrec.data.verification.verifying import Found, Settings
from keras_actrec.errors import UserError

FORMAT = 1
NAME, LOCK, QUARANTINE = "verification.json", "manifest.lock", "quarantine.json"
_FOLDER = ".keras_actrec"
_TOOLS = ("keras-actrec", "av", "opencv-python-headless", "numpy")


def results_file(root: Path) -> Path:
    """Return where the results of single files are kept, for all manifests over a root."""
    return root / _FOLDER / "verified.jsonl"


def folder_of(root: Path, manifest_hash: str) -> Path:
    """Return the folder of a manifest's receipt."""
    return root / _FOLDER / f"verify-{manifest_hash[:12]}"


def build(manifest: Manifest, found: Found, settings: Settings) -> dict[str, Any]:
    """Return what was found as a document.

    Args:
        manifest: the clips.
        found: of `verifying.check_files`.
        settings: with which it was found.
    """
    reasons = {number: parts.reason(clip, settings.wanted, found) for number, clip in enumerate(manifest.clips)}
    bad = [(clip, reasons[number]) for number, clip in enumerate(manifest.clips) if reasons[number] is not None]
    deep = settings.deep or all(checked.deep for checked in found.values() if checked.reason is None)
    splits = _counts(manifest, found, {number for number, reason in reasons.items() if reason is not None})
    return {
        "format": FORMAT,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "manifest": {"name": manifest.name, "fold": manifest.fold, "hash": manifest.hash},
        "mode": "deep" if deep else "quick",
        "files": {"checked": list(settings.wanted), "count": len(found)},
        "limits": {name: getattr(settings.limits, name) for name in ("seconds", "memory_bytes", "width", "height")},
        "tools": _tools(),
        **{name: sum(split[name] for split in splits.values()) for name in ("official", "present", "decodable")},
        "splits": splits,
        "unreadable": [_unreadable(clip, reason) for clip, reason in bad],
        "reasons": dict(collections.Counter(reason.partition(":")[0] for _, reason in bad).most_common()),
        "exact_duplicates": findings.exact_duplicates(manifest, found),
        "near_duplicates": findings.near_duplicates(manifest, found, deep),
        "near_distance": near.DISTANCE,
        "straddling_groups": findings.straddling_groups(manifest.clips),
        "overlaps": findings.overlaps(manifest.clips),
    }


def has_findings(receipt: Mapping[str, Any]) -> bool:
    """Whether something is wrong: clips that cannot be read, or what one split shares with another.

    Near duplicates do not count: whether two clips that look alike are one is for a person to judge.
    """
    leaks = any(entry["across_splits"] or entry["labels_differ"] for entry in receipt["exact_duplicates"])
    lists = ("unreadable", "straddling_groups", "overlaps")
    return leaks or any(receipt[name] for name in lists)


def write(folder: Path, manifest: Manifest, receipt: Mapping[str, Any]) -> None:
    """Publish the receipt, the manifest and the quarantine list; the receipt last."""
    files.write_json(folder / LOCK, manifest.to_json())
    entries = {_id(entry): entry["reason"] for entry in receipt["unreadable"]}
    quarantine = Quarantine()
    for clip in manifest.clips:
        if reason := entries.get(_id(findings.named(clip))):
            quarantine.add(clip, reason)
    quarantine.save(folder / QUARANTINE)
    files.write_json(folder / NAME, receipt)


def find(manifest: Manifest) -> dict[str, Any] | None:
    """Return the receipt of a manifest; None when its data set was not verified.

    Raises:
        UserError: the receipt is damaged.
    """
    path = folder_of(manifest.root, manifest.hash) / NAME
    if not path.is_file():
        return None
    try:
        receipt = files.read_json(path)
        fits = receipt["format"] == FORMAT and receipt["manifest"]["hash"] == manifest.hash
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path} is no receipt of a verification; delete it, or verify again.") from None
    return receipt if fits else None


def _counts(manifest: Manifest, found: Found, bad: set[int]) -> dict[str, Any]:
    """Return split -> official, present and decodable clips, of all and of each class."""
    splits: dict[str, Any] = {}
    for number, clip in enumerate(manifest.clips):
        there = found["video", clip.path].size_bytes >= 0
        counted = {"official": 1, "present": int(there), "decodable": int(number not in bad)}
        split = splits.setdefault(clip.split, {**dict.fromkeys(counted, 0), "classes": {}})
        row = split["classes"].setdefault(clip.label or "", dict.fromkeys(counted, 0))
        for name, count in counted.items():
            split[name] += count
            row[name] += count
    return splits


def _unreadable(clip: Clip, reason: str) -> dict[str, Any]:
    return {**findings.named(clip), "reason": reason}


def _id(entry: Mapping[str, Any]) -> str:
    """Return what tells the clips of a list apart: a stretch up to 5 s is not one from 5 s on."""
    return json.dumps({name: value for name, value in entry.items() if name != "reason"}, sort_keys=True)


def _tools() -> dict[str, str]:
    import av

    found = {"python": platform.python_version()}
    for name in _TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    ffmpeg = {f"ffmpeg {name}": ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return found | {name: version for name, version in ffmpeg.items() if name.endswith(("libavcodec", "libavformat"))}
