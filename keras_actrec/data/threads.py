"""How many threads decode where a configuration leaves that open."""

from __future__ import annotations

import os


def default_workers() -> int:
    """Return the number of cores that this process may use.

    `OMP_NUM_THREADS` limits it, as it limits other numerical libraries: the particles of a swarm share a machine.
    """
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
