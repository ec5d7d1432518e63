"""How each method's map is shown: as pictures, one per frame."""

from __future__ import annotations

import numpy as np

from keras_actrec.explain import pictures
from keras_actrec.explain.explanation import Explanation

TITLES = {
    "activation": "mean activation",
    "grad_cam": "Grad-CAM",
    "guided_backprop": "guided backpropagation",
    "integrated_gradients": "integrated gradients (red: for, blue: against)",
    "attention": "attention per frame",
    "attention_rollout": "attention rollout",
    "non_local": "non-local map: where the ring looks",
    "relative_position": "relative positions: where they turn the glance of the ring",
}


def title(explanation: Explanation) -> str:
    """Return what stands above a row."""
    where = f" ({explanation.layer})" if explanation.layer else ""
    return f"{TITLES.get(explanation.method, explanation.method)}{where}"


def draw(explanation: Explanation, frames: np.ndarray) -> np.ndarray:
    """Return the pictures of an explanation, uint8 (T, S, S, 3).

    Args:
        explanation: signed values, if any, in the order red, green, blue.
        frames: uint8 (T, S, S, 3), the clip as it is to be looked at.
    """
    shape = frames.shape[1:3]
    if explanation.frame_weights is not None:
        return pictures.weighed(frames, explanation.frame_weights)
    if explanation.method == "activation":
        return pictures.resized(pictures.coloured(explanation.heat), shape)
    if explanation.method == "guided_backprop":
        return pictures.enlarged(pictures.guided(explanation.signed), shape)
    if explanation.method == "integrated_gradients":
        return pictures.two_sided(frames, explanation.signed.sum(axis=-1))
    result = pictures.overlaid(frames, explanation.heat)
    if "query" in explanation.facts:
        _mark(result, explanation)
    return result


def _mark(result: np.ndarray, explanation: Explanation) -> None:
    frame, row, column = explanation.facts["query"]
    scale = result.shape[1] / explanation.heat.shape[1]
    pictures.circle(result[frame], (row + 0.5) * scale, (column + 0.5) * scale, max(result.shape[1] // 16, 3))
