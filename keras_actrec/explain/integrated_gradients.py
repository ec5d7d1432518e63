"""Integrated gradients: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks" (2017), Eq. 1 and 3.

    signed_i = (x_i - b_i) * mean over s of dy / dx_i at b + (s - 1/2) / S (x - b),    s = 1 .. S

with the clip x, the baseline b, the logit y of the class and S steps (the midpoint rule in place of their right-hand
sum, which converges faster). Completeness: the sum over all pixels tends to y(x) - y(b) as S grows; both numbers are
kept, so that a reader can judge whether S was large enough.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_actrec.errors import UserError
from keras_actrec.explain.explanation import Explanation, Options
from keras_actrec.explain.saliency import clip_gradient, signed_explanation
from keras_actrec.explain.subject import Subject

_CLIPS_PER_PASS = 4


def integrated_gradients(subject: Subject, target: int, options: Options) -> Explanation:
    """Explain the target by the gradient of its logit, averaged on the way from `options.baseline` to the clip.

    Raises:
        UserError: fewer than one step, or a baseline that does not fit the clip.
        InapplicableError: the gradients are not finite.
    """
    if options.steps < 1:
        raise UserError(f"integrated gradients take at least 1 step, got {options.steps}.")
    baseline = _baseline(subject, options.baseline)
    difference = subject.clip - baseline
    places = (np.arange(options.steps, dtype=np.float32) + 0.5) / options.steps
    total = np.zeros_like(subject.clip)
    for start in range(0, options.steps, _CLIPS_PER_PASS):
        shares = places[start : start + _CLIPS_PER_PASS].reshape(-1, 1, 1, 1, 1)
        total += clip_gradient(subject, baseline + shares * difference, target).sum(axis=0, keepdims=True)
    signed = (difference * total / options.steps)[0]
    facts = {
        "steps": options.steps,
        "sum": float(signed.sum(dtype=np.float64)),
        "score_difference": _score(subject, subject.clip, target) - _score(subject, baseline, target),
    }
    return signed_explanation("integrated_gradients", target, signed, facts)


def _baseline(subject: Subject, baseline: float | np.ndarray) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(baseline, np.float32), subject.clip.shape)
    except ValueError:
        shape = np.shape(baseline)
        raise UserError(f"a baseline of shape {shape} does not fit clips of shape {subject.clip.shape[1:]}.") from None


def _score(subject: Subject, clip: np.ndarray, target: int) -> float:
    return float(ops.convert_to_numpy(subject.score(ops.convert_to_tensor(clip), target)))
