"""What the methods share that end at the pixels: the gradient by the clip, and how its signs become heat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_actrec.explain import gradients
from keras_actrec.explain.explanation import Explanation, InapplicableError
from keras_actrec.explain.subject import Subject, Tensor


def clip_gradient(subject: Subject, clips: np.ndarray, target: int) -> np.ndarray:
    """Return the gradient of the target's logit with respect to each of the clips (B, T, H, W, C), in that shape."""

    def function(pixels: Tensor) -> tuple[Tensor, tuple[()]]:
        return subject.score(pixels, target), ()

    return gradients.value_and_gradients(function, [clips])[2][0]


def signed_explanation(method: str, target: int, signed: np.ndarray, facts: Mapping[str, Any]) -> Explanation:
    """Return the explanation of signed values (T, H, W, C); the heat is the sum of their sizes over the channels.

    Raises:
        InapplicableError: they are not finite.
    """
    if not np.isfinite(signed).all():
        raise InapplicableError("the gradient with respect to the clip is NaN or infinite.")
    return Explanation(method, target, np.abs(signed).sum(axis=-1), signed=signed, facts=dict(facts))
