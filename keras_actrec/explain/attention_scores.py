"""Attention scores of a network's layers, and how its tokens lie in the clip.

A layer that attends is one whose `call` takes `return_attention_scores`, as that of `keras.layers.MultiHeadAttention`:
it is made to return its scores while the network runs, at any depth, without a change of its output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_actrec.explain import feature_maps, taps
from keras_actrec.explain.explanation import InapplicableError
from keras_actrec.explain.subject import Call, Subject, attends


@dataclasses.dataclass(frozen=True)
class Scores:
    """What one layer attended to.

    Attributes:
        call: the run of the layer.
        weights: float32 (heads, N queries, M keys); heads are joined with whatever the layer folds into its batch.
    """

    call: Call
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Layout:
    """How tokens lie in the clip.

    Attributes:
        grid: tokens in T, H and W.
        class_token: whether a token that belongs to no place stands before them.
        per_frame: whether each token is a whole frame.
    """

    grid: tuple[int, int, int]
    class_token: bool = False
    per_frame: bool = False


def layers_that_attend(subject: Subject, *, to_maps: bool) -> list[Call]:
    """Return the runs of layers that attend over tokens (B, N, D), or over maps (B, T, H, W, D)."""
    found = [call for call in subject.calls if attends(call.layer)]
    return [call for call in found if (len(call.input_shape) == 5) == to_maps]


def tokens_attended(subject: Subject, layer: str | None) -> list[Scores]:
    """Return the scores of every layer that attends over the tokens of the clip, in their order.

    Args:
        subject: network and clip.
        layer: one layer that attends, by name; None: all.

    Raises:
        InapplicableError: there is none, or they attend within groups of tokens only.
        UserError: there is no layer of that name.
    """
    calls = layers_that_attend(subject, to_maps=False)
    if not calls:
        raise InapplicableError(f"'{subject.model.name}' has no layer that attends over tokens.")
    chosen = choose(subject, calls, layer)
    found = [Scores(call, weights) for call, weights in _read(subject, chosen)]
    if any(call.input_shape[0] != 1 for call in chosen):
        raise InapplicableError(f"'{chosen[0].path}' attends within groups of tokens, of which the clip holds several.")
    return found


def map_attended(subject: Subject, layer: str | None) -> Scores:
    """Return the scores of the last layer that attends over a map, or of the one that is named.

    Raises:
        InapplicableError: there is none.
        UserError: there is no layer of that name.
    """
    calls = layers_that_attend(subject, to_maps=True)
    if not calls:
        raise InapplicableError(f"'{subject.model.name}' has no non-local block.")
    ((call, weights),) = _read(subject, choose(subject, calls, layer)[-1:])
    return Scores(call, weights)


def choose(subject: Subject, calls: list[Call], layer: str | None) -> list[Call]:
    """Return the call of the named layer, or all of them where none is named.

    Raises:
        InapplicableError: the named layer is none of them.
    """
    if layer is None:
        return calls
    named = subject.find(layer)
    if named.layer not in [call.layer for call in calls]:
        raise InapplicableError(f"the layer '{named.path}' does not attend; these do: {_paths(calls)}.")
    return [call for call in calls if call.layer is named.layer]


def layout(subject: Subject, tokens: int) -> Layout:
    """Return how `tokens` tokens lie in the clip.

    They are the frames that the network was given, or the positions of one of its maps, with or without a class token.

    Raises:
        InapplicableError: neither.
    """
    if tokens in (subject.grid[0], len(subject.seen_frames)):
        return Layout((tokens, 1, 1), per_frame=True)
    for call in subject.calls:
        if len(call.shape) == 4 or (len(call.shape) == 5 and call.shape[0] == 1):
            grid = feature_maps.grid(call)
            if math.prod(grid) in (tokens, tokens - 1) and id(call.layer) not in subject.within_attention:
                return Layout(grid, class_token=math.prod(grid) == tokens - 1)
    raise InapplicableError(f"{tokens} tokens are neither the frames of the clip nor the positions of a map.")


def lay(subject: Subject, place: Layout, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return relevance (N,) over the clip (T, H, W), and per frame (T,) where tokens are frames."""
    values = np.asarray(relevance[1:] if place.class_token else relevance, np.float32).reshape(place.grid)
    if not place.per_frame:
        return feature_maps.resample(values, subject.grid), None
    frames = np.zeros(subject.grid[0], np.float32)
    frames[subject.seen_frames if len(values) != len(frames) else slice(None)] = values[:, 0, 0]
    return np.broadcast_to(frames[:, None, None], subject.grid).copy(), frames


def _read(subject: Subject, calls: list[Call]) -> list[tuple[Call, np.ndarray]]:
    scores: dict[int, list[Any]] = {id(call.layer): [] for call in calls}
    with contextlib.ExitStack() as stack:
        for layer in {id(call.layer): call.layer for call in calls}.values():
            stack.enter_context(_scores_of(layer, scores[id(layer)]))
        subject.run(subject.clip)
    taken = {key: iter(values) for key, values in scores.items()}
    return [(call, _flat(next(taken[id(call.layer)]))) for call in calls]


@contextlib.contextmanager
def _scores_of(layer: Any, found: list[Any]) -> Iterator[None]:
    """Make a layer return its scores, keep them in `found`, and give its caller what he asked for."""

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def telling(*arguments: Any, **named: Any) -> Any:
            asked = named.pop("return_attention_scores", False)
            output, scores = call(*arguments, return_attention_scores=True, **named)
            found.append(ops.convert_to_numpy(ops.cast(scores, "float32")))
            return (output, scores) if asked else output

        return telling

    # Keras refuses to return the scores of flash attention.
    unfused = [taps.Change(layer, "_flash_attention", False)] if getattr(layer, "_flash_attention", False) else []
    with taps.replaced([taps.around(layer, wrap), *unfused]):
        yield


def _flat(scores: np.ndarray) -> np.ndarray:
    """(..., N, M) -> (heads, N, M)."""
    return scores.reshape(-1, *scores.shape[-2:])


def _paths(calls: list[Call]) -> str:
    return ", ".join(dict.fromkeys(call.path for call in calls))
