"""What workers do to verify one file: functions by name, as `guarded.worker` asks for them.

A sound file is told as a document of facts, a bad one as an `UnreadableVideoError`. Pictures are made only of frames
that are hashed, so that a deep check costs little more than decoding.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np

from keras_actrec import files
from keras_actrec.data import boxes as box_files
from keras_actrec.data import decode, image_sequence, manifest, opencv_reader
from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.guarded.admission import check, check_claims
from keras_actrec.data.guarded.limits import Limits
from keras_actrec.data.manifest import Clip
from keras_actrec.data.orientation import Orientation, turned
from keras_actrec.data.source import VideoSource
from keras_actrec.data.verification import fingerprint
from keras_actrec.data.video_open import NO_DECODER
from keras_actrec.data.video_reader import VideoReader
from keras_actrec.errors import UnreadableVideoError

Thumbnails = dict[int, np.ndarray]

cv2.setNumThreads(1)  # a worker has one core to itself


@dataclasses.dataclass(frozen=True)
class _Looked:
    """What was found in a file: facts, when its frames are displayed, and the small pictures that are hashed."""

    info: VideoInfo
    times_sec: np.ndarray
    thumbnails: Thumbnails


def video(
    path: str, limits: Limits, deep: bool, digest: bool, hashes: bool, stretches: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return the facts of a video, or of a folder of pictures.

    Args:
        path: of the file.
        limits: on it.
        deep: decode every frame; else the first, the middle and the last.
        digest: give the SHA-256 of the file, too.
        hashes: give perceptual hashes, too.
        stretches: by a name of their own, fields of a `Clip` for the stretches of the file that clips name.

    Returns:
        frames, fps, width, height; "sha256"; "ends", hashes of the first, the middle and the last frame; "steps",
        hashes at even steps of time, of a deep check; "stretches", by name, a reason, None where it has frames.

    Raises:
        UnreadableVideoError: with the reason.
    """
    looked = _look(path, limits, deep, hashes)
    check(path, looked.info, limits)
    facts = {name: getattr(looked.info, name) for name in ("frames", "fps", "width", "height")}
    facts["sha256"] = files.sha256(path) if digest and Path(path).is_file() else None
    facts |= _hashes(looked, deep) if hashes else {"ends": None, "steps": None}
    facts["stretches"] = {name: _stretch(path, fields) for name, fields in stretches.items()}
    return facts


def boxes(path: str, limits: Limits, **_: Any) -> dict[str, Any]:
    """Return the number of boxes of a box file, as its `frames`.

    Raises:
        UnreadableVideoError: with the reason.
    """
    return {"frames": len(box_files.read(path))}


def _look(path: str, limits: Limits, deep: bool, hashes: bool) -> _Looked:
    if image_sequence.is_sequence(path):
        return _look_at_pictures(path, deep)
    try:
        return _look_at_video(path, limits, deep, hashes)
    except UnreadableVideoError as error:
        if error.reason != NO_DECODER:
            raise
    return _look_by_opencv(path, deep)


def _look_at_video(path: str, limits: Limits, deep: bool, hashes: bool) -> _Looked:
    def admit(container: av.container.InputContainer, stream: av.VideoStream) -> None:
        check_claims(path, container, stream, limits)

    try:
        with VideoReader(path, threads=1, admit=admit, checking=deep) as reader:
            index = reader.index
            hashed = _wanted(index.times_sec, deep and hashes)
            small, info, orientation = {}, None, Orientation()
            for i, frame in reader.frames(range(index.frames) if deep else hashed):
                if i in hashed:
                    info = info or decode.info_of(index, frame, orientation)
                    small[i] = _Small(fingerprint.halved(_luma(frame)), *orientation.of(frame))
            return _Looked(info, index.times_sec, _thumbnails(small))
    except av.FFmpegError as error:
        raise UnreadableVideoError(path, f"corrupt: {error.strerror}") from error


def _look_at_pictures(path: str, deep: bool) -> _Looked:
    height, width = image_sequence.size_of(path)
    info = VideoInfo(len(image_sequence.names(path)), manifest.RATE, width, height, 0)
    return _look_at_arrays(info, deep, lambda wanted: image_sequence.pictures(path, wanted))


def _look_by_opencv(path: str, deep: bool) -> _Looked:
    info = VideoInfo(*opencv_reader.probe(path))
    return _look_at_arrays(info, deep, lambda wanted: opencv_reader.frames(path, wanted))


def _look_at_arrays(info: VideoInfo, deep: bool, read: Any) -> _Looked:
    times_sec = np.arange(info.frames) / info.fps
    hashed = _wanted(times_sec, deep)
    pictures: Iterator[tuple[int, np.ndarray]] = read(range(info.frames) if deep else sorted(hashed))
    grey = ((i, cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)) for i, picture in pictures if i in hashed)
    return _Looked(info, times_sec, {i: fingerprint.thumbnails([picture])[0] for i, picture in grey})


def _ends(frames: int) -> list[int]:
    return [0, frames // 2, frames - 1]


def _wanted(times_sec: np.ndarray, deep: bool) -> set[int]:
    """Return the frames that are hashed; those are all that a check looks at unless it is deep."""
    return {*_ends(len(times_sec)), *(fingerprint.sampled(times_sec).tolist() if deep else ())}


def _hashes(looked: _Looked, deep: bool) -> dict[str, list[list[str | None]] | None]:
    spectra = fingerprint.spectra(np.stack(list(looked.thumbnails.values())))
    places = {i: place for place, i in enumerate(looked.thumbnails)}

    def of(numbers: Iterable[int]) -> list[list[str | None]]:
        return fingerprint.hashes(spectra[[places[int(i)] for i in numbers]])

    steps = of(fingerprint.sampled(looked.times_sec)) if deep else None
    return {"ends": of(_ends(looked.info.frames)), "steps": steps}


class _Small(NamedTuple):
    """The grey values of a frame, of a fraction of its size, and how they are made upright."""

    grey: np.ndarray
    turns: int
    mirrored: bool


def _thumbnails(small: dict[int, _Small]) -> Thumbnails:
    """Return the smallest pictures of frames, which are of several sizes where a stream changes its own."""
    found = {}
    for _, same in itertools.groupby(small, lambda i: small[i].grey.shape):
        numbers = list(same)
        pictures = fingerprint.thumbnails([small[i].grey for i in numbers])
        found |= {i: turned(picture, *small[i][1:]) for i, picture in zip(numbers, pictures, strict=True)}
    return found


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """Return the grey values of a frame, uint8 (H, W); where they lie in a plane of their own nothing is copied."""
    if _luma_apart(frame.format.name):
        plane = frame.planes[0]
        return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    return frame.reformat(format="gray", threads=1).to_ndarray()


@functools.cache
def _luma_apart(name: str) -> bool:
    """Whether pictures of a format have a plane of their own for 8 bit grey values."""
    kind = av.VideoFormat(name)
    return name.startswith("yuv") and kind.components[0].bits == 8 and kind.is_planar


def _stretch(path: str, fields: dict[str, Any]) -> str | None:
    try:
        VideoSource("").probe(Clip(**{**fields, "path": path}))
    except UnreadableVideoError as error:
        return error.reason
    return None
