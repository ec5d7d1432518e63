"""What the server counts of itself."""

from __future__ import annotations

from collections.abc import Callable

from keras_actrec.serving.server import metrics
from keras_actrec.serving.server.metrics import Counter, Gauge, Histogram


class Statistics:
    """Counters of one server; safe to use from several threads.

    Args:
        under_way: gives the number of requests that are being answered or wait.
        waiting: gives the number of parts of videos that wait for a network.
    """

    def __init__(self, under_way: Callable[[], int], waiting: Callable[[], int]) -> None:
        self._requests = Counter("Requests that were answered, by route, method and status.")
        self._seconds = Histogram("Seconds from a request's head to its answer's end, by route.", metrics.SECONDS)
        self._decoded = Histogram("Seconds to read one part of a video in a worker process.", metrics.SECONDS)
        self._passed = Histogram("Seconds of one pass of a network, by model.", metrics.SECONDS)
        self._windows = Histogram("Windows that share one pass, by model.", metrics.ROWS)
        self._all = {
            "requests_total": self._requests,
            "request_seconds": self._seconds,
            "decode_seconds": self._decoded,
            "pass_seconds": self._passed,
            "pass_windows": self._windows,
            "requests_under_way": Gauge("Requests that are being answered or wait.", under_way),
            "parts_waiting": Gauge("Parts of videos that wait for a network.", waiting),
            "resident_bytes": Gauge("Memory of the server's own process.", metrics.resident_bytes),
        }

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.add(route=route, method=method, status=str(status))
        self._seconds.observe(seconds, route=route)

    def decoded(self, seconds: float) -> None:
        """Count a part that was read."""
        self._decoded.observe(seconds)

    def passed(self, model: str, windows: int, seconds: float) -> None:
        """Count a pass of a network."""
        self._passed.observe(seconds, model=model)
        self._windows.observe(windows, model=model)

    def text(self) -> str:
        """Return the text that Prometheus reads."""
        return metrics.text(self._all)
