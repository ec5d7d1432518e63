"""Messages between a pool and its workers: JSON, and the bytes of arrays behind it. Nothing in them can run.

A message is two lengths (unsigned 64 bit, little-endian: JSON, arrays), the JSON document, and the arrays' bytes in
order. The document's "arrays" lists their types and shapes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

HEAD = struct.Struct("<QQ")
MOST_JSON_BYTES = 64 << 20
TYPES = ("uint8", "int64", "uint64", "float32", "float64")
"""What an array may hold; anything else is no message of ours."""

Read = Callable[[memoryview], None]
"""Fills a buffer, or raises."""


class BrokenMessageError(Exception):
    """What came is no message: the other side is damaged."""


def pack(document: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> list[memoryview]:
    """Return the parts of a message, to be written one after the other."""
    whole = [np.ascontiguousarray(array) for array in arrays]
    kinds = [{"dtype": array.dtype.name, "shape": list(array.shape)} for array in whole]
    text = json.dumps({**document, "arrays": kinds}, separators=(",", ":")).encode()
    head = HEAD.pack(len(text), sum(array.nbytes for array in whole))
    return [memoryview(head + text), *(memoryview(array.reshape(-1).view(np.uint8)) for array in whole if array.size)]


def unpack(read: Read, most_bytes: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read one message.

    Args:
        read: fills a buffer with the next bytes.
        most_bytes: that arrays may have.

    Raises:
        BrokenMessageError: it is none, or is larger than allowed.
    """
    head = bytearray(HEAD.size)
    read(memoryview(head))
    text_bytes, array_bytes = HEAD.unpack(head)
    if text_bytes > MOST_JSON_BYTES or array_bytes > most_bytes:
        raise BrokenMessageError(f"a message of {text_bytes} and {array_bytes} bytes")
    text = bytearray(text_bytes)
    read(memoryview(text))
    try:
        document = json.loads(text)
        arrays = [_empty(kind) for kind in document.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BrokenMessageError(str(error)) from None
    if sum(array.nbytes for array in arrays) != array_bytes:
        raise BrokenMessageError("the arrays have another size than was announced")
    for array in arrays:
        if array.size:
            read(memoryview(array.reshape(-1).view(np.uint8)))
    return document, arrays


def _empty(kind: dict[str, Any]) -> np.ndarray:
    shape = [int(length) for length in kind["shape"]]
    if kind["dtype"] not in TYPES or min(shape, default=0) < 0 or math.prod(shape) > 1 << 40:
        raise ValueError(f"an array of {kind}")
    return np.empty(shape, kind["dtype"])
