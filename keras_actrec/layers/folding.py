"""Fold the time axis into the batch and back, with static sizes kept wherever they are known."""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


def fold_time(x: Tensor) -> Tensor:
    """Reshape (B, T, ...) to (B*T, ...)."""
    batch, frames, *rest = ops.shape(x)
    known = isinstance(batch, int) and isinstance(frames, int)
    return ops.reshape(x, (batch * frames if known else -1, *rest))


def unfold_time(x: Tensor, like: Tensor) -> Tensor:
    """Reshape (B*T, ...) to (B, T, ...), with B and T taken from the first two axes of `like`."""
    batch, frames = ops.shape(like)[:2]
    rest = ops.shape(x)[1:]
    if not isinstance(batch, int) and all(isinstance(size, int) for size in (frames, *rest)):
        batch = -1
    return ops.reshape(x, (batch, frames, *rest))
