"""Rules from the names of PyTorch's tensors to the weights of our layers."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence

from keras_actrec.porting import layouts
from keras_actrec.porting.layouts import Layout

BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


@dataclasses.dataclass(frozen=True)
class Rule:
    r"""One kind of tensor and its place.

    Attributes:
        pattern: regular expression of the whole name, such as r"layer(?P<stage>\d)\.0\.weight".
        place: path of the weight, in which {stage} is the group of that name, and {stage:+1} the number after it.
        layout: how the axes change.
    """

    pattern: str
    place: str
    layout: Layout

    def apply(self, name: str) -> str | None:
        """Return the path of the weight for a tensor's name, or None when the rule is about others."""
        found = _compiled(self.pattern).fullmatch(name)
        return self.place.format(**{key: _Group(text) for key, text in found.groupdict().items()}) if found else None


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a tensor goes: the path of a weight, and how the axes change on the way."""

    path: str
    layout: Layout


def targets(rules: Sequence[Rule], name: str) -> list[Target]:
    """Return all places of a tensor; several where one tensor holds what are several weights here."""
    found = [(rule, rule.apply(name)) for rule in rules]
    return [Target(path, rule.layout) for rule, path in found if path is not None]


def convolution(module: str, layer: str) -> tuple[Rule, ...]:
    """Return the rules of a convolution, with or without a bias."""
    return _weight_and_bias(module, layer, layouts.convolution)


def dense(module: str, layer: str, layout: Layout = layouts.dense) -> tuple[Rule, ...]:
    """Return the rules of a linear layer."""
    return _weight_and_bias(module, layer, layout)


def batch_norm(module: str, layer: str) -> tuple[Rule, ...]:
    """Return the rules of a batch normalisation with its running statistics."""
    return tuple(
        Rule(rf"{module}\.{theirs}", f"{layer}/{ours}", layouts.unchanged) for theirs, ours in BATCH_NORM.items()
    )


def convolution_and_norm(conv: str, norm: str, layer: str) -> tuple[Rule, ...]:
    """Return the rules of a convolution and the batch normalisation behind it, `layer`_conv and `layer`_bn."""
    return (*convolution(conv, f"{layer}_conv"), *batch_norm(norm, f"{layer}_bn"))


def _weight_and_bias(module: str, layer: str, layout: Layout) -> tuple[Rule, ...]:
    return (
        Rule(rf"{module}\.weight", f"{layer}/kernel", layout),
        Rule(rf"{module}\.bias", f"{layer}/bias", layouts.unchanged),
    )


class _Group(str):
    """What a group of the pattern matched; a format such as "+1" is added to the number that it is."""

    def __format__(self, offset: str) -> str:
        return str(int(self) + int(offset)) if offset else str(self)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
