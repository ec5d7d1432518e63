"""Floating point operations of one forward pass for one clip, counted layer by layer on any backend.

The model is run symbolically with a batch of one clip, and each layer that is called notes the shapes it met: so layers
that are shared, nested, or called once per frame are counted as often as they run. A multiplication and an addition are
two operations (1 GFLOP here is what many papers call 0.5 "GFLOPs", meaning multiply-adds). `flop_rules` says what each
layer costs. A layer with weights that no rule knows is named in `Flops.unknown`, never taken for free in silence; such
a layer can say its own cost with a method `count_flops(input_shapes, output_shapes) -> int`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keras_actrec.errors import UserError
from keras_actrec.evaluation.flop_rules import FUNCTIONS, OPAQUE, RULES, Call, Shape

_PATCHING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Flops:
    """The count.

    Attributes:
        total: operations of one forward pass of one clip.
        by_kind: the same, by class of layer, largest first.
        unknown: layers with weights that no rule knows, as "name (Class)"; what they cost is missing in `total`.
    """

    total: int
    by_kind: Mapping[str, int]
    unknown: tuple[str, ...]


def count(model: Any, shapes: Mapping[str, Shape] | None = None) -> Flops:
    """Count the operations of a built Keras model.

    Args:
        model: functional model.
        shapes: input name -> shape without the batch axis, for inputs whose shape the model leaves open.

    Raises:
        UserError: an input's shape is open and was not given.
    """
    tally = _Tally()
    tally.add(trace(model, shapes))
    return Flops(sum(tally.by_kind.values()), dict(tally.by_kind.most_common()), tuple(sorted(set(tally.unknown))))


def trace(model: Any, shapes: Mapping[str, Shape] | None = None) -> Call:
    """Run a model symbolically on one clip and return the tree of calls."""
    import keras

    class Probe(keras.layers.Layer):
        """Runs the model where layers meet tensors of the backend, though without numbers."""

        def call(self, inputs: Any) -> Any:
            return model(inputs, training=False)

    root = Call("Model", None, [])
    inputs = [_one_clip(tensor, shapes or {}) for tensor in model.inputs]
    named = {tensor.name: given for tensor, given in zip(model.inputs, inputs, strict=True)}
    with _recording(root):
        Probe(name="flop_probe")(inputs[0] if len(inputs) == 1 else _like(model, named))
    # A backend may trace more than once before it has the result; the last call is the one that gave it.
    return root.children[-1].children[-1]


def _like(model: Any, named: Mapping[str, Any]) -> Any:
    """Arrange the inputs in the structure the model was built with."""
    import keras

    return keras.tree.map_structure(lambda tensor: named[tensor.name], model.input)


def _one_clip(tensor: Any, shapes: Mapping[str, Shape]) -> Any:
    import keras

    shape = tuple(shapes.get(tensor.name, tensor.shape[1:]))
    if None in shape:
        raise UserError(
            f"the input '{tensor.name}' has the open shape {shape}; say its size, so that it can be counted."
        )
    return keras.KerasTensor((1, *shape), dtype=tensor.dtype, name=tensor.name)


@dataclasses.dataclass
class _Tally:
    by_kind: Counter[str] = dataclasses.field(default_factory=Counter)
    unknown: list[str] = dataclasses.field(default_factory=list)

    def add(self, call: Call) -> None:
        """Count a call and those within it."""
        kind = _rule_name(call)
        if _is_keras_time_distributed(call):
            self.add(_folded(call))
        elif hasattr(call.operation, "count_flops"):
            self.by_kind[call.kind] += call.operation.count_flops(call.inputs, call.outputs)
        elif kind is not None:
            self._apply(kind, call)
        elif _has_own_weights(call):
            self.unknown.append(f"{call.operation.name} ({call.kind})")
        if kind not in OPAQUE and not hasattr(call.operation, "count_flops") and not _is_keras_time_distributed(call):
            for child in call.children:
                self.add(child)

    def _apply(self, kind: str, call: Call) -> None:
        try:
            cost = RULES[kind](call)
        except LookupError as error:
            self.unknown.append(str(error.args[0]))
        else:
            self.by_kind[call.kind] += cost


def _rule_name(call: Call) -> str | None:
    """Return the first class in the layer's ancestry that has a rule and is Keras' own or ours."""
    if call.operation is None:
        return call.kind if call.kind in RULES else None
    for base in type(call.operation).__mro__:
        if base.__name__ in RULES and base.__module__.split(".")[0] in {"keras", "keras_actrec"}:
            return base.__name__
    return None


def _has_own_weights(call: Call) -> bool:
    """Whether a layer has weights that none of the layers within it accounts for, and multiplies by none of them."""
    if any(child.operation is None and child.kind in RULES for child in call.children):
        return False
    theirs = {id(weight) for child in call.children for weight in getattr(child.operation, "weights", ())}
    return any(id(weight) not in theirs for weight in getattr(call.operation, "weights", ()))


def _is_keras_time_distributed(call: Call) -> bool:
    kind = type(call.operation)
    return kind.__name__ == "TimeDistributed" and kind.__module__.startswith("keras.")


def _folded(call: Call) -> Call:
    """Return the call of the wrapped layer on (B*T, ...): Keras runs its `call` directly, once per frame."""
    inner = call.operation.layer
    inputs, outputs = (
        [(shape[0] * shape[1], *shape[2:]) for shape in shapes] for shapes in (call.inputs, call.outputs)
    )
    return Call(type(inner).__name__, inner, inputs, outputs, call.children)


@contextlib.contextmanager
def _recording(root: Call) -> Iterator[None]:
    """Let every operation that this thread calls note itself below `root`."""
    import keras

    stack, owner = [root], threading.get_ident()

    def noting(original: Callable, describe: Callable[..., Call]) -> Callable:
        @functools.wraps(original)
        def noted(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != owner:
                return original(*args, **kwargs)
            call = describe(args, kwargs)
            stack[-1].children.append(call)
            stack.append(call)
            try:
                outputs = original(*args, **kwargs)
            finally:
                stack.pop()
            call.outputs = _shapes(outputs)
            return outputs

        return noted

    def operation(args: tuple, kwargs: dict) -> Call:
        return Call(type(args[0]).__name__, args[0], _shapes((args[1:], kwargs)))

    def function(name: str) -> Callable[[tuple, dict], Call]:
        return lambda args, kwargs: Call(name, None, _shapes((args, kwargs)), arguments=args)

    with _PATCHING, contextlib.ExitStack() as patches:
        patches.enter_context(_replaced(keras.Operation, "__call__", noting(keras.Operation.__call__, operation)))
        for module in (keras.ops, keras.ops.numpy, keras.ops.nn):
            for name in FUNCTIONS:
                if hasattr(module, name):
                    patches.enter_context(_replaced(module, name, noting(getattr(module, name), function(name))))
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _shapes(values: Any) -> list[Shape]:
    """Return the shapes of all tensors in a structure, in order."""
    import keras

    tensors = [leaf for leaf in keras.tree.flatten(values) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]
    return [tuple(tensor.shape) for tensor in tensors if tensor.shape is not None]
