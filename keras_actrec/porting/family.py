"""What a family of published weights is: data, in one file each under `families/`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from keras_actrec.porting.reading import Settings, Tensors
from keras_actrec.porting.rules import Rule

COUNTERS = r"(?:.*\.)?num_batches_tracked"


def _no_demands(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    return {}


def _no_suggestions(tensors: Tensors, settings: Settings) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class Family:
    """One way of naming the tensors of a network.

    Attributes:
        name: for `--family` and the report.
        publisher: which project names them so.
        models: names in the registry that these weights fit.
        rules: from tensor names to weights.
        normalization: how the input must be normalised for them; a user's option wins.
        demands: (tensors, settings of the folder) -> options of the model that follow from them; a user's option may
            not contradict these.
        suggests: (tensors, settings of the folder) -> options as the network was trained with; a user's option wins.
        told: options that tensors do not show: where `demands` has none of them, from the settings, the user must.
        published: options as the published networks have them; a user's option wins.
        optional: layers that may stay without a tensor, because some published files lack them.
        ignored: names of tensors that carry nothing the network needs, as one regular expression.
    """

    name: str
    publisher: str
    models: tuple[str, ...]
    rules: tuple[Rule, ...]
    normalization: str
    demands: Callable[[Tensors, Settings], dict[str, Any]] = _no_demands
    suggests: Callable[[Tensors, Settings], dict[str, Any]] = _no_suggestions
    told: tuple[str, ...] = ()
    published: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    optional: tuple[str, ...] = ()
    ignored: str = COUNTERS

    def ignores(self, name: str) -> bool:
        """Whether a tensor is left out by its name."""
        return re.fullmatch(self.ignored, name) is not None


def depths(tensors: Tensors, pattern: str, stages: int = 4) -> tuple[int, ...]:
    """Return how many blocks each stage has, read from names; nothing where a stage is missing.

    Args:
        tensors: of the file.
        pattern: regular expression of one tensor that each block has, with the groups `stage` and `block`.
        stages: how many stages the network has.
    """
    found = [match for name in tensors if (match := re.fullmatch(pattern, name))]
    blocks: dict[int, set[str]] = {}
    for match in found:
        blocks.setdefault(int(match["stage"]), set()).add(match["block"])
    return tuple(len(blocks[stage]) for stage in sorted(blocks)) if len(blocks) == stages else ()


def width_of(tensors: Tensors, name: str) -> int | None:
    """Return the output channels of a convolution or linear layer, None where the tensor is missing."""
    return tensors[name].shape[0] if name in tensors and tensors[name].ndim else None


def known(**options: Any) -> dict[str, Any]:
    """Return the options that could be read from the tensors: those that are neither None nor empty."""
    return {name: value for name, value in options.items() if value is not None and value != ()}
