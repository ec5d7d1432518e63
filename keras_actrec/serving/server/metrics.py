"""Counters of the server, and their text for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

import bisect
import collections
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)
_PREFIX = "keras_actrec_"

Labels = tuple[tuple[str, str], ...]


class Counter:
    """A number that only grows, for each set of labels."""

    kind = "counter"

    def __init__(self, about: str) -> None:
        self.about = about
        self._values: collections.Counter[Labels] = collections.Counter()
        self._lock = threading.Lock()

    def add(self, amount: float = 1, **labels: str) -> None:
        """Add to it."""
        with self._lock:
            self._values[tuple(sorted(labels.items()))] += amount

    def samples(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        """Yield (name, labels, value)."""
        with self._lock:
            values = dict(self._values)
        yield from ((name, labels, value) for labels, value in sorted(values.items()))


class Histogram:
    """How often values fell below each of some bounds, for each set of labels."""

    kind = "histogram"

    def __init__(self, about: str, bounds: Sequence[float]) -> None:
        self.about = about
        self._bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: collections.Counter[Labels] = collections.Counter()
        self._lock = threading.Lock()

    def observe(self, value: float, **labels: str) -> None:
        """Count a value."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            counts = self._counts.setdefault(key, [0] * (len(self._bounds) + 1))
            counts[bisect.bisect_left(self._bounds, value)] += 1
            self._sums[key] += value

    def samples(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        """Yield (name, labels, value)."""
        with self._lock:
            taken = {key: (list(counts), self._sums[key]) for key, counts in self._counts.items()}
        for labels, (counts, total) in sorted(taken.items()):
            below = 0
            for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
                below += count
                yield f"{name}_bucket", (*labels, ("le", _number(bound))), below
            yield f"{name}_sum", labels, total
            yield f"{name}_count", labels, below


class Gauge:
    """A number that is looked up when it is asked for."""

    kind = "gauge"

    def __init__(self, about: str, value: Callable[[], float]) -> None:
        self.about = about
        self._value = value

    def samples(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        """Yield (name, labels, value)."""
        yield name, (), self._value()


def text(metrics: Mapping[str, Counter | Histogram | Gauge]) -> str:
    """Return the text that Prometheus reads."""
    lines = []
    for name, metric in metrics.items():
        lines += [f"# HELP {_PREFIX}{name} {metric.about}", f"# TYPE {_PREFIX}{name} {metric.kind}"]
        lines += [
            f"{_PREFIX}{sample}{_labels(labels)} {_number(value)}" for sample, labels, value in metric.samples(name)
        ]
    return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Return the memory that this process holds; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
