"""An S3 server of this machine (moto) that misbehaves as it is told: errors, slow and half answers, lost ones.

`python bad_s3.py HOST PORT` serves one without faults, with a bucket `swarms`, until it is killed.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "swarms"
ERRORS = {500: ("500 Internal Server Error", "InternalError"), 503: ("503 Slow Down", "SlowDown")}
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
Start = Callable[..., Any]


@dataclasses.dataclass
class Faults:
    """Shares of requests that go wrong, each in its way.

    Attributes:
        error_500, error_503: refused before anything is done.
        slow: answered after `slow_sec`.
        lost: done, and then answered by an error 500, as if the answer had been lost.
        cut: what is read ends in the middle.
        full: uploads are refused because the store is full.
    """

    error_500: float = 0.0
    error_503: float = 0.0
    slow: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    full: float = 0.0
    slow_sec: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        self._random, self._lock = random.Random(self.seed), threading.Lock()

    def choose(self) -> str | None:
        """Return the fault of the next request."""
        with self._lock:
            place = self._random.random()
        for name in ("error_500", "error_503", "slow", "lost", "cut", "full"):
            place -= getattr(self, name)
            if place < 0:
                return name
        return None


class BadServer:
    """moto behind the faults.

    Attributes:
        faults: of the requests from now on; None: none.
        seen: how often each (method, path) was asked for.
        struck: how often each fault struck.
    """

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self.faults: Faults | None = None
        self.seen: collections.Counter[tuple[str, str]] = collections.Counter()
        self.struck: collections.Counter[str] = collections.Counter()

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        self.seen[method, environ["PATH_INFO"]] += 1
        fault = self.faults.choose() if self.faults else None
        if (fault == "cut" and method != "GET") or (fault == "full" and method not in ("PUT", "POST")):
            fault = None
        if fault:
            self.struck[fault] += 1
            return getattr(self, f"_{fault}")(environ, start)
        return self._app(environ, start)

    def reads(self, part: str) -> int:
        """Return how many objects were read whose path has a part."""
        return sum(count for (method, path), count in self.seen.items() if method == "GET" and part in path)

    def _error_500(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        return _refuse(environ, start, *ERRORS[500])

    def _error_503(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        return _refuse(environ, start, *ERRORS[503])

    def _full(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        return _refuse(environ, start, "507 Insufficient Storage", "XMinioStorageFull")

    def _slow(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        time.sleep(self.faults.slow_sec if self.faults else 0)
        return self._app(environ, start)

    def _lost(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        b"".join(self._app(environ, lambda *_: None))
        return _refuse(None, start, *ERRORS[500])

    def _cut(self, environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        """Announce the whole answer, and break off after half of it."""
        told: list[Any] = []
        body = b"".join(self._app(environ, lambda *arguments: told.append(arguments)))
        status, headers = told[0][:2]
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start(status, [*kept, ("Content-Length", str(len(body)))])
        yield body[: len(body) // 2]
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError("cut")


def _refuse(unread: dict[str, Any] | None, start: Start, status: str, code: str) -> list[bytes]:
    """Answer with an error, once the body of a request that nobody has read is out of the way."""
    if unread:
        with contextlib.suppress(OSError):
            unread["wsgi.input"].read(int(unread.get("CONTENT_LENGTH") or 0))
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code} as wished</Message></Error>'.encode()
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


@contextlib.contextmanager
def serving(host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[BadServer, str]]:
    """Run a server with an empty bucket; give it and its address."""
    import boto3

    app = BadServer()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(host, port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://{host}:{server.port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=BUCKET)
    try:
        yield app, address
    finally:
        server.shutdown()
        thread.join(10)


if __name__ == "__main__":
    with serving(sys.argv[1], int(sys.argv[2])) as (_, where):
        print(where, flush=True)
        threading.Event().wait()
