"""What a network looks at in an upload, as a small video: the clip, and the clip under its heat."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.evaluation.trained import Frames, Trained
from keras_actrec.explain import drawing, film
from keras_actrec.explain.explanation import Explanation, NotApplicable
from keras_actrec.explain.methods import explain_subject
from keras_actrec.explain.subject import open_subject


@dataclasses.dataclass(frozen=True)
class Overlay:
    """An explanation.

    Attributes:
        video: an MP4 file.
        label: the class whose score is explained.
        method: name in `explain.METHODS`.
    """

    video: bytes
    label: str
    method: str


def draw(trained: Trained, frames: Frames, larger: np.ndarray, label: str | None, method: str | None) -> Overlay:
    """Explain a clip by the first method that applies to the network.

    Args:
        trained: the run.
        frames: what the network is given of the clip.
        larger: the same frames for the eye, uint8 (T, S, S, 3).
        label: name of the class that is explained; None: the predicted one.
        method: name in `explain.METHODS`; None: the first that applies.

    Raises:
        UserError: an unknown class or method, a network of several inputs, or no method applies.
    """
    target = None if label is None else trained.class_index(label)
    subject = open_subject(trained.model, trained.normalize(frames.pixels))
    chosen = int(subject.logits.argmax()) if target is None else target
    reasons = []
    for name in (method,) if method else drawing.FILMED:
        (found,) = explain_subject(subject, [name], chosen)
        if isinstance(found, Explanation):
            speed = film.speed(frames.indices, frames.fps)
            return Overlay(_film(larger, found.heat, speed), trained.classes[chosen], name)
        reasons.append(_reason(found))
    raise UserError(f"no overlay can be drawn: {'; '.join(reasons)}.")


def _film(larger: np.ndarray, heat: np.ndarray, frames_per_sec: float) -> bytes:
    with tempfile.TemporaryDirectory(prefix="overlay-") as folder:
        path = Path(folder) / "overlay.mp4"
        film.write(path, larger, heat, frames_per_sec)
        return path.read_bytes()


def _reason(found: NotApplicable) -> str:
    return f"{found.method}: {found.reason}"
