"""Clips for runs that repeat themselves: decoded once, their pipeline built once. Imports no Keras."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from keras_actrec.data.decode import Size, VideoInfo
from keras_actrec.data.manifest import Clip
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.source import FrameSource, Modality

MEMORY = 1 << 30
"""So many bytes of frames are remembered; what comes later is decoded each time."""


class RememberingSource:
    """A `FrameSource` that keeps the frames it has given in memory.

    Args:
        source: gives them first.
        limit: bytes of frames that are kept at most.
    """

    def __init__(self, source: FrameSource, limit: int = MEMORY) -> None:
        self._source = source
        self._left = limit
        self._known: dict[Hashable, Any] = {}
        self._lock = threading.Lock()

    def probe(self, clip: Clip) -> VideoInfo:
        """Return what the clip holds; see `FrameSource`."""
        return self._recall(clip, lambda: self._source.probe(clip), 0)

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: Modality = "rgb"
    ) -> np.ndarray:
        """Return frames of the clip, read-only; see `FrameSource`."""
        numbers = tuple(np.asarray(indices).reshape(-1).tolist())
        return self._recall((clip, numbers, size, modality), lambda: self._decode(clip, indices, size, modality), None)

    def boxes(self, clip: Clip) -> np.ndarray:
        """Return the person boxes of a clip; see `FrameSource`."""
        return self._source.boxes(clip)

    def motion_place(self, clip: Clip) -> Any:
        """Return where the motion of a clip is kept, as the source that is remembered says; None: nowhere."""
        place = getattr(self._source, "motion_place", None)
        return None if place is None else place(clip)

    def _decode(self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size, modality: Modality) -> np.ndarray:
        frames = self._source.read(clip, indices, size, modality)
        frames.flags.writeable = False
        return frames

    def _recall(self, key: Hashable, make: Callable[[], Any], cost: int | None) -> Any:
        known = self._known.get(key)
        if known is not None:
            return known
        made = make()
        with self._lock:
            cost = made.nbytes if cost is None else cost
            if cost <= self._left and key not in self._known:
                self._known[key] = made
                self._left -= cost
        return made


class RepeatedLoader:
    """A loader whose pipelines are built once, however often they are asked for.

    A pipeline reads the epoch when an iterator starts, so the batches are those of the loader.

    Args:
        loader: gives the pipelines.

    Attributes:
        clips, classes, views: of the loader.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.clips, self.classes, self.views = loader.clips, loader.classes, loader.views
        self._training: Any = None
        self._evaluation: Any = None

    @property
    def steps(self) -> int:
        """Batches per epoch; see `Loader`."""
        return self._loader.steps

    @property
    def failure(self) -> Exception | None:
        """The first error of a worker that was not an unreadable video."""
        return self._loader.failure

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that iterators made from now on will give (counted from 0)."""
        self._loader.set_epoch(epoch)

    def dataset(self) -> Any:
        """Return batches for training; see `Loader`."""
        if self._training is None:
            self._training = self._loader.dataset()
        return self._training

    def evaluation_dataset(self) -> Any:
        """Return batches for evaluation; see `Loader`."""
        if self._evaluation is None:
            self._evaluation = self._loader.evaluation_dataset()
        return self._evaluation
