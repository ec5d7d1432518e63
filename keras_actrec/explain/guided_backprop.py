"""Guided backpropagation: Springenberg et al., "Striving for Simplicity: The All Convolutional Net" (2015), Sec. 3.4.

The gradient of the logit by the pixels, where each ReLU hands back only what is positive, on top of its own rule that
nothing passes where it was not active. With R the signal that comes from above and f the ReLU's output:

    R' = (f > 0) * (R > 0) * R

It shows sharp outlines of what speaks for the class. Adebayo et al. (2018) found that such pictures depend little on
the upper layers' weights: read them beside Grad-CAM, not in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_actrec.explain import taps
from keras_actrec.explain.explanation import Explanation, InapplicableError, Options
from keras_actrec.explain.saliency import clip_gradient, signed_explanation
from keras_actrec.explain.subject import Subject, Tensor, walk

_FUNCTIONS = (keras.activations.relu, keras.activations.relu6)


def guided_backprop(subject: Subject, target: int, options: Options) -> Explanation:
    """Explain the target by the guided gradient of its logit with respect to the clip.

    Raises:
        InapplicableError: no ReLU was found; a plain gradient would be passed off as a guided one.
    """
    changes = guides(subject.model)
    if not changes:
        raise InapplicableError(
            f"'{subject.model.name}' has no ReLU, the only activation for which the guided rule is defined; "
            "integrated_gradients needs none."
        )
    with taps.replaced(changes):
        gradient = clip_gradient(subject, subject.clip, target)
    return signed_explanation("guided_backprop", target, gradient[0], {"relus": len(changes)})


def guides(model: keras.Model) -> list[taps.Change]:
    """Return the changes by which every ReLU of a network, at any depth, hands back positive gradients only.

    ReLUs are ReLU layers (with a ceiling, too, but not leaky ones), `activation="relu"` or "relu6" of any layer, and
    `keras.ops.relu` in the graph of a functional model; not those that a layer's own `call` computes.
    """
    changes: dict[tuple[int, str], taps.Change] = {}
    for _, layer in walk(model):
        for change in _guides_of(layer):
            changes[id(change.owner), change.name] = change
    return list(changes.values())


def _guides_of(layer: Any) -> list[taps.Change]:
    leaky = getattr(layer, "negative_slope", 0) != 0
    if (isinstance(layer, keras.layers.ReLU) and not leaky) or type(layer).__name__ in ("Relu", "Relu6"):
        return [taps.around(layer, _guided)]
    function = getattr(layer, "activation", None)
    if function in _FUNCTIONS:
        return [taps.Change(layer, "activation", _guided(function))]
    return []


def _guided(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def guided(*arguments: Any, **named: Any) -> Tensor:
        return _positive_gradient()(function(*arguments, **named))

    return guided


def _positive_gradient() -> Callable[[Tensor], Tensor]:
    """Return the identity whose gradient is cut off below zero."""

    @ops.custom_gradient
    def identity(x: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
        def gradient(*upstreams: Tensor, upstream: Tensor | None = None) -> Tensor:
            return ops.relu(upstreams[0] if upstream is None else upstream)

        return x * 1, gradient

    return identity
