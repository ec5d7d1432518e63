"""What several tests of the swarm share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from keras_actrec.swarm.state import Move, Publication


def publication(particle: int, round_number: int, **changes: object) -> Publication:
    """Return a plausible publication."""
    fields = {
        "particle": particle,
        "round": round_number,
        "fitness": -1.5,
        "best_round": round_number,
        "best_fitness": -1.5,
        "before": "b" * 32,
        "after": "a" * 32,
        "best": "a" * 32,
        "learning_rate": 0.01,
        "row": {"val_loss": 1.5, "val_accuracy": 0.25, "loss": 1.25, "accuracy": 0.5, "learning_rate": 0.01},
        "train_sec": 2.5,
    }
    return Publication(**{**fields, **changes})


def move(particle: int, round_number: int, **changes: object) -> Move:
    """Return a plausible move."""
    fields = {
        "particle": particle,
        "round": round_number,
        "members": (0, 1),
        "distances": (0.0, 2.5),
        "order": (0, 1),
        "chosen": 1,
        "draws": (0.25, 0.5),
        "weights": (0.1,),
        "terms": {"own": 1.0, "neighbours": 0.1, "own_best": 0.0, "neighbourhood_best": 0.5, "total": 1.2},
        "before": "c" * 32,
        "exchange_sec": 0.1,
        "wait_sec": 0.2,
    }
    return Move(**{**fields, **changes})


class Vector:
    """A body without a network; see `companion.Body`."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = np.array(values, dtype=np.float32)
        self.non_negative: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.values)

    def parts(self) -> Iterator[np.ndarray]:
        """Give two pieces."""
        half = len(self.values) // 2
        yield self.values[:half]
        yield self.values[half:]

    def assign(self, position: np.ndarray) -> None:
        """Take a position."""
        self.values = np.array(position, dtype=np.float32)
