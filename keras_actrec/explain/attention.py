"""Attention maps of transformers: where the last attention layer looks, as the mean over its heads and queries.

Where there is a class token, its row alone counts, because only that token is classified. Where tokens are frames (the
ConvNet-Transformer), the map is one weight per frame; the weights sum to 1. Attention says from where values are taken,
not what they do to the score (Jain and Wallace, "Attention is not Explanation", 2019).
"""

from __future__ import annotations

import numpy as np

from keras_actrec.explain import attention_scores as attended
from keras_actrec.explain.explanation import Explanation, Options
from keras_actrec.explain.subject import Subject


def attention(subject: Subject, target: int, options: Options) -> Explanation:
    """Return what `options.layer`, or the last layer that attends over tokens, looks at. The class does not matter.

    Raises:
        InapplicableError: no layer attends over tokens, or they do not lie in the clip in a way that can be found.
        UserError: there is no such layer.
    """
    last = attended.tokens_attended(subject, options.layer)[-1]
    place = attended.layout(subject, last.weights.shape[-1])
    relevance = of_tokens(last.weights.mean(axis=0), place)
    heat, frames = attended.lay(subject, place, relevance)
    facts = {"heads": len(last.weights), "grid": list(place.grid)}
    return Explanation("attention", target, heat, layer=last.call.path, frame_weights=frames, facts=facts)


def of_tokens(matrix: np.ndarray, place: attended.Layout) -> np.ndarray:
    """Return how much each token is looked at, (M,): by the class token, or else by the mean of all queries (N, M)."""
    return matrix[0] if place.class_token else matrix.mean(axis=0)
