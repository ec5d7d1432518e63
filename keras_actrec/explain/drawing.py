"""From a run and a video to the files: sheet, overlay video, and the numbers as JSON."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keras_actrec import files
from keras_actrec.errors import UserError
from keras_actrec.evaluation.predict import softmax
from keras_actrec.evaluation.trained import Frames, Trained
from keras_actrec.explain import film, sheet
from keras_actrec.explain.explanation import Explanation, NotApplicable, Options
from keras_actrec.explain.methods import METHODS, explain_subject
from keras_actrec.explain.subject import open_subject

SHEET, FILM, NUMBERS = "sheet.png", "overlay.mp4", "explanation.json"
LOOKED_AT = 320
"""Height and width in pixels at which frames are read for the eye."""
FILMED = ("grad_cam", "attention_rollout", "non_local", "activation")
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Explained:
    """One video, explained.

    Attributes:
        trained: the run.
        video: the file.
        frames: what the network was given.
        looked_at: the same frames, larger: uint8 (T, S, S, 3).
        probabilities: float64 (K,).
        target: the class that is explained.
        results: of all methods that were asked for.
    """

    trained: Trained
    video: Path
    frames: Frames
    looked_at: np.ndarray
    probabilities: np.ndarray
    target: int
    results: tuple[Explanation | NotApplicable, ...]

    @property
    def explanations(self) -> dict[str, Explanation]:
        """The methods that apply, by name."""
        return {result.method: result for result in self.results if isinstance(result, Explanation)}


def explain_video(
    trained: Trained,
    video: str | os.PathLike[str],
    *,
    label: str | None = None,
    methods: Iterable[str] = tuple(METHODS),
    clip: int | None = None,
    grey_baseline: bool = True,
    options: Options | None = None,
) -> Explained:
    """Explain what a trained network says of a video.

    Args:
        trained: the run.
        video: any video file.
        label: name of the class that is explained; None: the predicted one.
        methods: names in `METHODS`.
        clip: which of the clips that the run's evaluation takes, counted from 0; None: the middle one.
        grey_baseline: integrated gradients start from mid-grey; else from black. Takes the place of the option.
        options: of the methods.

    Raises:
        UserError: an unknown class, method or layer, or a video that cannot be read.
    """
    target = None if label is None else trained.class_index(label)
    frames = trained.frames(video, clip)
    subject = open_subject(trained.model, trained.normalize(frames.pixels))
    _check_finite(subject.logits)
    empty = trained.normalize(np.full_like(frames.pixels, 127 if grey_baseline else 0))
    options = dataclasses.replace(options or Options(), baseline=empty)
    results = explain_subject(subject, methods, target, options)
    results = tuple(_in_rgb(result, _channels(trained)) for result in results)
    chosen = int(subject.logits.argmax()) if target is None else target
    larger = trained.frames(video, clip, max(LOOKED_AT, trained.view.size)).pixels
    return Explained(trained, Path(video), frames, larger, softmax(subject.logits), chosen, results)


def write(explained: Explained, folder: str | os.PathLike[str]) -> list[Path]:
    """Write sheet, overlay video and numbers; return their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / SHEET]
    with files.publish(folder / SHEET) as temporary:
        cv2.imwrite(str(temporary), np.ascontiguousarray(sheet.draw(_shown(explained))[..., ::-1]))
    filmed = next((method for method in FILMED if method in explained.explanations), None)
    if filmed is not None:
        written.append(folder / FILM)
        heat = explained.explanations[filmed].heat
        film.write(folder / FILM, explained.looked_at, heat, film.speed(explained.frames.indices, explained.frames.fps))
    files.write_json(folder / NUMBERS, document(explained) | {"overlay": filmed})
    return [*written, folder / NUMBERS]


def document(explained: Explained) -> dict[str, Any]:
    """Return what the JSON file holds."""
    classes = explained.trained.classes
    return {
        "run": str(explained.trained.path),
        "model": explained.trained.config.model.name,
        "video": str(explained.video),
        "frames": explained.frames.indices.tolist(),
        "fps": explained.frames.fps,
        "probabilities": dict(zip(classes, explained.probabilities.round(6).tolist(), strict=True)),
        "predicted": classes[int(explained.probabilities.argmax())],
        "explained": classes[explained.target],
        "methods": {name: _method(result) for name, result in explained.explanations.items()},
        "not_applicable": {
            result.method: result.reason for result in explained.results if isinstance(result, NotApplicable)
        },
    }


def ranking(explained: Explained, most: int = _NAMED) -> str:
    """Return the likeliest classes with their probabilities, as text."""
    order = np.argsort(-explained.probabilities, kind="stable")[:most]
    return ", ".join(f"{explained.trained.classes[k]} {100 * explained.probabilities[k]:.1f} %" for k in order)


def _method(result: Explanation) -> dict[str, Any]:
    weights = {} if result.frame_weights is None else {"frame_weights": result.frame_weights.tolist()}
    per_frame = result.heat.mean(axis=(1, 2)).tolist()
    return {"layer": result.layer, "mean_heat_per_frame": per_frame, **weights, **result.facts}


def _shown(explained: Explained) -> sheet.Shown:
    trained, indices = explained.trained, explained.frames.indices
    heading = (
        f"{explained.video.name}: {ranking(explained)}",
        f"network {trained.config.model.name} of the run {trained.path.name}; "
        f"explained class: {trained.classes[explained.target]}",
    )
    times = [f"{index}, {index / explained.frames.fps:.2f} s" for index in indices]
    return sheet.Shown(heading, explained.looked_at, times, explained.results)


def _check_finite(logits: np.ndarray) -> None:
    if not np.isfinite(logits).all():
        raise UserError("the network gives NaN or infinite numbers for this video: its training diverged.")


def _channels(trained: Trained) -> slice:
    """Return how the network's input channels become red, green and blue: some networks take BGR."""
    red, black = (trained.normalize(np.full((1, 1, 1, 3), 1, np.uint8) * [value, 0, 0]) for value in (255, 0))
    return slice(None) if abs(red - black).ravel().argmax() == 0 else slice(None, None, -1)


def _in_rgb(result: Explanation | NotApplicable, channels: slice) -> Explanation | NotApplicable:
    if isinstance(result, NotApplicable) or result.signed is None:
        return result
    return dataclasses.replace(result, signed=result.signed[..., channels])
