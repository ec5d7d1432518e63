"""Plain connections between the processes that train together: who is there, what each says, who has gone.

TensorFlow's own connections carry what it computes. These carry the rest, as JSON over TCP: before TensorFlow begins,
every process tells the chief what it was started with, so that a mistake is one sentence and not a hang; in training,
how many clips each has of a batch; and all the time a sign of life, so that nobody waits for a process that has gone.
Both listen at the same addresses, one after the other.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_actrec.errors import UserError
from keras_actrec.training.cluster import Place
from keras_actrec.training.meeting import Met
from keras_actrec.training.messages import read, take, write

_used = threading.Event()
BEAT_SEC = 1.0
GRACE_SEC = 15.0
"""So long a process that has lost another one may take to end by itself; TensorFlow may never notice."""
REASON_SEC = 10.0
"""So long the reason may come after the end of the connection that it explains: a process first puts its run away."""
RESUME = "Start all processes again with --resume, and training goes on from the last whole epoch"


class Links:
    """Connections of one process: of the chief to each of the others, of the others to the chief.

    All calls but `fail` and `close` are made by one thread, in the same order in each process.

    Args:
        place: of this process.
        met: the connections, from `meeting.meet`.
        timeout_sec: without a sign of life for so long a process counts as gone.

    Attributes:
        lost: what is known of a process that has gone; None while all are there.
    """

    def __init__(self, place: Place, met: Met, timeout_sec: float) -> None:
        self.place, self.lost = place, None
        self._talk, self._pulse, self._timeout_sec = met.talk, met.pulse, timeout_sec
        _used.set()
        self._ended, self._gone = threading.Event(), threading.Event()
        self._needed = not place.is_chief
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="signs-of-life")
        self._watcher.start()

    def exchange(self, value: Any) -> list[Any]:
        """Tell all processes a value (JSON) and return those of all, in the order of their indices.

        Raises:
            UserError: a process has gone.
        """
        with self._explained():
            if self.place.is_chief:
                values = [value, *(read(self._talk[index]) for index in sorted(self._talk))]
                self._to_all(values)
                return values
            write(self._talk[0], value)
            return read(self._talk[0])

    def from_chief(self, value: Any = None) -> Any:
        """Return the chief's value (JSON) in each process; the others' are not looked at.

        Raises:
            UserError: a process has gone.
        """
        with self._explained():
            if self.place.is_chief:
                self._to_all(value)
                return value
            return read(self._talk[0])

    def dismiss(self) -> None:
        """Tell the others, as the chief, that nothing is left to do (None); who has gone already is not missed."""
        for connection in self._talk.values():
            with contextlib.suppress(OSError):
                write(connection, None)

    def arrays_from_chief(self, arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Return the chief's arrays in each process, bit for bit.

        Raises:
            UserError: a process has gone.
        """
        given = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
        table = self.from_chief([[name, array.dtype.name, array.shape] for name, array in given.items()])
        with self._explained():
            if self.place.is_chief:
                for connection in self._talk.values():
                    for array in given.values():
                        connection.sendall(array.tobytes())
                return given
            return {
                name: np.frombuffer(take(self._talk[0], _bytes_of(kind, shape)), np.dtype(kind)).reshape(shape)
                for name, kind, shape in table
            }

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """While the block runs the chief needs all others: without one of them it ends. They always need the chief."""
        if self.lost:
            raise UserError(self.lost)
        needed, self._needed = self._needed, True
        try:
            yield
        finally:
            self._needed = needed

    @contextlib.contextmanager
    def accounted_for(self) -> Iterator[None]:
        """Leave in order after the block; where it fails tell the others why, or this process what has gone.

        Raises:
            UserError: in place of TensorFlow's error, where another process has gone.
        """
        with self.told():
            yield
        self.close()

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Where the block fails tell the others why, or this process what has gone; after it all goes on.

        Raises:
            UserError: in place of TensorFlow's error, where another process has gone.
        """
        try:
            yield
        except UserError as error:
            self.fail(str(error))
            raise
        except Exception as error:
            known = self.wait_for_loss(3 * BEAT_SEC)
            self.fail(known or f"{type(error).__name__}: {error}"[:500])
            if known:
                raise UserError(known) from None
            raise
        except BaseException:
            self.fail(f"it was interrupted. {RESUME}.")
            raise

    def wait_for_loss(self, seconds: float) -> str | None:
        """Return what is known of a process that has gone, or goes within some seconds: an error may come before it."""
        self._gone.wait(seconds)
        return self.lost

    def fail(self, reason: str) -> None:
        """Tell the others why this process ends, and see that it does: TensorFlow may wait for them at its end."""
        if self._ended.is_set():
            return
        faulthandler.dump_traceback_later(GRACE_SEC, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115
        self._leave(b"!" + json.dumps(reason).encode() + b"\n")

    def close(self) -> None:
        """Leave in order: nobody will miss this process."""
        self._leave(b"-\n")

    def _leave(self, word: bytes) -> None:
        self._ended.set()
        self._watcher.join(5 * BEAT_SEC)
        for connection in self._pulse.values():
            with contextlib.suppress(OSError):
                connection.settimeout(BEAT_SEC)
                connection.sendall(word)
        for connection in (*self._pulse.values(), *self._talk.values()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            connection.close()

    def _to_all(self, value: Any) -> None:
        for connection in self._talk.values():
            write(connection, value)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the end of a connection into what is known of the process behind it."""
        try:
            yield
        except (OSError, EOFError):
            known = self.wait_for_loss(REASON_SEC)
            raise UserError(known or f"the connection to another process broke off. {RESUME}.") from None

    def _watch(self) -> None:
        """Give and read signs of life until this process leaves, or one that it needs has gone."""
        watched = selectors.DefaultSelector()
        peers = {}
        for index, connection in self._pulse.items():
            connection.setblocking(False)
            peers[index] = _Peer(connection)
            watched.register(connection, selectors.EVENT_READ, index)
        # `_needed` is looked at each time round: the chief may begin to need a process just when it has gone.
        while not self._ended.is_set() and not (self.lost and self._needed):
            gone = {}
            for key, _ in watched.select(BEAT_SEC / 4):
                if reason := self._heard(key.data, peers[key.data]):
                    gone[key.data] = reason
                elif peers[key.data].left:
                    watched.unregister(key.fileobj)
            for index, reason in {**self._silent(peers), **gone}.items():
                if not peers.pop(index).left:
                    watched.unregister(self._pulse[index])
                self._miss(index, reason)
        watched.close()
        if not self._ended.is_set():
            self._end()

    def _heard(self, index: int, peer: _Peer) -> str | None:
        """Read what a process says; return why it has gone, if it has."""
        name = self.place.name(index)
        match peer.read():
            case "gone":
                return f"{name} has gone: its connection broke off without a word. {RESUME}."
            case str() as told:
                return f"{name} ended: {told}"
        return None

    def _silent(self, peers: Mapping[int, _Peer]) -> dict[int, str]:
        """Give a sign of life where it is time to, and return who has given none for too long, with the reason."""
        silent = {}
        for index, peer in peers.items():
            peer.beat()
            # A process that has left is missed by nobody but by one that has not come to its end with the chief.
            if (peer.left and self.place.is_chief) or time.monotonic() - peer.heard <= self._timeout_sec:
                continue
            what = "has left, while this process has waited" if peer.left else "has given no sign of life"
            silent[index] = (
                f"{self.place.name(index)} {what} for {self._timeout_sec:g} s (training.cluster.timeout_sec). {RESUME}."
            )
        return silent

    def _miss(self, index: int, reason: str) -> None:
        """Note that a process has gone, the first one's reason, and wake who waits for its words."""
        self.lost = self.lost or reason
        self._gone.set()
        with contextlib.suppress(OSError):
            self._talk[index].shutdown(socket.SHUT_RDWR)

    def _end(self) -> None:
        """Wake who waits for anybody; end the process if it hangs in TensorFlow all the same."""
        for connection in self._talk.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        while not self._ended.wait(GRACE_SEC):
            if self._needed:
                print(f"error: {self.lost}", file=sys.stderr, flush=True)
                os._exit(1)


class _Peer:
    """The connection on which another process gives its signs of life.

    Attributes:
        heard: when it gave the last one.
        left: whether it has left in order.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.heard, self.left = time.monotonic(), False
        self._connection, self._text, self._beat = connection, b"", 0.0

    def beat(self) -> None:
        """Give a sign of life, where the last one is old enough; that nobody takes it is seen when reading."""
        if time.monotonic() - self._beat >= BEAT_SEC:
            self._beat = time.monotonic()
            with contextlib.suppress(OSError):
                self._connection.send(b".\n")

    def read(self) -> str | None:
        """Return "gone", the words with which the process ended, or None while all is well."""
        try:
            data = self._connection.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return "gone"
        self.heard, self._text = time.monotonic(), self._text + data
        *lines, self._text = self._text.split(b"\n")
        for line in lines:
            if line.startswith(b"!"):
                return str(json.loads(line[1:]))
            self.left = self.left or line == b"-"
        return None


def leave(exit_code: int) -> None:
    """End the process at once with this code if it had links: TensorFlow may wait for the others, for ever."""
    if _used.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)


def _bytes_of(kind: str, shape: Sequence[int]) -> int:
    return np.dtype(kind).itemsize * int(np.prod(shape, dtype=np.int64))
