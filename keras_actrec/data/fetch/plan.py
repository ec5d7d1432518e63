"""Which videos of a class are wanted, and in which order the others follow.

FiftyOne's `seed` shuffles a list that was made from a set, so that it depends on PYTHONHASHSEED, and its `max_samples`
is filled from the first class alone. Here each class of each split is an order of its own: its official clips sorted by
a hash of seed, collection, split, class and name. A class takes the first so many of this order that are alive. So the
choice depends on nothing but the official lists, the seed, and which videos are still there; a larger subset holds a
smaller one; and neither the number of workers nor an interruption plays a part.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

from keras_actrec.data.fetch.outcome import FailureError
from keras_actrec.errors import UserError


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A clip of an official list.

    Attributes:
        path: where its file goes, relative to the target folder; its suffix may become another one.
        label: its class.
        split: official list: "train", "validation" or "test"; empty where all folds share the file.
        group: as in `Clip`.
        url: page of the video; empty where it comes out of an archive.
        start_sec, end_sec: the stretch of the video at `url`.

    Raises:
        UserError: the path leads out of the target folder; a list from somewhere may say so.
    """

    path: str
    label: str
    split: str
    group: str
    url: str = ""
    start_sec: float = 0.0
    end_sec: float = 0.0

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if not all(parts) or any(part.startswith(".") or "\0" in part or "\\" in part for part in parts):
            raise UserError(f"the official lists name a clip '{self.path}', which is no path of a video.")

    @property
    def stem(self) -> str:
        """The path without its suffix: what a clip is known by."""
        return self.path.rpartition(".")[0]


class ClassPlan:
    """The clips of one class and split: their order, how many are wanted, what became of each.

    Args:
        split, label: whose clips they are.
        candidates: official clips, in any order.
        most: how many are wanted; None: all.
        salt: decides the order.
    """

    def __init__(self, split: str, label: str, candidates: Iterable[Candidate], most: int | None, salt: str) -> None:
        self.split = split
        self.label = label
        self.order = tuple(sorted(candidates, key=lambda one: (_hash(f"{salt}/{split}/{label}/{one.stem}"), one.path)))
        self._ranks = {one.stem: number for number, one in enumerate(self.order)}
        self.wanted = len(self.order) if most is None else min(most, len(self.order))
        self.alive: dict[str, str] = {}
        """stem -> path of the file that is there."""
        self.dead: dict[str, FailureError] = {}
        self.busy: set[str] = set()
        self._tried = 0

    def next(self) -> Candidate | None:
        """Return the next clip to try and count it as busy; None while enough are there or on their way."""
        if len(self.alive) + len(self.busy) >= self.wanted:
            return None
        while self._tried < len(self.order):  # what was passed once stays passed: a class of thousands is asked often
            candidate = self.order[self._tried]
            self._tried += 1
            if candidate.stem not in self.alive and candidate.stem not in self.dead:
                self.busy.add(candidate.stem)
                return candidate
        return None

    def chosen(self) -> list[Candidate]:
        """Return the clips of the manifest, in order.

        The first living ones; where there are too few, the first dead ones fill the rest, so that the coverage beside
        each accuracy tells of them. A file's suffix is that of the file which came.
        """
        living = [one for one in self.order if one.stem in self.alive][: self.wanted]
        others = [one for one in self.order if one.stem not in self.alive][: self.wanted - len(living)]
        return [dataclasses.replace(one, path=self.alive.get(one.stem, one.path)) for one in [*living, *others]]

    @property
    def present(self) -> int:
        """How many of the wanted clips are there."""
        return min(len(self.alive), self.wanted)

    def missing(self) -> list[Candidate]:
        """Return the clips that would be chosen if they were there, and of which nothing is known yet."""
        found, living = [], 0
        for candidate in self.order:
            if living == self.wanted:
                break
            living += candidate.stem in self.alive
            if candidate.stem not in self.alive and candidate.stem not in self.dead:
                found.append(candidate)
        return found

    def wants(self, candidate: Candidate) -> bool:
        """Return whether a clip that turned up would be chosen, as far as is known."""
        if candidate.stem in self.alive:
            return False
        return len(self.alive) < self.wanted or self._rank(candidate.stem) < self._rank(self.last())

    def last(self) -> str:
        """Return the stem of the living clip that comes last in the order."""
        return max(self.alive, key=self._rank)

    def _rank(self, stem: str) -> int:
        return self._ranks.get(stem, len(self.order))


def total(plans: Sequence[ClassPlan]) -> tuple[int, int]:
    """Return (clips there, clips wanted) over all classes."""
    return sum(plan.present for plan in plans), sum(plan.wanted for plan in plans)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
