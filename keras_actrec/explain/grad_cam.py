"""Grad-CAM: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization" (2017).

With feature maps A^k over positions p and the logit y of the class (their Eq. 1 and 2):

    alpha_k = mean over p of dy / dA^k_p;    heat_p = ReLU(sum over k of alpha_k A^k_p)

Positions are those of one frame in a network that runs frame by frame, which gets weights alpha_k of its own for each
frame, and those of the whole clip in a 3-D network. Both give one picture per time step of the map, so the heat is
resolved in time.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_actrec.explain import feature_maps, gradients, taps
from keras_actrec.explain.explanation import Explanation, InapplicableError, Options
from keras_actrec.explain.subject import Call, Subject, Tensor


def grad_cam(subject: Subject, target: int, options: Options) -> Explanation:
    """Explain the target by `options.layer`, or by the last map before the pooling over space.

    Raises:
        InapplicableError: the network has no such map, or the layer's output is none.
        UserError: there is no such layer.
    """
    call = subject.find(options.layer) if options.layer else feature_maps.last_feature_map(subject)
    maps, slopes = maps_and_gradients(subject, call, target)
    heat = weighted(maps, slopes, per_frame=len(call.shape) == 4)
    if not np.isfinite(heat).all():
        raise InapplicableError(f"the gradient at the layer '{call.path}' is NaN or infinite.")
    facts = {"grid": list(heat.shape), "warmest": float(heat.max())}
    return Explanation("grad_cam", target, feature_maps.to_clip(subject, call, heat), layer=call.path, facts=facts)


def weighted(maps: np.ndarray, slopes: np.ndarray, *, per_frame: bool) -> np.ndarray:
    """Return ReLU(sum_k alpha_k A^k): (t, h, w, C) twice -> (t, h, w).

    Args:
        maps: A.
        slopes: dy / dA.
        per_frame: alpha is the mean over each frame, not over the clip.
    """
    alpha = slopes.mean(axis=(1, 2) if per_frame else (0, 1, 2), keepdims=True)
    return np.maximum((alpha * maps).sum(axis=-1), 0)


def maps_and_gradients(subject: Subject, call: Call, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a layer's output and the gradient of the target's logit with respect to it, both (t, h, w, C)."""
    feature_maps.grid(call)

    def function(*zeros: Tensor) -> tuple[Tensor, list[Tensor]]:
        with taps.added(call.layer, list(zeros)) as outputs:
            score = subject.score(ops.convert_to_tensor(subject.clip), target)
        return score, outputs

    zeros = [np.zeros(call.shape, np.float32)] * subject.times_called(call.layer)
    _, outputs, slopes = gradients.value_and_gradients(function, zeros)
    return feature_maps.as_map(subject, call, outputs), feature_maps.as_map(subject, call, list(slopes))
