"""From the facts of single clips to the numbers of a data set: the content of `describe.json`."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_actrec.data import survey
from keras_actrec.data.manifest import SPLITS, Clip, Manifest
from keras_actrec.data.survey_facts import Facts, Key, key_of

BINS = 30
"""Most bars of a histogram."""


def build(manifest: Manifest, found: Mapping[Key, Facts]) -> dict[str, Any]:
    """Return the numbers of a data set; "" stands for clips without a label.

    Args:
        manifest: the clips.
        found: their facts (see `data.survey.survey`).
    """
    facts = list(found.values())
    readable = [one for one in facts if one.reason is None]
    return {
        "dataset": manifest.name,
        "fold": manifest.fold,
        "manifest_hash": manifest.hash,
        "clips": len(facts),
        "readable": len(readable),
        "hours": sum(one.seconds for one in readable) / 3600,
        "seconds": spread([one.seconds for one in readable]),
        "frames": spread([float(one.frames) for one in readable]),
        "sizes": _counted(f"{one.width} x {one.height}" for one in readable),
        "rates": _counted(f"{one.fps:.5g}" for one in readable),
        "motion_sample": {
            "clips_per_class": survey.MOTION_CLIPS,
            "pairs_per_clip": survey.MOTION_PAIRS,
            "size": survey.MOTION_SIZE,
            "unit": "grey values of 0..255 from one frame to the next",
        },
        "classes": {name: _of_class(members, found) for name, members in _by_class(manifest).items()},
        "unreadable": _unreadable(manifest, found),
    }


def spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Return smallest, mean, median and largest value, and a histogram: edges of the bars and clips in each."""
    if not values:
        return None
    counts, edges = np.histogram(values, bins=_edges(values))
    return {
        "least": min(values),
        "mean": statistics.fmean(values),
        "median": statistics.median(values),
        "most": max(values),
        "histogram": {"edges": edges.tolist(), "clips": counts.tolist()},
    }


def _edges(values: Sequence[float]) -> np.ndarray:
    """Return edges of bars of a round width (1, 2 or 5 times a power of ten); the last bar takes the longest tail."""
    low, high = min(values), float(np.quantile(values, 0.995))
    width = _round_up(max(high - low, 1e-9 * max(abs(high), 1.0)) / BINS) if high > low else max(abs(low), 1.0) / 10
    first, last = math.floor(low / width), math.floor(high / width) + 1
    edges = np.round(np.arange(first, last + 1) * width, 12)  # 16 x 0.1 is to be 1.6, where clips of 1.6 s begin
    edges[-1] = max(edges[-1], max(values))
    return edges


def _round_up(width: float) -> float:
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9))


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(collections.Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _by_class(manifest: Manifest) -> dict[str, list[Clip]]:
    """Return the clips of each class: those that are trained first, then the unknown ones, then those without label."""
    members = collections.defaultdict(list)
    for clip in manifest.clips:
        members[clip.label or ""].append(clip)
    later = sorted(set(members) - set(manifest.classes), key=lambda name: (name == "", name))
    return {name: members[name] for name in (*manifest.classes, *later) if name in members}


def _of_class(clips: Sequence[Clip], found: Mapping[Key, Facts]) -> dict[str, Any]:
    facts = list({key_of(clip): found[key_of(clip)] for clip in clips}.values())
    moved = [one.motion for one in facts if one.motion is not None]
    lengths = [one.seconds for one in facts if one.reason is None]
    splits = collections.Counter(clip.split for clip in clips)
    return {
        "splits": {split: splits[split] for split in SPLITS if splits[split]},
        "median_seconds": statistics.median(lengths) if lengths else None,
        "motion": statistics.fmean(moved) if moved else None,
        "motion_deviation": statistics.stdev(moved) if len(moved) > 1 else None,
        "motion_clips": len(moved),
        "unreadable": sum(one.reason is not None for one in facts),
    }


def _unreadable(manifest: Manifest, found: Mapping[Key, Facts]) -> list[dict[str, Any]]:
    return [
        {"path": clip.path, "split": clip.split, "label": clip.label, "reason": found[key_of(clip)].reason}
        for clip in manifest.clips
        if found[key_of(clip)].reason is not None
    ]
