"""At which precision positions are exchanged: what is rounded, how, and how it is stored. NumPy only.

What a particle publishes for others may have half the bytes; the rounded values are float32 numbers that half the bits
can hold, so that everything else, checksums too, goes on with float32.

- `float16` rounds to the nearest: 11 significant bits, numbers to 65,504; below 6.1e-5 fewer bits, below 3e-8 zero.
- `bfloat16` has float32's range and 8 significant bits. It is rounded at random, up or down, with the probability that
  makes the mean right: a training round moves most weights by less than the 1/256 between two such numbers, which
  rounding to the nearest would lose for good. `before` and `after` of a round are rounded by the same random numbers,
  so that a weight that did not move is seen not to move, and one that moved little has little noise.
"""

from __future__ import annotations

import numpy as np

from keras_actrec.errors import UserError

FLOAT32, FLOAT16, BFLOAT16 = "float32", "float16", "bfloat16"
NAMES = (FLOAT32, FLOAT16, BFLOAT16)
TAGS = {FLOAT32: "F32", FLOAT16: "F16", BFLOAT16: "BF16"}
"""What safetensors calls them."""
STORED = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""How their bytes are seen by NumPy, which has no bfloat16: its numbers are the upper halves of float32 ones."""


def rounded(values: np.ndarray, precision: str, random: np.random.Generator | None = None) -> np.ndarray:
    """Return values as float32 numbers that the precision can hold, a new array unless nothing is rounded.

    Args:
        values: float32.
        precision: one of `NAMES`.
        random: how bfloat16 is rounded; None: to the nearest.

    Raises:
        UserError: a value is too large for the precision.
    """
    if precision == FLOAT32:
        return values
    with np.errstate(over="ignore"):  # told of below
        found = values.astype(np.float16).astype(np.float32) if precision == FLOAT16 else _bfloat16(values, random)
    if not np.isfinite(found).all():
        raise UserError(
            f"expected weights that {precision} can hold, the largest is {np.abs(values).max():g}; "
            "set swarm.exchange=float32, or bfloat16 for large ones"
        )
    return found


def encode(values: np.ndarray, tag: str) -> np.ndarray:
    """Return float32 values as they are stored under a tag of `STORED`; they must have been rounded to it."""
    if tag == "BF16":
        return (values.view(np.uint32) >> np.uint32(16)).astype(STORED[tag])
    return np.ascontiguousarray(values, STORED[tag])


def decode(stored: np.ndarray, tag: str) -> np.ndarray:
    """Return stored values as float32."""
    if tag == "BF16":
        return np.left_shift(stored, 16, dtype=np.uint32).view(np.float32)
    return stored.astype(np.float32, copy=False)


def _bfloat16(values: np.ndarray, random: np.random.Generator | None) -> np.ndarray:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    if random is None:  # the nearest; of two equally near the one with an even last bit
        added = ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)
    else:
        added = random.integers(1 << 16, size=bits.shape, dtype=np.uint16).astype(np.uint32)
    return ((bits + added) & np.uint32(0xFFFF0000)).view(np.float32)
