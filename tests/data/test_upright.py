"""Videos are shown upright, whatever their display matrix does: turn, mirror, or both, as telephones write it."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from keras_actrec.data import decode

HEIGHT, WIDTH = 48, 64
CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
MATRICES = {
    "as it is": (1, 0, 0, 1),
    "turned by 90": (0, 1, -1, 0),
    "turned by 180": (-1, 0, 0, -1),
    "turned by 270": (0, -1, 1, 0),
    "mirrored left to right": (-1, 0, 0, 1),
    "mirrored top to bottom": (1, 0, 0, -1),
    "mirrored about the diagonal": (0, 1, 1, 0),
    "mirrored about the other diagonal": (0, -1, -1, 0),
}
"""a, b, c, d: x becomes a x + c y, y becomes b x + d y (ISO/IEC 14496-12, section 6.2.2)."""


def stored() -> np.ndarray:
    """A picture whose quarters tell where its corners are."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for number, colour in enumerate(CORNERS.values()):
        top, left = number // 2 * HEIGHT // 2, number % 2 * WIDTH // 2
        picture[top : top + HEIGHT // 2, left : left + WIDTH // 2] = colour
    return picture


def shown(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Move each pixel as the matrix says, and count places from the smallest."""
    a, b, c, d = matrix
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    out = np.empty((to_y.max() + 1, to_x.max() + 1, 3), np.uint8)
    out[to_y, to_x] = picture
    return out


def write(path: Path, matrix: tuple[int, int, int, int], codec: str = "libx264", pixels: str = "yuv420p") -> Path:
    """Write a video and put the matrix into the header of its track."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored(), format="rgb24")))
        container.mux(stream.encode(None))
    a, b, c, d = matrix
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    left, top = (min(0, a * WIDTH, c * HEIGHT), min(0, b * WIDTH, d * HEIGHT))
    fixed = [a << 16, b << 16, 0, c << 16, d << 16, 0, -left << 16, -top << 16, 1 << 30]
    content[place : place + 36] = struct.pack(">9i", *fixed)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", MATRICES)
def test_each_matrix_is_applied(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.mp4", MATRICES[name])
    expected = shown(stored(), MATRICES[name])
    (picture,) = decode.read_frames(path, [2])
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).mean() < 12
    info = decode.probe(path)
    assert (info.height, info.width) == expected.shape[:2]
    small = decode.read_frames(path, [2], size=24)[0]
    assert np.abs(small[4:-4:8, 4:-4:8].astype(int) - expected[8:-8:16, 8:-8:16]).mean() < 25


def test_a_telephones_ten_bit_hevc_is_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "IMG_0001.MOV", MATRICES["turned by 90"], "libx265", "yuv420p10le")
    expected = shown(stored(), MATRICES["turned by 90"])
    picture = decode.read_frames(path, [1])[0]
    assert picture.shape == expected.shape == (WIDTH, HEIGHT, 3)
    assert np.abs(picture.astype(int) - expected).mean() < 15
