"""A network and a clip: which of its layers run, in which order, on what; found by running it once."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_actrec.errors import UserError, did_you_mean
from keras_actrec.explain import gradients, taps

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Call:
    """One run of one layer.

    Attributes:
        layer: the layer.
        path: its name, after those of the layers that hold it: "frame_features/tiny/block1_conv".
        input_shape: shape of its first argument; empty where that is no tensor.
        shape: of its output; empty where that is no tensor.
    """

    layer: Any
    path: str
    input_shape: tuple[int, ...]
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network and the clip on which it is explained.

    Attributes:
        model: gives logits (B, K) for clips (B, T, H, W, C).
        clip: float32 (1, T, H, W, C), normalised.
    """

    model: keras.Model
    clip: np.ndarray

    @property
    def grid(self) -> tuple[int, int, int]:
        """T, H and W of the clip."""
        return self.clip.shape[1:4]

    def run(self, clips: Tensor) -> Tensor:
        """Return the logits (B, K) of clips (B, T, H, W, C), in inference mode, eagerly."""
        return self.model({self.model.inputs[0].name: clips}, training=False)

    def score(self, clips: Tensor, target: int) -> Tensor:
        """Return the sum of the target's logits over the clips (B, T, H, W, C)."""
        return keras.ops.sum(self.run(clips)[:, target])

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """Logits of the clip: float32 (K,)."""
        return keras.ops.convert_to_numpy(keras.ops.cast(self.run(self.clip)[0], "float32"))

    @functools.cached_property
    def paths(self) -> dict[int, str]:
        """Path of every layer at any depth, by the layer's id."""
        return {id(layer): path for path, layer in reversed(list(walk(self.model)))}

    @functools.cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every run of a layer at any depth, in the order in which they ended."""
        found: list[Call] = []

        def see(layer: Any, first: Any, output: Any) -> None:
            found.append(Call(layer, self.paths[id(layer)], _shape(first), _shape(output)))

        layers = {id(layer): layer for _, layer in walk(self.model)}
        with taps.watched(layers.values(), see):
            self.run(self.clip)
        return tuple(found)

    @functools.cached_property
    def within_attention(self) -> frozenset[int]:
        """Ids of the layers inside those that attend: their outputs have the rank of maps, and are none."""
        holders = [layer for _, layer in walk(self.model) if attends(layer)]
        return frozenset(id(part) for holder in holders for _, part in walk(holder))

    @functools.cached_property
    def seen_frames(self) -> np.ndarray:
        """Numbers of the frames that reach the first convolution, int64, rising; some networks pick theirs."""
        call = next((call for call in self.calls if is_convolution(call.layer)), None)
        if call is None:
            return np.arange(self.grid[0])

        def function(clip: Tensor) -> tuple[Tensor, Tensor]:
            with taps.added(call.layer, [keras.ops.zeros(())] * self.times_called(call.layer)) as outputs:
                self.run(clip)
            return sum(keras.ops.sum(output) for output in outputs), ()

        _, _, (gradient,) = gradients.value_and_gradients(function, [self.clip])
        return np.flatnonzero(np.abs(gradient[0]).max(axis=(1, 2, 3)))

    def times_called(self, layer: Any) -> int:
        """Return how often a layer runs on one clip."""
        return sum(call.layer is layer for call in self.calls)

    def find(self, name: str) -> Call:
        """Return the last run of the layer with this name, or with a path that ends so.

        Raises:
            UserError: there is none, or several.
        """
        calls = {call.path: call for call in self.calls if f"/{call.path}".endswith(f"/{name}")}
        if len(calls) == 1:
            return next(iter(calls.values()))
        if calls:
            raise UserError(f"the layer name '{name}' is not clear; expected one of the paths {', '.join(calls)}.")
        names = Counter(call.path.rpartition("/")[2] for call in self.calls)
        paths = {call.path for call in self.calls if names[call.path.rpartition("/")[2]] > 1}
        near = did_you_mean(name, {*(name for name, count in names.items() if count == 1), *paths})
        raise UserError(f"'{self.model.name}' runs no layer '{name}'.{near}")


def open_subject(model: keras.Model, clip: np.ndarray) -> Subject:
    """Return the subject for a clip (T, H, W, C) or (1, T, H, W, C).

    Raises:
        UserError: the network takes several inputs, or clips of another shape.
    """
    clip = np.asarray(clip, np.float32)
    clip = clip[None] if clip.ndim == 4 else clip
    names = [tensor.name for tensor in model.inputs]
    if len(names) != 1:
        raise UserError(f"'{model.name}' takes the inputs {', '.join(names)}; only networks of one clip are explained.")
    wanted = model.inputs[0].shape[1:]
    fits = clip.ndim == len(wanted) + 1 and len(clip) == 1
    if not fits or any(size not in (None, given) for size, given in zip(wanted, clip.shape[1:], strict=True)):
        raise UserError(f"'{model.name}' takes a clip of shape {tuple(wanted)}, got {clip.shape[1:]}.")
    return Subject(model, clip)


def walk(layer: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and layer of everything inside a layer, at any depth; operations of functional models, too."""
    for part in _parts(layer):
        path = f"{prefix}{part.name}"
        yield path, part
        yield from walk(part, f"{path}/")


def _parts(layer: Any) -> list[Any]:
    """Return the layers that a layer owns and the operations of its graph, once each."""
    parts = [*getattr(layer, "_layers", ()), *getattr(layer, "operations", ())]
    return list({id(part): part for part in parts}.values())


def attends(layer: Any) -> bool:
    """Whether a layer can return its attention scores: its `call` takes `return_attention_scores`."""
    return "return_attention_scores" in inspect.signature(type(layer).call).parameters


def is_convolution(layer: Any) -> bool:
    """Whether a layer convolves: it has a kernel size."""
    return hasattr(layer, "kernel_size")


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if hasattr(value, "shape") else ()
