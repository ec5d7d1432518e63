"""A `FrameSource` whose files are read by a pool of workers: for uploads, and whatever else nobody vouches for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec.data.decode import Size, VideoInfo
from keras_actrec.data.guarded.limits import Limits
from keras_actrec.data.guarded.pool import Pool
from keras_actrec.data.image_sequence import DEPTH_RANGE_MM
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import Modality

_READING = "keras_actrec.data.guarded.reading"


@dataclasses.dataclass(frozen=True)
class GuardedSource:
    """Frames of video files, read in worker processes. Safe to use from several threads.

    Every method raises what those of `FrameSource` raise, `UnreadableVideoError` with the reasons of `data.guarded`,
    and `BusyError` if no worker became idle in time.

    Attributes:
        root: folder that the clips' paths are relative to.
        pool: of workers.
        limits: on each request; None: the pool's.
        wait_sec: longest wait for an idle worker.
        depth_range_mm: nearest and farthest distance that 16 bit depth pictures are mapped from.
    """

    root: str | os.PathLike[str]
    pool: Pool
    limits: Limits | None = None
    wait_sec: float = 600.0
    depth_range_mm: tuple[float, float] = DEPTH_RANGE_MM

    def probe(self, clip: Clip) -> VideoInfo:
        """Return what the clip holds; `frames` counts its own stretch."""
        return VideoInfo(**self._ask("probe", clip)[0])

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: Modality = "rgb"
    ) -> np.ndarray:
        """Return frames of the clip, counted from the start of its stretch: uint8 (T, H, W, C)."""
        if size is not None and not isinstance(size, int | np.integer):
            size = [int(length) for length in size]
        numbers = np.asarray(indices, np.int64).reshape(-1)
        size = int(size) if isinstance(size, np.integer) else size
        return self._ask("read", clip, {"size": size, "modality": modality}, [numbers])[1][0]

    def boxes(self, clip: Clip) -> np.ndarray:
        """Return the clip's person boxes: float64 (n, 4), a row per frame of its stretch."""
        return self._ask("boxes", clip)[1][0]

    def _ask(
        self, name: str, clip: Clip, more: dict[str, Any] | None = None, arrays: Sequence[np.ndarray] = ()
    ) -> tuple[Any, list[np.ndarray]]:
        path = str(Path(self.root) / clip.path)
        source = {"root": str(self.root), "depth_range_mm": list(self.depth_range_mm)}
        arguments = {"source": source, "clip": vars(clip), **(more or {})}
        return self.pool.run(
            f"{_READING}:{name}", path, arguments, arrays=arrays, limits=self.limits, wait_sec=self.wait_sec
        )
