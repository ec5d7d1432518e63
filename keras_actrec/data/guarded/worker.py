"""The worker process: takes a request, runs the named function on a file, answers, until its input ends.

A function takes the path, the `Limits` and keyword arguments, and returns a JSON value, or that and a list of arrays.
What it wants to tell of the file it raises as `UnreadableVideoError`. Each request may allocate `memory_bytes` more
than the process holds at its start. Should the parent die, a timer ends the process all the same.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_actrec.data.guarded import limits as words
from keras_actrec.data.guarded.limits import Limits
from keras_actrec.data.guarded.messages import pack, unpack
from keras_actrec.errors import UnreadableVideoError, UserError

_ORPHAN_SEC = 5.0
"""So long after the parent should have killed this process, the process ends itself."""
_MOST_REQUEST_BYTES = 1 << 30
_MOST_WRITTEN_BYTES = 1 << 20
"""A worker writes no files; noise of libraries on standard error may not fill a disk."""
_LONGEST_SEC = 1e8
"""Three years; a timer takes no number that is much larger."""
_LINUX = sys.platform == "linux"


def main() -> None:
    """Serve requests from standard input until it ends; answers go to what standard output was.

    The one argument is a file descriptor, which gets a byte for each request that was taken.
    """
    requests, answers, taken = os.dup(0), os.dup(1), int(sys.argv[1])
    os.set_inheritable(taken, False)
    os.set_blocking(taken, False)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # a library that prints would spoil the answers
    _restrain()
    _write(answers, pack({"ready": True}))
    while True:
        try:
            document, arrays = unpack(_reader(requests), _MOST_REQUEST_BYTES)
        except EOFError:
            return
        with contextlib.suppress(BlockingIOError):  # nobody reads them before this process has ended
            os.write(taken, b".")
        _write(answers, serve(document, arrays))


def serve(document: dict[str, Any], arrays: list[Any]) -> list[memoryview]:
    """Run one request and return the parts of its answer, which says what went wrong if anything did."""
    limits = Limits(**document["limits"])
    try:
        signal.setitimer(signal.ITIMER_REAL, min(limits.seconds + _ORPHAN_SEC, _LONGEST_SEC))
        _allow(limits.memory_bytes)
        function = _function(document["function"])
        extra = {"arrays": arrays} if arrays else {}
        value = function(document["path"], limits, **document["arguments"], **extra)
        value, out = value if isinstance(value, tuple) else (value, [])
        return pack({"value": value}, out)
    except Exception as error:
        return pack(_told(error, limits))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _told(error: Exception, limits: Limits) -> dict[str, Any]:
    """Return an error as a document: its kind and its words."""
    if _for_lack_of_memory(error):
        return {"unreadable": words.too_much_memory(limits)}
    if isinstance(error, UnreadableVideoError):
        return {"unreadable": error.reason, "path": error.path}
    if isinstance(error, UserError):
        return {"mistake": str(error)}
    if isinstance(error, IndexError):
        return {"index": str(error)}
    if isinstance(error, OSError) and error.strerror:
        return {"unreadable": f"cannot be read: {error.strerror}"}
    line = (str(error).strip() or "no message").splitlines()[0][:200]
    return {"unreadable": f"crashed the decoder ({type(error).__name__}: {line})"}


def _for_lack_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one on its way, came of an allocation that failed: decoders pass them on in many forms."""
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if "Insufficient memory" in str(error) or "Failed to allocate" in str(error):  # OpenCV's
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _restrain() -> None:
    """Take from this process what decoding does not need, and make it the first to go when memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_WRITTEN_BYTES, _MOST_WRITTEN_BYTES))
    if _LINUX:
        Path("/proc/self/oom_score_adj").write_text("1000")


def _allow(memory_bytes: int) -> None:
    """Limit private memory to what is held now and so many bytes more."""
    if _LINUX:
        held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        most = min(held + memory_bytes, sys.maxsize)
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


def _reader(descriptor: int) -> Callable[[memoryview], None]:
    def read(buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            count = os.readv(descriptor, [buffer[done:]])
            if not count:
                raise EOFError
            done += count

    return read


def _write(descriptor: int, parts: list[memoryview]) -> None:
    for part in parts:
        done = 0
        while done < len(part):
            done += os.write(descriptor, part[done:])


if __name__ == "__main__":
    main()
