"""What workers do for a `GuardedSource`: functions by name, on one file, as `guarded.worker` asks for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from keras_actrec.data.guarded.admission import admit, check
from keras_actrec.data.guarded.limits import Limits
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource

cv2.setNumThreads(1)  # a worker has one core to itself


def probe(path: str, limits: Limits, source: dict[str, Any], clip: dict[str, Any]) -> dict[str, Any]:
    """Return what a clip holds, as the fields of a `VideoInfo`.

    Args:
        path: of the clip's file.
        limits: on the file as a whole.
        source: fields of the `VideoSource`.
        clip: fields of the `Clip`.
    """
    admit(path, limits)
    whole = dataclasses.replace(Clip(**clip), start_sec=None, end_sec=None, start_frame=None, end_frame=None)
    videos = VideoSource(**source)
    check(path, videos.probe(whole), limits)
    return dataclasses.asdict(videos.probe(Clip(**clip)))


def read(
    path: str,
    limits: Limits,
    source: dict[str, Any],
    clip: dict[str, Any],
    size: int | list[int] | None,
    modality: str,
    arrays: list[np.ndarray],
) -> tuple[None, list[np.ndarray]]:
    """Return frames of a clip, uint8 (T, H, W, C); which ones stands in the first array.

    Args:
        path: of the clip's file.
        limits: on the file as a whole.
        source: fields of the `VideoSource`.
        clip: fields of the `Clip`.
        size: see `decode.read_frames`.
        modality: "rgb" or "depth".
        arrays: numbers of frames, int64 (T,).
    """
    probe(path, limits, source, clip)
    size = tuple(size) if isinstance(size, list) else size
    return None, [VideoSource(**source).read(Clip(**clip), arrays[0], size, modality)]


def boxes(path: str, limits: Limits, source: dict[str, Any], clip: dict[str, Any]) -> tuple[None, list[np.ndarray]]:
    """Return the person boxes of a clip, float64 (n, 4). The arguments are those of `probe`."""
    admit(path, limits)
    return None, [VideoSource(**source).boxes(Clip(**clip))]
