"""Small videos of a scene in which something moves; a scene can be filmed anew: encoded, scaled, cropped or cut."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import cv2
import numpy as np

FPS = 20
HEIGHT, WIDTH = 96, 128


@dataclasses.dataclass(frozen=True)
class Film:
    """How a scene is filmed: `crop` is the share of each side that is kept, `start` the first frame."""

    codec: str = "libx264"
    scale: float = 1.0
    crop: float = 1.0
    start: int = 0
    frames: int = 60
    quality: str = "23"


def film(path: Path, seed: int, how: Film = Film()) -> Path:
    """Write scene `seed`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(how.codec, rate=FPS)
        stream.height, stream.width = (int(side * how.scale) // 2 * 2 for side in (HEIGHT, WIDTH))
        stream.pix_fmt = "yuvj420p" if how.codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 20
        if how.codec == "libx264":
            stream.options = {"crf": how.quality, "preset": "veryfast", "threads": "1"}
        if how.codec == "libvpx-vp9":
            stream.options = {"deadline": "realtime", "cpu-used": "8"}
        if how.codec == "mpeg4":
            stream.bit_rate = 800_000
        for picture in _pictures(seed, how, (stream.width, stream.height)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _pictures(seed: int, how: Film, size: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    room = cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    speed, phase, radius = rng.uniform(0.05, 0.2, 2), rng.uniform(0, 6, 2), int(rng.integers(12, 20))
    rows, columns = (round(side * (1 - how.crop) / 2) for side in (HEIGHT, WIDTH))
    pictures = []
    for t in range(how.start, how.start + how.frames):
        x, y = np.array([WIDTH, HEIGHT]) * (0.5 + 0.4 * np.sin(speed * t + phase))
        picture = cv2.circle(room.copy(), (int(x), int(y)), radius, colour, -1)
        picture = picture[rows : HEIGHT - rows, columns : WIDTH - columns]
        pictures.append(np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)))
    return pictures
