"""One worker process as its parent sees it: started, asked, watched, killed."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

import keras_actrec
from keras_actrec.data.guarded import limits as words
from keras_actrec.data.guarded.limits import Limits
from keras_actrec.data.guarded.messages import BrokenMessageError, pack, unpack
from keras_actrec.errors import UnreadableVideoError, UserError

START_SEC = 60.0
"""A worker imports its decoders in a third of a second; a machine may be very busy."""
_STOP_SEC = 10.0
_WATCH_SEC = 0.05
"""Between two looks at a busy worker's memory; most requests are answered before the first."""
_SLACK_BYTES = 64 << 20
"""What a worker may hold beyond its limit before it is killed for it; its own limit should stop it first."""
_PIPE_BYTES = 1 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _TooSlowError(Exception):
    """The time is over."""


class _TooMuchMemoryError(Exception):
    """The process holds more memory than it may."""


class Process:
    """A worker process; used by one thread at a time. It is started when it is first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._noise: IO[bytes] | None = None
        self._taken: int | None = None
        self._idle_bytes = 0
        self._ended = False
        self.served = 0

    def start(self) -> None:
        """Start the process and wait until it takes requests.

        Raises:
            RuntimeError: it does not come up, with its own last words; or it has been ended for good.
        """
        self.close()
        self._check_not_ended()
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._taken, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "keras_actrec.data.guarded.worker", str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._noise,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the parent, which ends its workers
                pipesize=_PIPE_BYTES,
                pass_fds=(theirs,),
            )
        finally:
            os.close(theirs)
        if self._ended:  # meanwhile, by another thread, which did not see this process yet
            self.close()
            self._check_not_ended()
        for descriptor in (self._process.stdout.fileno(), self._taken):
            os.set_blocking(descriptor, False)
        try:
            self._receive(time.monotonic() + START_SEC, None)
        except (EOFError, _TooSlowError, BrokenMessageError) as error:
            said = self._last_words()
            self.close()
            raise RuntimeError(f"a worker that decodes videos does not start: {said or type(error).__name__}") from None
        self.served = 0

    def ask(
        self,
        function: str,
        path: str,
        limits: Limits,
        arguments: Mapping[str, Any],
        arrays: Sequence[np.ndarray] = (),
    ) -> tuple[Any, list[np.ndarray]]:
        """Run a function on a file and return its value and arrays.

        Raises:
            UnreadableVideoError: with the reason; the process is ended if it did not keep the limits.
        """
        request = {"function": function, "path": path, "limits": vars(limits), "arguments": arguments}
        parts = pack(request, arrays)
        answered = self._try(parts, path, limits) or self._try(parts, path, limits)
        if answered is None:
            raise RuntimeError("a worker that decodes videos takes no requests")
        document, out = answered
        return _answer(document, path), out

    def _try(
        self, parts: Sequence[memoryview], path: str, limits: Limits
    ) -> tuple[dict[str, Any], list[np.ndarray]] | None:
        """Return what the process answers; None if it had died while it was idle, which is no file's fault."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        self._idle_bytes = _resident_bytes(self._process.pid)
        self._send(parts)
        self.served += 1
        try:
            return self._receive(time.monotonic() + limits.seconds, limits)
        except EOFError:
            if not self._has_taken():
                self.close()
                return None
            raise UnreadableVideoError(path, words.crashed(self._return_code())) from None
        except _TooSlowError:
            self.close()
            raise UnreadableVideoError(path, words.too_slow(limits)) from None
        except _TooMuchMemoryError:
            self.close()
            raise UnreadableVideoError(path, words.too_much_memory(limits)) from None
        except BrokenMessageError as error:
            self.close()
            raise UnreadableVideoError(path, f"crashed the decoder ({error})") from None
        except BaseException:  # Ctrl-C: the answer that is still to come must not be taken for that of the next request
            self.close()
            raise

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(_STOP_SEC)
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()
        if self._noise is not None:
            self._noise.close()
            self._noise = None
        if self._taken is not None:
            os.close(self._taken)
            self._taken = None

    def kill(self) -> None:
        """End the process from another thread than the one that waits for its answer, which then raises."""
        process = self._process
        if process is not None:
            process.kill()

    def end(self) -> None:
        """End the process for good, from any thread: whoever waits for its answer gets an error, and it stays ended."""
        self._ended = True
        self.kill()

    def _check_not_ended(self) -> None:
        if self._ended:
            raise RuntimeError("this worker that decodes videos has been ended")

    def _has_taken(self) -> bool:
        """Whether an ended process had taken the last request: it writes a byte for each, which only this looks at."""
        count = 0
        with contextlib.suppress(BlockingIOError):  # it has closed its output alone
            while part := os.read(self._taken, 1 << 16):
                count += len(part)
        return count >= self.served

    def _send(self, parts: Sequence[memoryview]) -> None:
        for part in parts:
            with contextlib.suppress(BrokenPipeError):  # it has died just now: reading the answer tells how
                self._process.stdin.write(part)
                self._process.stdin.flush()

    def _receive(self, deadline: float, limits: Limits | None) -> tuple[dict[str, Any], list[np.ndarray]]:
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)

        def read(buffer: memoryview) -> None:
            done = 0
            while done < len(buffer):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _TooSlowError
                if not poll.poll(1000 * min(left, _WATCH_SEC)):
                    self._watch(limits)
                    continue
                count = os.readv(descriptor, [buffer[done:]])
                if not count:
                    raise EOFError
                done += count

        return unpack(read, limits.memory_bytes if limits else 0)

    def _watch(self, limits: Limits | None) -> None:
        if limits and _resident_bytes(self._process.pid) > self._idle_bytes + limits.memory_bytes + _SLACK_BYTES:
            raise _TooMuchMemoryError

    def _return_code(self) -> int:
        """Return how the process has ended; one that only closed its output is ended."""
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            code = 0
        self.close()
        return code

    def _last_words(self) -> str:
        self._noise.seek(0)
        lines = self._noise.read(1 << 20).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def _answer(document: dict[str, Any], path: str) -> Any:
    """Return the value of an answer, or raise what it tells."""
    if "unreadable" in document:
        raise UnreadableVideoError(document.get("path", path), document["unreadable"])
    if "mistake" in document:
        raise UserError(document["mistake"])
    if "index" in document:
        raise IndexError(document["index"])
    return document.get("value")


def _environment() -> dict[str, str]:
    """Return a worker's environment: one thread, and this very package, wherever the caller's came from."""
    package = str(Path(keras_actrec.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return os.environ | _ONE_THREAD | {"PYTHONPATH": paths}


def _resident_bytes(pid: int) -> int:
    """Return the memory that a process holds; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
