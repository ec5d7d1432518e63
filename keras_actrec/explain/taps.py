"""Reach into a network at any depth: replace a method of single layer instances for a while, and put it back.

Keras runs a layer as `layer.__call__` -> `self.call`, in functional models, in nested ones and in layers that own
layers. An attribute in the instance's own dictionary therefore stands before the method of its class. This works
wherever the network runs eagerly, on all three backends, and leaves the network's graph and weights alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Tensor = Any
_ABSENT = object()


@dataclasses.dataclass(frozen=True)
class Change:
    """One attribute of one layer.

    Attributes:
        owner: the layer.
        name: of its attribute.
        value: that it has for a while.
    """

    owner: Any
    name: str
    value: Any


@contextlib.contextmanager
def replaced(changes: Iterable[Change]) -> Iterator[None]:
    """Set attributes of layers for the time of the block; whatever happens, they are put back."""
    kept: list[Change] = []
    try:
        for change in changes:
            # The dictionary itself: Keras' __setattr__ would track the value as state of the layer.
            attributes = vars(change.owner)
            kept.append(Change(change.owner, change.name, attributes.get(change.name, _ABSENT)))
            attributes[change.name] = change.value
        yield
    finally:
        for change in reversed(kept):
            _restore(change)


def _restore(change: Change) -> None:
    if change.value is _ABSENT:
        vars(change.owner).pop(change.name, None)
    else:
        vars(change.owner)[change.name] = change.value


def around(layer: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Change:
    """Return the change that puts `wrap(call)` in place of a layer's `call`."""
    return Change(layer, "call", wrap(layer.call))


@contextlib.contextmanager
def added(layer: Any, taps: list[Tensor]) -> Iterator[list[Tensor]]:
    """Add one tensor of `taps` to the output of each call of a layer, in turn; yield the list of the sums.

    With taps of zeros nothing changes, and the gradient with respect to a tap is that with respect to the output.

    Args:
        layer: called as often as there are taps.
        taps: each of the shape of the output of one call.
    """
    outputs: list[Tensor] = []

    def wrap(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def tapped(*arguments: Any, **named: Any) -> Tensor:
            output = call(*arguments, **named)
            output = output + _cast(taps[len(outputs)], output)
            outputs.append(output)
            return output

        return tapped

    with replaced([around(layer, wrap)]):
        yield outputs


@contextlib.contextmanager
def watched(layers: Iterable[Any], see: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    """Call `see(layer, first argument, output)` whenever one of the layers has run."""

    def change(layer: Any) -> Change:
        def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
            def seen(*arguments: Any, **named: Any) -> Any:
                output = call(*arguments, **named)
                see(layer, arguments[0] if arguments else next(iter(named.values()), None), output)
                return output

            return seen

        return around(layer, wrap)

    with replaced([change(layer) for layer in layers]):
        yield


def _cast(tensor: Tensor, like: Tensor) -> Tensor:
    from keras import ops

    return ops.cast(tensor, like.dtype)
