"""Functions that misbehave as decoders can; workers run them by name (see test_pool.py)."""

import ctypes
import os
import signal
import time
from typing import Any

import numpy as np

from keras_actrec.data.guarded import Limits
from keras_actrec.errors import UnreadableVideoError, UserError


def echo(path: str, limits: Limits, **arguments: Any) -> dict[str, Any]:
    return {"path": path, "seconds": limits.seconds, "pid": os.getpid(), **arguments}


def double(path: str, limits: Limits, arrays: list[np.ndarray]) -> tuple[str, list[np.ndarray]]:
    return path, [2 * array for array in arrays]


def hang(path: str, limits: Limits) -> None:
    time.sleep(600)


def hang_without_python(path: str, limits: Limits) -> None:
    """As a decoder does that never returns: the interpreter cannot react to a signal."""
    ctypes.PyDLL(None).sleep(600)


def allocate(path: str, limits: Limits, megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


def grow(path: str, limits: Limits) -> None:
    """Takes more memory in small pieces, and holds it in a way that its own limit does not count."""
    import mmap

    pieces = []
    while True:
        piece = mmap.mmap(-1, 16 << 20)  # shared memory
        piece.write(b"x" * (16 << 20))
        pieces.append(piece)


def end(path: str, limits: Limits, code: int) -> None:
    os._exit(code)


def segfault(path: str, limits: Limits) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def unreadable(path: str, limits: Limits) -> None:
    raise UnreadableVideoError(path, "truncated: 3 of 5 frames can be decoded")


def mistake(path: str, limits: Limits) -> None:
    raise UserError("expected a, got b")


def defect(path: str, limits: Limits) -> None:
    raise ValueError("unforeseen\nin two lines")


def noise(path: str, limits: Limits) -> str:
    os.write(1, b"libfoo: hello\n" * 1000)
    print("hello")
    return "quiet"


def closes_output(path: str, limits: Limits) -> None:
    os.closerange(3, 64)
    time.sleep(600)
