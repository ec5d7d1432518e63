"""A folder of pictures as a video: frame i is the i-th JPEG or PNG in natural order.

That is, `frame_9.jpg` comes before `frame_10.jpg`; other files of the folder do not count. Nothing tells the frame
rate; `manifest.RATE` is taken unless the manifest names one. Pictures of 16 bits and one channel are depth in
millimetres (`MDepth-00000000.png` of NTU RGB+D) and become uint8: the nearest distance of a range is 255 and the
farthest 1, linearly in between, what is nearer or farther is clipped, and 0 (nothing was measured, or masked out) stays
0. So bright is near, as in the depth videos of `stick-actions`.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from keras_actrec.errors import UnreadableVideoError

Range = tuple[float, float]
DEPTH_RANGE_MM: Range = (500.0, 4500.0)
"""What a Kinect v2 measures."""
SUFFIXES = (".jpg", ".jpeg", ".png")
_LEVELS = 254
_NUMBERED = re.compile(r"(.*?)(\d+)(\.\w+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class _Numbered(Sequence[str]):
    """The names `prefix0001.jpg`, `prefix0002.jpg`, ...: a folder of an hour holds 200 000 of them."""

    prefix: str
    first: int
    digits: int
    suffix: str
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return f"{self.prefix}{self.first + index:0{self.digits}d}{self.suffix}"


def is_sequence(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder that holds pictures."""
    return Path(path).is_dir() and bool(names(path))


def names(path: str | os.PathLike[str]) -> Sequence[str]:
    """Return the names of a folder's pictures in natural order."""
    return _names(*_version(path))


def size_of(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return height and width of the first picture.

    Raises:
        UnreadableVideoError: it cannot be decoded.
    """
    return _size(*_version(path))


def pictures(
    path: str | os.PathLike[str], wanted: Iterable[int], depth_range_mm: Range = DEPTH_RANGE_MM
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and picture, uint8 (H, W, 3) RGB, of each wanted frame once, in order.

    Args:
        path: the folder.
        wanted: numbers of frames, from 0.
        depth_range_mm: nearest and farthest distance that 16 bit depth is mapped from.

    Raises:
        UnreadableVideoError: a picture cannot be decoded; names it.
    """
    there = names(path)
    for i in sorted(set(wanted)):
        yield i, _read(path, i, there[i], depth_range_mm)


def grey_of_depth(depth_mm: np.ndarray, depth_range_mm: Range = DEPTH_RANGE_MM) -> np.ndarray:
    """Map depth to grey values: 0 stays 0, else 1 + 254 (far - d) / (far - near), rounded, d clipped to the range.

    Args:
        depth_mm: uint16, any shape.
        depth_range_mm: near and far.

    Returns:
        uint8 of the same shape.
    """
    return _table(*depth_range_mm)[depth_mm]


@functools.lru_cache(maxsize=8)
def _table(near: float, far: float) -> np.ndarray:
    distances = np.clip(np.arange(1 << 16), near, far)
    table = 1 + np.rint(_LEVELS * (far - distances) / (far - near))
    table[0] = 0
    return table.astype(np.uint8)


def _version(path: str | os.PathLike[str]) -> tuple[Path, int]:
    """Return a folder and when it changed: what is known of it is known of that version."""
    folder = Path(path).absolute()
    return folder, folder.stat().st_mtime_ns


@functools.lru_cache(maxsize=1 << 16)
def _size(folder: Path, changed_ns: int) -> tuple[int, int]:
    picture = _read(folder, 0, _names(folder, changed_ns)[0], DEPTH_RANGE_MM)
    return picture.shape[0], picture.shape[1]


@functools.lru_cache(maxsize=4096)
def _names(folder: Path, changed_ns: int) -> Sequence[str]:
    """List a folder; again when it has changed."""
    with os.scandir(folder) as entries:
        found = [entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES) and entry.name[0] != "."]
    found.sort(key=_natural)
    return _short(found) or tuple(found)


def _natural(name: str) -> tuple[list[tuple[str, int]], str]:
    parts = re.findall(r"(\D*)(\d*)", name)
    return [(text, int(number or -1)) for text, number in parts], name


def _short(found: Sequence[str]) -> _Numbered | None:
    """Return the names as numbers of one pattern, when they are that without a gap."""
    match = _NUMBERED.fullmatch(found[0]) if found else None
    if not match:
        return None
    numbered = _Numbered(match[1], int(match[2]), len(match[2]), match[3], len(found))
    return numbered if all(map(str.__eq__, numbered, found)) else None


def _read(path: str | os.PathLike[str], number: int, name: str, depth_range_mm: Range) -> np.ndarray:
    """Return uint8 (H, W, 3), RGB; a picture without colours has three equal channels."""
    try:
        data = np.fromfile(Path(path) / name, np.uint8)
    except OSError as error:
        raise UnreadableVideoError(str(path), f"cannot be opened: {name}: {error.strerror}") from None
    picture = cv2.imdecode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR) if data.size else None
    if picture is None:
        raise UnreadableVideoError(str(path), f"corrupt: frame {number} ({name}) cannot be decoded")
    if picture.dtype == np.uint16:
        picture = grey_of_depth(picture, depth_range_mm) if picture.ndim == 2 else (picture >> 8).astype(np.uint8)
    return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_BGR2RGB)
