"""Where frames come from: a protocol that video files and the prepared cache share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from keras_actrec.data import decode
from keras_actrec.data.decode import Size, VideoInfo
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UnreadableVideoError

Modality = Literal["rgb", "depth"]


class FrameSource(Protocol):
    """Gives the frames of a manifest's clips. Safe to use from several threads."""

    def probe(self, clip: Clip) -> VideoInfo:
        """Return what the clip holds; `frames` counts its own stretch.

        Raises:
            UnreadableVideoError: with the reason.
        """
        ...

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: Modality = "rgb"
    ) -> np.ndarray:
        """Return frames of the clip, counted from the start of its stretch: uint8 (T, H, W, C).

        Raises:
            UnreadableVideoError: with the reason.
        """
        ...


@dataclasses.dataclass(frozen=True)
class VideoSource:
    """Frames straight from the video files.

    Attributes:
        root: folder that the clips' paths are relative to.
        threads: decoding threads per file; None: chosen by length. The default suits loaders, which read several clips
            at a time: there threads within a file only cost.
    """

    root: str | os.PathLike[str]
    threads: int | None = 1

    def probe(self, clip: Clip) -> VideoInfo:
        """Return what the clip holds (see `FrameSource`)."""
        info = decode.probe(self._path(clip.path))
        first, stop = self._stretch(clip, info.frames)
        return dataclasses.replace(info, frames=stop - first)

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: Modality = "rgb"
    ) -> np.ndarray:
        """Return frames of the clip: C is 3 for "rgb", 1 for "depth" (see `FrameSource`)."""
        if modality not in ("rgb", "depth"):
            raise ValueError(f"a video holds 'rgb' and perhaps 'depth', not '{modality}'")
        numbers = self._numbers(clip, np.asarray(indices, np.int64).reshape(-1))
        if modality == "rgb":
            return decode.read_frames(self._path(clip.path), numbers, size, threads=self.threads)
        if clip.depth is None:
            raise UnreadableVideoError(str(self._path(clip.path)), "no depth video")
        return decode.read_frames(self._path(clip.depth), numbers, size, threads=self.threads)[..., :1]

    def _path(self, relative: str) -> Path:
        return Path(self.root) / relative

    def _numbers(self, clip: Clip, indices: np.ndarray) -> np.ndarray:
        """Turn numbers within the stretch into numbers within the file."""
        if clip.start_sec is None and clip.end_sec is None:
            return indices
        first, stop = self._stretch(clip, None)
        if len(indices) and not 0 <= indices.min() <= indices.max() < stop - first:
            wrong = next(i for i in indices.tolist() if not 0 <= i < stop - first)
            raise IndexError(f"the stretch of {clip.path} has {stop - first} frames, frame {wrong} was asked for")
        return indices + first

    def _stretch(self, clip: Clip, frames: int | None) -> tuple[int, int]:
        """Return the first frame and the one after the last: those displayed from start_sec up to before end_sec."""
        if clip.start_sec is None and clip.end_sec is None and frames is not None:
            return 0, frames
        times = decode.frame_times(self._path(clip.path))
        tolerance = 1e-6  # times come in ticks of the container: 0.04 s may be stored as 0.0399999
        first = 0 if clip.start_sec is None else int(np.searchsorted(times, clip.start_sec - tolerance))
        stop = len(times) if clip.end_sec is None else int(np.searchsorted(times, clip.end_sec - tolerance))
        if stop <= first:
            where = f"{clip.start_sec or 0:g} s and {'its end' if clip.end_sec is None else f'{clip.end_sec:g} s'}"
            raise UnreadableVideoError(str(self._path(clip.path)), f"no frames between {where}")
        return first, stop
