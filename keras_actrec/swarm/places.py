"""Names of published positions, which are the same in every store. Imports no Keras."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from keras_actrec.errors import UserError
from keras_actrec.swarm.positions import DamagedPositionError, Position
from keras_actrec.swarm.precision import FLOAT32, TAGS
from keras_actrec.swarm.settings import name_of
from keras_actrec.swarm.state import Kind

JOURNAL = "swarm.sqlite"
WEIGHTS = "weights"
KINDS = "|".join(Kind)
FOLDER = re.compile(r"particle-([1-9]\d*)")


class Place(NamedTuple):
    """Which position: of whom, of which kind, of which round."""

    particle: int
    kind: Kind
    round: int

    def __str__(self) -> str:
        return f"position '{self.kind}' of {name_of(self.particle)} in round {self.round}"

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return f"{self.kind}-{self.round:06d}"

    @property
    def notes(self) -> dict[str, str | int]:
        """What is noted in its file."""
        return {"particle": self.particle, "kind": str(self.kind), "round": self.round}


def stored_as(kind: Kind, precision: str) -> str:
    """Return the tag (`precision.STORED`) of a kind in a store of a precision: sketches are float32 in each."""
    return TAGS[FLOAT32 if kind is Kind.SKETCH else precision]


def needed(place: Place, oldest_needed: int, best_needed: Mapping[int, Collection[int]]) -> bool:
    """Tell whether `Store.prune` keeps a position."""
    if place.round >= oldest_needed:
        return True
    return place.kind is Kind.BEST and place.round in best_needed.get(place.particle, ())


class MissingPositionError(UserError):
    """A position is not where it should be."""

    def __init__(self, place: Place, where: Path | str) -> None:
        super().__init__(
            f"expected the {place} at {where}, but it is not there: check that this machine sees the store of the "
            "swarm, and that nothing was removed from it"
        )


def check_announced(position: Position, digest: str | None) -> Position:
    """Return a position if it has the announced digest, or if none was announced.

    Raises:
        DamagedPositionError: it has another one.
    """
    if digest is not None and position.digest != digest:
        raise DamagedPositionError(position.name, f"its checksum is {position.digest}, {digest} was announced")
    return position
