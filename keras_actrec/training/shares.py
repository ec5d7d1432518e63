"""Which rows of a batch belong to a process of several that train one network together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Share:
    """One process' part of each batch: its neighbouring rows, as if the batch were split over the devices of all.

    Attributes:
        index: of the process.
        processes: how many there are.
        devices: of all processes together, a multiple of `processes`.
        filled: whether a batch is filled up to a multiple of the devices (validation: each clip counts), else cut.
    """

    index: int
    processes: int
    devices: int
    filled: bool

    def part(self, rows: Any) -> slice:
        """Return where the own rows of a batch of so many lie; with `filled` it may reach behind the last one."""
        per_device = -(-rows // self.devices) if self.filled else rows // self.devices
        own = per_device * (self.devices // self.processes)
        return slice(self.index * own, (self.index + 1) * own)

    def of_order(self, order: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the own examples of an epoch's order (N, ...), whose batches are `batch_size` neighbours each."""
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return np.concatenate([batch[self.part(len(batch))] for batch in batches])

    def of_batch_size(self, batch_size: int) -> int:
        """Return the number of own rows in a whole batch, of `batch_size` rows."""
        part = self.part(batch_size)
        return part.stop - part.start
