"""What an explanation is: maps over the clip, or the reason why a method does not apply to a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What one method says about one clip.

    Attributes:
        method: its name in `keras_actrec.explain.METHODS`.
        target: the class whose score is explained, counted from 0.
        heat: float32 (T, H, W), not negative, in the units of the method: compare within a clip, not between methods.
        layer: path of the layer that was looked at; empty where the whole network is.
        signed: float32 (T, H, W, C) with the signs kept, in the order of the network's input channels, or None.
        frame_weights: float32 (T,), where a method weighs whole frames (heat then repeats them), or None.
        facts: numbers beside the map, ready for JSON.
    """

    method: str
    target: int
    heat: np.ndarray
    layer: str = ""
    signed: np.ndarray | None = None
    frame_weights: np.ndarray | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=lambda: MappingProxyType({}))


@dataclasses.dataclass(frozen=True)
class NotApplicable:
    """A method that does not apply to a network.

    Attributes:
        method: its name.
        reason: why not, as one sentence.
    """

    method: str
    reason: str


class InapplicableError(Exception):
    """Raised within a method that does not apply; `explain` turns it into a `NotApplicable`."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen beside method and class.

    Attributes:
        layer: name, or end of the path, of the layer to look at; None: each method's own choice. Methods that look at
            the whole network do not use it.
        baseline: `integrated_gradients`: the clip that shows nothing, in the network's normalised units; a number, or
            an array that broadcasts to (T, H, W, C). Zero is mid-grey or the mean colour for all normalisations but
            "zero_one" and "none", where it is black.
        steps: `integrated_gradients`: points on the way from the baseline to the clip.
        query: `non_local`, `relative_position`: frame, row and column (pixels of the network's input) whose glance is
            shown; None: where Grad-CAM is warmest, or the middle.
    """

    layer: str | None = None
    baseline: float | np.ndarray = 0.0
    steps: int = 32
    query: tuple[int, int, int] | None = None
