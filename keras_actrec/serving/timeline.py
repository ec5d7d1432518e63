"""From what a network says of each window to a timeline: smoothed numbers, and segments of one label each."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from keras_actrec.serving.windows import Window


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of a video that shows one action.

    Attributes:
        label: name of the class, or "unknown".
        start_sec, end_sec: in seconds after the first frame.
        confidence: mean probability of the likeliest class over its windows.
    """

    label: str
    start_sec: float
    end_sec: float
    confidence: float


def smooth(values: np.ndarray, windows: Sequence[Window], width_sec: float) -> np.ndarray:
    """Return means over neighbouring windows, whose weight falls linearly to zero at a distance of `width_sec`.

    Args:
        values: float (N, K), a row per window.
        windows: N of them.
        width_sec: 0: values as they are.
    """
    if width_sec <= 0 or len(windows) < 2:
        return values
    centres = np.array([window.centre_sec for window in windows])
    smoothed = np.empty(values.shape, np.float64)
    for row, centre in enumerate(centres):  # a matrix of all pairs would take gigabytes for a long recording
        near = slice(*np.searchsorted(centres, [centre - width_sec, centre + width_sec]))
        weights = 1 - np.abs(centres[near] - centre) / width_sec
        smoothed[row] = weights @ values[near] / weights.sum()
    return smoothed


def segments(
    windows: Sequence[Window], labels: Sequence[str], confidences: Sequence[float], duration_sec: float
) -> tuple[Segment, ...]:
    """Return the segments of a video, without gaps, from 0 to its end; neighbours have different labels.

    A border between two windows lies midway between their centres.

    Args:
        windows: in order of time.
        labels: of each window.
        confidences: of each window, in [0, 1].
        duration_sec: of the video.
    """
    centres = [window.centre_sec for window in windows]
    borders = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(centres)), duration_sec]
    found, start = [], 0
    for label, run in itertools.groupby(labels):
        stop = start + sum(1 for _ in run)
        confidence = float(np.mean(confidences[start:stop]))
        found.append(Segment(label, borders[start], borders[stop], confidence))
        start = stop
    return tuple(found)
