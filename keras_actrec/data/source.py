"""Where frames come from: a protocol that video files and the prepared cache share.

Depth is aligned frame by frame: frame i of a clip is frame i of its depth video. Where a recording stopped a little
early, so that depth lacks up to `DEPTH_LACKS_FRAMES` frames or `DEPTH_LACKS_SHARE` of all, its last frame stands for
them; a shorter one is an unreadable clip.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from keras_actrec.data import boxes as box_files
from keras_actrec.data import decode, motion_store
from keras_actrec.data.decode import Size, VideoInfo
from keras_actrec.data.image_sequence import DEPTH_RANGE_MM
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UnreadableVideoError

Modality = Literal["rgb", "depth"]
DEPTH_LACKS_FRAMES = 2
DEPTH_LACKS_SHARE = 0.1


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

    def boxes(self, clip: Clip) -> np.ndarray:
        """Return the clip's person boxes: float64 (n, 4), a row per frame of its stretch (see `data.boxes`).

        Only asked for where `clip.boxes` names a file. Left, top, right and bottom are shares of the frame.

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
        depth_range_mm: nearest and farthest distance that 16 bit depth pictures are mapped from.
    """

    root: str | os.PathLike[str]
    threads: int | None = 1
    depth_range_mm: tuple[float, float] = DEPTH_RANGE_MM

    def probe(self, clip: Clip) -> VideoInfo:
        """Return what the clip holds (see `FrameSource`)."""
        info = decode.probe(self._path(clip.path))
        first, stop = self._stretch(clip, info.frames)
        pictures = clip.fps and self._path(clip.path).is_dir()
        return dataclasses.replace(info, frames=stop - first, fps=clip.fps if pictures else info.fps)

    def read(
        self, clip: Clip, indices: Sequence[int] | np.ndarray, size: Size = None, modality: Modality = "rgb"
    ) -> np.ndarray:
        """Return frames of the clip: C is 3 for "rgb", 1 for "depth" (see `FrameSource`)."""
        if modality not in ("rgb", "depth"):
            raise ValueError(f"a video holds 'rgb' and perhaps 'depth', not '{modality}'")
        numbers = self._numbers(clip, np.asarray(indices, np.int64).reshape(-1))
        if modality == "rgb":
            return self._read(clip.path, numbers, size)
        if clip.depth is None:
            raise UnreadableVideoError(str(self._path(clip.path)), "no depth video")
        return self._read(clip.depth, self._within_depth(clip, numbers), size)[..., :1]

    def boxes(self, clip: Clip) -> np.ndarray:
        """Return the person boxes of the clip's frames (see `FrameSource`); the file has them for all of the video."""
        frames = decode.probe(self._path(clip.path)).frames
        first, stop = self._stretch(clip, frames)
        return box_files.read(self._path(clip.boxes), frames)[first:stop]

    def motion_place(self, clip: Clip) -> motion_store.Place:
        """Return where the movement of the clip is kept: on disk, in the root."""
        try:
            status = self._path(clip.path).stat()
        except OSError:
            return motion_store.Place(None, str(self._path(clip.path)), "missing")
        rate = clip.fps if clip.stretch != (None, None) else None  # decides which pictures of a folder are meant
        key = json.dumps([clip.path, *clip.stretch, rate])
        return motion_store.Place(motion_store.file_in(Path(self.root)), key, f"{status.st_size} {status.st_mtime_ns}")

    def _read(self, path: str, numbers: np.ndarray, size: Size) -> np.ndarray:
        whole = self._path(path)
        return decode.read_frames(whole, numbers, size, threads=self.threads, depth_range_mm=self.depth_range_mm)

    def _within_depth(self, clip: Clip, numbers: np.ndarray) -> np.ndarray:
        """Return numbers that the depth video has; its last one for the few that it may lack."""
        depth, video = (decode.probe(self._path(path)).frames for path in (clip.depth, clip.path))
        if video - depth > max(DEPTH_LACKS_FRAMES, DEPTH_LACKS_SHARE * video):
            raise UnreadableVideoError(str(self._path(clip.depth)), f"{depth} frames for {video} of the video")
        return np.where(numbers < video, np.minimum(numbers, depth - 1), numbers)

    def _path(self, relative: str) -> Path:
        return Path(self.root) / relative

    def _numbers(self, clip: Clip, indices: np.ndarray) -> np.ndarray:
        """Turn numbers within the stretch into numbers within the file."""
        if clip.stretch == (None, None):
            return indices
        first, stop = self._stretch(clip, None)
        if len(indices) and not 0 <= indices.min() <= indices.max() < stop - first:
            wrong = next(i for i in indices.tolist() if not 0 <= i < stop - first)
            raise IndexError(f"the stretch of {clip.path} has {stop - first} frames, frame {wrong} was asked for")
        return indices + first

    def _stretch(self, clip: Clip, frames: int | None) -> tuple[int, int]:
        """Return the first frame and the one after the last: those displayed from start_sec up to before end_sec.

        Args:
            clip: names the stretch, in seconds or in frames; what lies behind the file's end is left out.
            frames: of the whole file, where they are known.
        """
        if clip.by_frames or clip.stretch == (None, None):
            return self._stretch_by_frames(clip, frames)
        times = self._times(clip)
        tolerance = 1e-6  # times come in ticks of the container: 0.04 s may be stored as 0.0399999
        first = 0 if clip.start_sec is None else int(np.searchsorted(times, clip.start_sec - tolerance))
        stop = len(times) if clip.end_sec is None else int(np.searchsorted(times, clip.end_sec - tolerance))
        if stop <= first:
            where = f"{clip.start_sec or 0:g} s and {'its end' if clip.end_sec is None else f'{clip.end_sec:g} s'}"
            raise UnreadableVideoError(str(self._path(clip.path)), f"no frames between {where}")
        return first, stop

    def _stretch_by_frames(self, clip: Clip, frames: int | None) -> tuple[int, int]:
        frames = decode.probe(self._path(clip.path)).frames if frames is None else frames
        first, stop = clip.start_frame or 0, frames if clip.end_frame is None else min(clip.end_frame, frames)
        if clip.by_frames and stop <= first:
            end = "its end" if clip.end_frame is None else clip.end_frame
            raise UnreadableVideoError(str(self._path(clip.path)), f"no frames between frame {first} and {end}")
        return first, stop

    def _times(self, clip: Clip) -> np.ndarray:
        """Return when each frame of the file is displayed; a folder of pictures has the manifest's rate."""
        path = self._path(clip.path)
        if clip.fps and path.is_dir():
            return np.arange(decode.probe(path).frames) / clip.fps
        return decode.frame_times(path)
