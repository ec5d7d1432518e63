"""How many clips fit into memory in one forward pass."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_actrec.evaluation import flops
from keras_actrec.evaluation.flop_rules import Call

_SHARE = 0.25
"""Of the free memory that a pass may take: the sum over all layers is more than is held at a time, but convolutions
hold copies of their own."""
_FLOAT_BYTES = 4
_MEMINFO = Path("/proc/meminfo")
_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
"""Limit and use of the control group that this process may be in, in both versions of the interface."""


def clips_that_fit(model: Any, most: int, free_bytes: int | None = None) -> int:
    """Return how many clips one pass may have: `most`, or fewer where memory is small; at least 1.

    Args:
        model: Keras model.
        most: clips.
        free_bytes: of memory; default: what this machine says.
    """
    free = free_memory_bytes() if free_bytes is None else free_bytes
    if free is None:
        return most
    return max(1, min(most, math.floor(free * _SHARE / max(1, bytes_per_clip(model)))))


def bytes_per_clip(model: Any) -> int:
    """Return what the outputs of all layers take for one clip; more than a pass holds at any moment."""
    return _FLOAT_BYTES * sum(math.prod(shape) for call in _leaves(flops.trace(model)) for shape in call.outputs)


def free_memory_bytes() -> int | None:
    """Return what this process may still take; None where the system does not tell."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    for limit, use in _GROUPS:
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            found.append(max(0, int(limit.read_text()) - int(use.read_text())))
    return min(found, default=None)


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that a device has run out of memory, on any of Keras' backends."""
    if isinstance(error, MemoryError) or type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError"):
        return True
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error)


def _leaves(call: Call) -> Iterator[Call]:
    if not call.children:
        yield call
    for child in call.children:
        yield from _leaves(child)
