"""Tiny videos and folders of pictures whose brightness tells the number of the frame, to build collections from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np

HEIGHT, WIDTH = 24, 32
_CODECS = {".avi": "mpeg4", ".mp4": "libx264", ".webm": "libvpx"}


def brightness(number: int) -> int:
    return 20 + 8 * number


def number_of(frame: np.ndarray) -> int:
    """The number of the frame that a picture of `video` or `pictures` shows."""
    return round((float(frame.mean()) - 20) / 8)


def video(path: Path, frames: int = 12, rate: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(_CODECS[path.suffix.lower()], rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(frames):
            picture = np.full((HEIGHT, WIDTH, 3), brightness(i), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def pictures(folder: Path, frames: int = 12, name: str = "frame_{:010d}.jpg", first: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(frames):
        cv2.imwrite(str(folder / name.format(first + i)), np.full((HEIGHT, WIDTH, 3), brightness(i), np.uint8))
    return folder


def depth_maps(folder: Path, depths_mm: Iterable[int], name: str = "MDepth-{:08d}.png") -> Path:
    """16 bit PNGs, each of one depth, with a column of zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, depth in enumerate(depths_mm):
        picture = np.full((20, 30), depth, np.uint16)
        picture[:, 0] = 0
        cv2.imwrite(str(folder / name.format(i)), picture)
    return folder


def document(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def lines(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
    return path
