"""A local server that stands for the real hosts: it serves bytes by path, and misbehaves as it is told."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

SLICE_BYTES = 4096


class StandIn:
    """Serves what `put` was given; each path may have a queue of misbehaviours, of which each request takes one.

    A misbehaviour is a status (404, 429, 503; 302 leads to itself), "truncated" (half of what was promised, then the
    line drops), "stalled" (half, then silence), or "slow" (a little at a time). `always` holds those that never end.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.queues: dict[str, deque[int | str]] = {}
        self.always: dict[str, int | str] = {}
        self.retry_after = "0"
        self.ranges = True
        self.slow_sec = 0.002
        self.stall_sec = 20.0
        self.requests: Counter[str] = Counter()
        self.ranged: list[tuple[str, str]] = []
        self.times: list[float] = []
        self.cookies: set[str] = set()
        self.inside = self.most_inside = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"stand_in": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content

    def misbehave(self, path: str, *how: int | str) -> None:
        self.queues.setdefault(path, deque()).extend(how)

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that are killed leave their lines open."""


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        server = self.stand_in
        with server.lock:
            server.requests[self.path] += 1
            server.times.append(time.monotonic())
            server.cookies.add(self.headers.get("Cookie", ""))
            server.inside += 1
            server.most_inside = max(server.most_inside, server.inside)
            queue = server.queues.get(self.path)
            how = queue.popleft() if queue else server.always.get(self.path)
        try:
            self._serve(how, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server.lock:
                server.inside -= 1

    def _serve(self, how: int | str | None, body: bool) -> None:
        content = self.stand_in.files.get(self.path)
        if isinstance(how, int) or content is None:
            return self._refuse(how if isinstance(how, int) else 404)
        start, stop = self._range(len(content))
        self.send_response(206 if (start, stop) != (0, len(content)) else 200)
        if (start, stop) != (0, len(content)):
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Type", "video/mp4" if "watch" in self.path else "application/octet-stream")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Last-Modified", formatdate(1_700_000_000, usegmt=True))
        self.send_header("ETag", f'"{hash(content) & 0xFFFFFFFF:x}"')
        if self.stand_in.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            self._send(content[start:stop], how)
        return None

    def _send(self, content: bytes, how: str | None) -> None:
        if how == "slow":
            for start in range(0, len(content), SLICE_BYTES):
                self.wfile.write(content[start : start + SLICE_BYTES])
                self.wfile.flush()
                time.sleep(self.stand_in.slow_sec)
            return
        self.wfile.write(content if how is None else content[: len(content) // 2])
        self.wfile.flush()
        if how == "stalled":
            self.stand_in.closing.wait(self.stand_in.stall_sec)
        if how is not None:
            self.close_connection = True

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.path)
        if status in (429, 503):
            self.send_header("Retry-After", self.stand_in.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _range(self, size: int) -> tuple[int, int]:
        asked = self.headers.get("Range")
        if not asked or not self.stand_in.ranges:
            return 0, size
        self.stand_in.ranged.append((self.path, asked))
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return min(int(first or 0), size - 1), min(int(last) + 1 if last else size, size)
