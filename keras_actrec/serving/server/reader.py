"""Uploads as frames: read by worker processes, part by part."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec.data.guarded import Pool
from keras_actrec.evaluation.trained import Frames as Looked
from keras_actrec.serving.reading import Facts, Frames, Wish
from keras_actrec.serving.server import worker
from keras_actrec.serving.windows import Sliding, Window

_WORKER = "keras_actrec.serving.server.worker"
LOOKED_AT_PX = 320


@dataclasses.dataclass(frozen=True)
class Received:
    """One part of an upload.

    Attributes:
        facts: of the video.
        windows: of the whole video; with the first part only.
        starts: with which windows parts begin; likewise.
        read: numbers of the windows in this part that could be read.
        lost: numbers of those that could not, with the reasons.
        frames: for each wish, of the windows that could be read; empty where there are none.
    """

    facts: Facts
    windows: tuple[Window, ...]
    starts: tuple[int, ...]
    read: tuple[int, ...]
    lost: tuple[tuple[int, str], ...]
    frames: tuple[Frames, ...]


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads uploads in a pool of workers.

    Every method raises `UnreadableVideoError`, `UserError`, or `guarded.BusyError` where no worker became idle.

    Attributes:
        pool: of workers.
        windows: most windows of a video.
        wait_sec: longest wait for an idle worker.
    """

    pool: Pool
    windows: int
    wait_sec: float

    def part(self, path: Path, wishes: Sequence[Wish], sliding: Sliding | None, start: int) -> Received:
        """Read the part that begins with a window."""
        told, arrays = self._ask(
            "part",
            path,
            wishes=[worker.wish_to_json(wish) for wish in wishes],
            sliding=dataclasses.asdict(sliding) if sliding else None,
            start=start,
            most_windows=self.windows,
        )
        return Received(
            Facts(**told["facts"]),
            tuple(Window(*window) for window in told["windows"]),
            tuple(told["starts"]),
            tuple(told["read"]),
            tuple((number, reason) for number, reason in told["lost"]),
            _by_wish(wishes, arrays),
        )

    def looked_at(self, path: Path, wish: Wish, stretch: tuple[float, float] | None) -> tuple[Looked, np.ndarray]:
        """Read what a network is given of a video, and the same frames larger: uint8 (T, S, S, C)."""
        arguments = {"stretch": list(stretch) if stretch else None, "size": LOOKED_AT_PX}
        told, (small, large) = self._ask("looked_at", path, wish=worker.wish_to_json(wish), **arguments)
        indices = np.array(told["indices"], np.int64)
        return Looked(small, indices, told["fps"], told["height"], told["width"]), large

    def preview(self, path: Path) -> tuple[np.ndarray, float]:
        """Read small frames, uint8 (T, H, W, 3), and their number per second."""
        told, (frames,) = self._ask("preview", path)
        return frames, told["fps"]

    def _ask(self, function: str, path: Path, **arguments: Any) -> tuple[Any, list[np.ndarray]]:
        return self.pool.run(f"{_WORKER}:{function}", str(path), arguments, wait_sec=self.wait_sec)


def _by_wish(wishes: Sequence[Wish], arrays: Sequence[np.ndarray]) -> tuple[Frames, ...]:
    left = iter(arrays)
    return tuple({view.name: next(left) for view in wish.views} for wish in wishes) if arrays else ()
