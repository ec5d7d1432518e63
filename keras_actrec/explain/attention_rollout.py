"""Attention rollout: Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (2020), Eq. 1 of Sec. 3.

With the attention A_l of layer l, averaged over its heads, and the residual connection as an identity of equal weight,

    rollout = (A_L + I) / 2 ... (A_2 + I) / 2 (A_1 + I) / 2

says how much of each input token reaches each output token, if layers only mixed tokens. Rows sum to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_actrec.explain import attention_scores as attended
from keras_actrec.explain.attention import of_tokens
from keras_actrec.explain.explanation import Explanation, InapplicableError, Options
from keras_actrec.explain.subject import Subject


def attention_rollout(subject: Subject, target: int, options: Options) -> Explanation:
    """Return the rollout over all layers that attend over tokens, read out as in `attention`.

    Raises:
        InapplicableError: no layer attends over tokens, or their number changes from layer to layer.
    """
    found = attended.tokens_attended(subject, None)
    if len({scores.weights.shape[1:] for scores in found}) > 1 or len(set(found[0].weights.shape[1:])) > 1:
        raise InapplicableError(f"the number of tokens of '{subject.model.name}' changes from layer to layer.")
    place = attended.layout(subject, found[0].weights.shape[-1])
    heat, frames = attended.lay(subject, place, of_tokens(rollout([scores.weights for scores in found]), place))
    facts = {"layers": [scores.call.path for scores in found], "grid": list(place.grid)}
    return Explanation("attention_rollout", target, heat, frame_weights=frames, facts=facts)


def rollout(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Multiply layers (heads, N, N), the first one first: (N, N), rows are output tokens."""
    result = np.eye(weights[0].shape[-1])
    for layer in weights:
        mixed = layer.mean(axis=0, dtype=np.float64) + np.eye(len(result))
        result = mixed / mixed.sum(axis=-1, keepdims=True) @ result
    return result
