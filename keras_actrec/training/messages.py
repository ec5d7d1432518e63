"""Messages between the processes that train together: JSON with its length before it."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any


def write(connection: socket.socket, value: Any) -> None:
    """Send a value as JSON, its length in bytes before it."""
    data = json.dumps(value).encode()
    connection.sendall(struct.pack("!Q", len(data)) + data)


def read(connection: socket.socket, most_bytes: int = 1 << 30) -> Any:
    """Receive what `write` sent.

    Raises:
        EOFError: the connection has ended.
        ValueError: it is something else, or longer than `most_bytes`.
    """
    (length,) = struct.unpack("!Q", take(connection, 8))
    if length > most_bytes:
        raise ValueError(f"a message of {length} bytes")
    return json.loads(take(connection, length))


def take(connection: socket.socket, length: int) -> bytearray:
    """Receive exactly so many bytes.

    Raises:
        EOFError: the connection has ended before.
    """
    data = bytearray(length)
    view = memoryview(data)
    while len(view):
        count = connection.recv_into(view, min(len(view), 1 << 24))
        if not count:
            raise EOFError
        view = view[count:]
    return data
