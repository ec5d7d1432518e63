"""What is wrong with a data set beyond single files: duplicates, and groups and recordings in several splits."""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_actrec.data.manifest import SPLITS, Clip, Manifest
from keras_actrec.data.verification import near
from keras_actrec.data.verification.verifying import Found

_SIDES = {"unlabelled": "train"}
"""Unlabelled clips are trained on, too: what they share with training clips is no leak."""


def side(split: str) -> str:
    """Return the split that a split's clips count as when one asks what a network has seen before."""
    return _SIDES.get(split, split)


def exact_duplicates(manifest: Manifest, found: Found) -> list[dict[str, Any]]:
    """Return the sets of different files with equal content: digest, clips, and whether they lie in several splits."""
    same = collections.defaultdict(list)
    for clip in manifest.clips:
        digest = found["video", clip.path].facts.get("sha256")
        if digest:
            same[digest].append(clip)
    sets = [clips for clips in same.values() if len({clip.path for clip in clips}) > 1]
    return [
        {
            "sha256": found["video", clips[0].path].facts["sha256"],
            "clips": [named(clip) for clip in clips],
            "across_splits": _across(clip.split for clip in clips),
            "labels_differ": len({clip.label for clip in clips if clip.label}) > 1,
        }
        for clips in sets
    ]


def near_duplicates(manifest: Manifest, found: Found, deep: bool) -> list[dict[str, Any]]:
    """Return the pairs of videos of different splits that look alike, the nearest first; equal files are left out.

    Args:
        manifest: the clips.
        found: what is known of their files.
        deep: compare at even steps of time, too.
    """
    videos = _by_side(manifest, found)
    pairs: dict[tuple[str, str], float] = {}
    for one, other in itertools.combinations(videos, 2):
        for first, second, distance in _near(videos[one], videos[other], found, deep):
            key = (first, second) if first < second else (second, first)
            pairs[key] = min(distance, pairs.get(key, 1.0))
    clips = {clip.path: clip for clip in reversed(manifest.clips)}
    rows = sorted((distance, *key) for key, distance in pairs.items())
    return [
        {"distance": round(distance, 4), "clips": [named(clips[path]) for path in paths]} for distance, *paths in rows
    ]


def straddling_groups(clips: Iterable[Clip]) -> list[dict[str, Any]]:
    """Return the groups with clips in more than one of train, validation and test, and how many in each."""
    counted: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for clip in clips:
        if clip.group and clip.split in SPLITS[:3]:
            counted[clip.group][clip.split] += 1
    return [{"group": group, "splits": dict(counts)} for group, counts in sorted(counted.items()) if len(counts) > 1]


def overlaps(clips: Iterable[Clip]) -> list[dict[str, Any]]:
    """Return the pairs of clips of one file that lie in different splits and share a part of it."""
    files: dict[str, list[Clip]] = collections.defaultdict(list)
    for clip in clips:
        files[clip.path].append(clip)
    found = []
    for members in files.values():
        if _across(clip.split for clip in members):
            found += [{"clips": [named(a), named(b)]} for a, b in _meeting(members)]
    return found


def _meeting(clips: Sequence[Clip]) -> list[tuple[Clip, Clip]]:
    """Return the pairs of different sides that overlap; only neighbours in time are compared."""
    rows = sorted(clips, key=_start)
    pairs: list[tuple[Clip, Clip]] = []
    for number, clip in enumerate(rows, start=1):
        later = itertools.takewhile(functools.partial(_meet, clip), rows[number:])
        pairs += [(clip, other) for other in later if side(other.split) != side(clip.split)]
    return pairs


def _meet(clip: Clip, later: Clip) -> bool:
    """Whether a clip goes on when a later one starts."""
    end = clip.span_sec[1]
    return end is None or _start(later) < end


def _start(clip: Clip) -> float:
    return clip.span_sec[0] or 0.0


def _across(splits: Iterable[str]) -> bool:
    return len({side(split) for split in splits}) > 1


def _by_side(manifest: Manifest, found: Found) -> dict[str, list[str]]:
    """Return side -> paths of its videos that have hashes."""
    videos: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for clip in manifest.clips:
        if found["video", clip.path].facts.get("ends"):
            videos[side(clip.split)][clip.path] = None
    return {name: list(paths) for name, paths in videos.items()}


def _near(first: list[str], second: list[str], found: Found, deep: bool) -> Iterable[tuple[str, str, float]]:
    """Yield the paths of two sets that look alike, and their distance."""

    def compare(
        search: Callable[[list[near.Hashes], list[near.Hashes]], list[near.Pair]], kind: str
    ) -> Iterable[tuple[str, str, float]]:
        a, b = ([path for path in paths if found["video", path].facts.get(kind)] for paths in (first, second))
        if not a or not b:
            return
        hashes = ([found["video", path].facts[kind] for path in paths] for paths in (a, b))
        for pair in search(*hashes):
            one, other = a[pair.first], b[pair.second]
            if one != other and not _are_equal(found, one, other):
                yield one, other, pair.distance

    yield from compare(near.by_ends, "ends")
    if deep:
        yield from compare(near.by_steps, "steps")


def _are_equal(found: Found, one: str, other: str) -> bool:
    digests = [found["video", path].facts.get("sha256") for path in (one, other)]
    return digests[0] is not None and digests[0] == digests[1]


def named(clip: Clip) -> dict[str, Any]:
    """Return what a person needs to find a clip, for a list."""
    document = {"path": clip.path, "split": clip.split, "label": clip.label}
    bounds = ("start_sec", "end_sec", "start_frame", "end_frame")
    stretch = {name: getattr(clip, name) for name in bounds if getattr(clip, name) is not None}
    return {**document, **stretch}
