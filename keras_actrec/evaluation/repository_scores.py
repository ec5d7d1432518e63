"""How well a repository recognises the clips of a split, with the actions that were added to it since training."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from keras_actrec.data.manifest import Clip
from keras_actrec.evaluation.codes import Codes
from keras_actrec.evaluation.repository import Repository
from keras_actrec.evaluation.video_names import video_name


def score(
    repository: Repository,
    parts: Sequence[tuple[Sequence[Clip], Codes]],
    classes: Sequence[str],
    left_out: Container[str] = (),
) -> dict[str, Any]:
    """Return accuracy over the clips whose action the repository has, and false accepts of the others; JSON.

    Clips of videos that the repository holds are left out. "expected" counts all clips, "evaluated" those that could be
    read, of which some are left out.

    Args:
        repository: recognises.
        parts: clips of a split and the codes of those that could be read, several times.
        classes: that the network was trained on; other actions count as added.
        left_out: paths of further clips to leave out, such as copies of videos that the repository holds.
    """
    rows = [
        (clips[index], code) for clips, codes in parts for index, code in zip(codes.indices, codes.mean(), strict=True)
    ]
    held = set(repository.videos)
    kept = [
        (clip, code)
        for clip, code in rows
        if clip.label and clip.path not in held and video_name(clip) not in held and clip.path not in left_out
    ]
    truth = np.array([clip.label for clip, _ in kept], object)
    codes = np.array([code for _, code in kept], np.float32).reshape(len(kept), repository.code_size)
    found, distances = repository.nearest(codes)
    nearest = np.array(repository.names, object)[found]
    accepted = distances < repository.gammas[found]
    known = np.array([name in repository.names for name in truth], bool)
    return {
        "actions": len(repository.names),
        "added": [name for name in repository.names if name not in classes],
        "expected": sum(len(clips) for clips, _ in parts),
        "evaluated": len(rows),
        "left_out": len(rows) - len(kept),
        **_numbers(nearest[known] == truth[known], accepted[known]),
        "per_action": {
            name: {"added": name not in classes, **_numbers((nearest == name)[truth == name], accepted[truth == name])}
            for name in repository.names
        },
        "unknown": {"clips": int((~known).sum()), "false_accepts": _mean(accepted[~known])},
    }


def _numbers(right: np.ndarray, accepted: np.ndarray) -> dict[str, Any]:
    """Return the accuracy within gamma ("unknown" is a mistake), without gamma, and the share within gamma."""
    return {
        "clips": len(right),
        "accuracy": _mean(right & accepted),
        "top1": _mean(right),
        "accepted": _mean(accepted),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
