"""Example clips for the report: which ones to show, and strips of their frames as JPEG data URIs."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from keras_actrec.data.manifest import Clip
from keras_actrec.data.views import View
from keras_actrec.errors import UnreadableVideoError
from keras_actrec.evaluation.predict import Predictions

HEIGHT = 96
"""Height of a frame in pixels."""
FRAMES, COLUMNS, GAP = 6, 3, 3
"""Most frames of a clip, frames in a row, and pixels between them."""
QUALITY = 80
"""Of the JPEGs."""

ReadFrames = Callable[[Clip], np.ndarray]
"""Maps a clip to uint8 (T, H, W, C), the frames that the network saw."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One clip of the report.

    Attributes:
        path, label: of the clip.
        answers: (class, probability) of the most probable classes, best first.
        right: whether the first answer is the label.
        image: data URI of the strip.
    """

    path: str
    label: str
    answers: tuple[tuple[str, float], ...]
    right: bool
    image: str


def examples(
    predictions: Predictions,
    clips: Sequence[Clip],
    classes: Sequence[str],
    read: ReadFrames,
    *,
    right: int = 6,
    wrong: int = 12,
) -> tuple[Example, ...]:
    """Return examples, the wrong ones first.

    Args:
        predictions: of the clips.
        clips: the list that the predictions' indices point into.
        classes: names in the order of the network's outputs.
        read: gives the frames (see `reader`); a clip that cannot be read any more is left out.
        right: number of right clips.
        wrong: number of wrong clips.
    """
    chosen = choose(predictions, right=right, wrong=wrong)
    made = (_example(predictions, row, clips[predictions.indices[row]], classes, read) for row in chosen)
    return tuple(example for example in made if example is not None)


def choose(predictions: Predictions, *, right: int, wrong: int) -> list[int]:
    """Return rows of the predictions: the surest wrong ones, then right ones from the surest to the least sure."""
    confidence = predictions.probabilities.max(axis=1, initial=0)
    hit = predictions.probabilities.argmax(axis=1) == predictions.labels if len(confidence) else np.zeros(0, bool)
    order = np.argsort(-confidence, kind="stable")
    mistaken, correct = order[~hit[order]], order[hit[order]]
    spread = np.unique(np.linspace(0, len(correct) - 1, min(right, len(correct))).round().astype(int))
    return [int(row) for row in (*mistaken[:wrong], *correct[spread])]


def reader(source: object, view: View) -> ReadFrames:
    """Return a function that reads the frames which a view takes of a clip (of its middle one, if it has several).

    Args:
        source: a `data.source.FrameSource`.
        view: of the evaluation.
    """
    from keras_actrec.data import assemble

    modality = "depth" if view.modality == "depth" else "rgb"

    def read(clip: Clip) -> np.ndarray:
        indices = assemble.frames_of(clip, view, source, view.clips // 2)
        return source.read(clip.seen_by(view.camera), thin(indices), HEIGHT, modality)

    return read


def thin(frames: np.ndarray, most: int = FRAMES) -> np.ndarray:
    """Keep `most` entries of the first axis, evenly spread, the first and the last among them."""
    if len(frames) <= most:
        return frames
    return frames[np.linspace(0, len(frames) - 1, most).round().astype(int)]


def strip(frames_uint8: np.ndarray, height: int = HEIGHT, quality: int = QUALITY) -> str:
    """Return frames (T, H, W, C), RGB or one channel, in rows of three as the data URI of a JPEG."""
    import cv2

    frames = [_scaled(frame, height) for frame in thin(np.asarray(frames_uint8, np.uint8))]
    rows = [_row(frames[start : start + COLUMNS]) for start in range(0, len(frames), COLUMNS)]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    line = np.full((GAP, width, 3), 255, np.uint8)
    picture = np.concatenate([part for row in rows for part in (row, line)][:-1])
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode a picture of shape {picture.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _row(frames: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((frames[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for frame in frames for part in (frame, gap)][:-1], axis=1)


def _scaled(frame: np.ndarray, height: int) -> np.ndarray:
    import cv2

    width = max(round(frame.shape[1] * height / frame.shape[0]), 1)
    scaled = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, -1)
    return np.repeat(scaled, 3, axis=2) if scaled.shape[2] == 1 else scaled


def _example(
    predictions: Predictions, row: int, clip: Clip, classes: Sequence[str], read: ReadFrames
) -> Example | None:
    try:
        image = strip(read(clip))
    except UnreadableVideoError:
        return None
    shares = predictions.probabilities[row]
    best = np.argsort(-shares, kind="stable")[:3]
    answers = tuple((classes[index], float(shares[index])) for index in best)
    return Example(
        clip.path, classes[predictions.labels[row]], answers, bool(best[0] == predictions.labels[row]), image
    )
