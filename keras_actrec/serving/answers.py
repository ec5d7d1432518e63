"""What is told of one video: its likeliest classes, and where it is long, which action it shows when."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_actrec.serving.network import Scores
from keras_actrec.serving.predictor import Rule
from keras_actrec.serving.reading import Facts
from keras_actrec.serving.timeline import Segment, segments, smooth
from keras_actrec.serving.windows import Window

TOP = 5


@dataclasses.dataclass(frozen=True)
class Answer:
    """What networks say of one video.

    Attributes:
        facts: of the video.
        label: the likeliest class of the whole video, or "unknown".
        top: classes with their probabilities, likeliest first; of a long video means over its windows.
        windows: those that could be read.
        names: what each window is taken for, after smoothing.
        confidences: of each window: probability of its likeliest class, after smoothing.
        timeline: segments without gaps; one for a video of one window.
        lost: windows that could not be read, with the reasons.
    """

    facts: Facts
    label: str
    top: tuple[tuple[str, float], ...]
    windows: tuple[Window, ...]
    names: tuple[str, ...]
    confidences: tuple[float, ...]
    timeline: tuple[Segment, ...]
    lost: tuple[tuple[Window, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; times in seconds, rounded to milliseconds, probabilities to six digits."""
        return {
            "label": self.label,
            "confidence": round(self.top[0][1], 6),
            "top": [{"label": name, "probability": round(value, 6)} for name, value in self.top],
            "video": {
                "duration_sec": round(self.facts.duration_sec, 3),
                "frames": self.facts.frames,
                "fps": round(self.facts.fps, 3),
                "width": self.facts.width,
                "height": self.facts.height,
            },
            "windows": len(self.windows),
            "timeline": [
                {
                    "label": segment.label,
                    "start_sec": round(segment.start_sec, 3),
                    "end_sec": round(segment.end_sec, 3),
                    "confidence": round(segment.confidence, 6),
                }
                for segment in self.timeline
            ],
            "unreadable": [
                {"start_sec": round(window.start_sec, 3), "end_sec": round(window.end_sec, 3), "reason": reason}
                for window, reason in self.lost
            ],
        }


def answer(
    facts: Facts,
    windows: Sequence[Window],
    scores: Scores,
    classes: Sequence[str],
    rule: Rule,
    *,
    smooth_sec: float = 0.0,
    top: int = TOP,
    lost: Sequence[tuple[Window, str]] = (),
) -> Answer:
    """Put together what is told of a video.

    Args:
        facts: of the video.
        windows: N of them, in order of time, at least one.
        scores: of each.
        classes: names, K.
        rule: when an answer is "unknown".
        smooth_sec: over how many seconds to either side windows are averaged.
        top: how many of the likeliest classes are told.
        lost: windows that could not be read.
    """
    smoothed = Scores(
        smooth(scores.probabilities, windows, smooth_sec),
        None if scores.distances is None else smooth(scores.distances, windows, smooth_sec),
    )
    names, confidences = rule.names(smoothed, classes), smoothed.probabilities.max(axis=1)
    whole = Scores(
        scores.probabilities.mean(axis=0, keepdims=True),
        None if scores.distances is None else scores.distances.mean(axis=0, keepdims=True),
    )
    (label,), mean = rule.names(whole, classes), whole.probabilities[0]
    order = np.argsort(-mean, kind="stable")[:top]
    return Answer(
        facts,
        label,
        tuple((classes[index], float(mean[index])) for index in order),
        tuple(windows),
        tuple(names),
        tuple(map(float, confidences)),
        segments(windows, names, confidences, facts.duration_sec),
        tuple(lost),
    )
