"""The methods by name, and the one interface to them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.explain.activation import activation
from keras_actrec.explain.attention import attention
from keras_actrec.explain.attention_rollout import attention_rollout
from keras_actrec.explain.explanation import Explanation, InapplicableError, NotApplicable, Options
from keras_actrec.explain.grad_cam import grad_cam
from keras_actrec.explain.guided_backprop import guided_backprop
from keras_actrec.explain.integrated_gradients import integrated_gradients
from keras_actrec.explain.non_local import non_local
from keras_actrec.explain.relative_position import relative_position
from keras_actrec.explain.subject import Subject, attends, open_subject

Method = Callable[[Subject, int, Options], Explanation]

METHODS: MappingProxyType[str, Method] = MappingProxyType(
    {
        "activation": activation,
        "grad_cam": grad_cam,
        "guided_backprop": guided_backprop,
        "integrated_gradients": integrated_gradients,
        "attention": attention,
        "attention_rollout": attention_rollout,
        "non_local": non_local,
        "relative_position": relative_position,
    }
)


def explain(
    model: keras.Model, clip: np.ndarray, method: str, target: int | None = None, **options: Any
) -> Explanation | NotApplicable:
    """Explain what a network sees in one clip.

    The network is run eagerly, in inference mode, and left as it was.

    Args:
        model: gives logits (B, K) for clips (B, T, H, W, C).
        clip: float (T, H, W, C), normalised as the network wants it.
        method: name in `METHODS`.
        target: class whose score is explained, counted from 0; None: the predicted one.
        **options: fields of `Options`.

    Returns:
        The explanation, or why the method does not apply to this network.

    Raises:
        UserError: an unknown method, class or layer, or a clip that does not fit the network.
    """
    return explain_subject(open_subject(model, clip), [method], target, Options(**options))[0]


def explain_subject(
    subject: Subject, methods: Iterable[str], target: int | None = None, options: Options | None = None
) -> list[Explanation | NotApplicable]:
    """Explain one clip by several methods; what they have in common is found once. See `explain`.

    Where several methods are asked for, a layer that is named is for those that look at such a layer: the methods of
    attention if it attends, else Grad-CAM; the others take their own choice.
    """
    chosen = list(methods)
    for method in chosen:
        if method not in METHODS:
            raise UserError(f"there is no method '{method}'.{did_you_mean(method, METHODS)}")
    target = _check_target(subject, target)
    options = options or Options()
    layers = _layers(subject, chosen, options.layer)
    return [_apply(subject, method, target, dataclasses.replace(options, layer=layers[method])) for method in chosen]


def _layers(subject: Subject, methods: list[str], layer: str | None) -> dict[str, str | None]:
    if layer is None or len(methods) == 1:
        return dict.fromkeys(methods, layer)
    users = ("attention", "non_local", "relative_position") if attends(subject.find(layer).layer) else ("grad_cam",)
    return {method: layer if method in users else None for method in methods}


def _check_target(subject: Subject, target: int | None) -> int:
    classes = len(subject.logits)
    if target is None:
        return int(subject.logits.argmax())
    if not 0 <= target < classes:
        raise UserError(f"there is no class {target}; '{subject.model.name}' tells {classes}, counted from 0.")
    return int(target)


def _apply(subject: Subject, method: str, target: int, options: Options) -> Explanation | NotApplicable:
    try:
        explanation = METHODS[method](subject, target, options)
    except InapplicableError as error:
        return NotApplicable(method, str(error))
    return dataclasses.replace(explanation, heat=np.ascontiguousarray(explanation.heat, np.float32))
