"""One clip of the prepared cache as a `tf.train.Example`: all of its frames as JPEG.

Features, in this order: `path` (bytes, 1), `span_sec` (float, 2: start and end within the file, -1 where there is
none), `fps` (float, 1), `frames/table` (bytes, 1: uint32 (T, 2), little endian: length and zlib CRC-32 of each JPEG),
`depth/table` where the clip has depth, then `frames` (bytes, T: RGB JPEGs) and `depth` (bytes, T: grey JPEGs). The
tables stand in front, so that a reader takes the head of a record and then the wanted frames alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

from keras_actrec.data import tfrecord
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError

Read = Callable[[int, int], bytes]
Size = int | tuple[int, int] | None
_CHANNELS = {"rgb": 3, "depth": 1}
_REDUCED = {
    "rgb": {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2},
    "depth": {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2},
}
_WHOLE = {"rgb": cv2.IMREAD_COLOR, "depth": cv2.IMREAD_GRAYSCALE}
_KEYS = {"rgb": "frames", "depth": "depth"}


def encode(clip: Clip, fps: float, frames: Sequence[bytes], depth: Sequence[bytes] = ()) -> bytes:
    """Return the `Example` of a clip.

    Args:
        clip: its row of the manifest.
        fps: frames per second of what is stored.
        frames: T JPEGs.
        depth: T grey JPEGs, or none.
    """
    span = [-1.0 if bound is None else float(bound) for bound in clip.span_sec]
    stored = {_KEYS[name]: jpegs for name, jpegs in (("rgb", frames), ("depth", depth)) if jpegs}
    return tfrecord.encode_example(
        {
            "path": [clip.path.encode()],
            "span_sec": span,
            "fps": [float(fps)],
            **{f"{key}/table": [_table(jpegs)] for key, jpegs in stored.items()},
            **stored,
        }
    )


def _table(jpegs: Sequence[bytes]) -> bytes:
    return np.array([(len(jpeg), zlib.crc32(jpeg)) for jpeg in jpegs], "<u4").tobytes()


def encode_jpegs(frames: Iterable[np.ndarray], quality: int) -> list[bytes]:
    """Return JPEGs of uint8 frames (H, W, 3) RGB or (H, W, 1)."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    jpegs = []
    for frame in frames:
        image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) if frame.shape[-1] == 3 else frame
        jpegs.append(cv2.imencode(".jpg", image, settings)[1].tobytes())
    return jpegs


def decode(read: Read, head: int, start: int, path: str, indices: np.ndarray, size: Size, modality: str) -> np.ndarray:
    """Return the frames at `indices` of a clip.

    Args:
        read: gives the bytes of the clip's `Example` from a position on, so many of them.
        head: length of what stands before the frames.
        start: where the modality's frames begin.
        path: the clip's path, which the record must name.
        indices: int (T,), in any order; repeated ones are decoded once.
        size: height and width, or the shorter side (aspect kept), in pixels; None keeps the stored ones.
        modality: "rgb" or "depth".

    Returns:
        uint8 (T, H, W, 3) RGB, or (T, H, W, 1) for depth.

    Raises:
        UserError: the record is damaged or is another clip's.
    """
    features = tfrecord.decode_example(read(0, head))
    if tfrecord.bytes_list(features["path"]) != [path.encode()]:
        raise UserError("it belongs to another clip")
    (table,) = tfrecord.bytes_list(features[f"{_KEYS[modality]}/table"])
    lengths, sums = np.frombuffer(table, "<u4").reshape(-1, 2).astype(np.int64).T
    starts = start + tfrecord.bytes_offsets(lengths)
    wanted, places = np.unique(indices, return_inverse=True)
    images: np.ndarray | None = None
    for row, index in enumerate(wanted):
        jpeg = read(int(starts[index]), int(lengths[index]))
        if zlib.crc32(jpeg) != sums[index]:
            raise UserError(f"the checksum of frame {index} does not fit")
        image = _decode_jpeg(jpeg, size, modality)
        if images is None:
            images = np.empty((len(wanted), *image.shape[:2], _CHANNELS[modality]), np.uint8)
        _store(image, images[row])
    return images if np.array_equal(wanted, indices) else images[places]


def _store(image: np.ndarray, target: np.ndarray) -> None:
    if target.shape[2] == 3:
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=target)
    else:
        target[..., 0] = image


def _decode_jpeg(jpeg: bytes, wanted: Size, modality: str) -> np.ndarray:
    """Return BGR (H, W, 3) or grey (H, W).

    Decodes at a half, quarter or eighth where that is enough, so that most of the decoder's work is left out.
    """
    data = np.frombuffer(jpeg, np.uint8)
    flag, size = _WHOLE[modality], None
    if wanted is not None:
        height, width = jpeg_size(jpeg)
        size = _target_size(height, width, wanted)
        fitting = [
            part for part in _REDUCED[modality] if -(-height // part) >= size[0] and -(-width // part) >= size[1]
        ]
        flag = _REDUCED[modality][fitting[0]] if fitting else flag
    image = cv2.imdecode(data, flag)
    if image is None:
        raise UserError("a frame is no JPEG")
    if size is not None and image.shape[:2] != size:
        # Up to a factor of two, bilinear weights cover nearly all pixels, at an eighth of the cost of area averages.
        shrink = max(image.shape[0] / size[0], image.shape[1] / size[1])
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrink > 2 else cv2.INTER_LINEAR)
    return image


def _target_size(height: int, width: int, size: int | tuple[int, int]) -> tuple[int, int]:
    if not isinstance(size, int | np.integer):
        return (int(size[0]), int(size[1]))
    scale = size / min(height, width)
    return (max(1, round(height * scale)), max(1, round(width * scale)))


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Return height and width from a JPEG's start-of-frame segment."""
    position = 2
    while position + 9 <= len(jpeg):
        marker = jpeg[position + 1]
        if marker in (0xC0, 0xC1, 0xC2):
            height, width = jpeg[position + 5 : position + 7], jpeg[position + 7 : position + 9]
            return int.from_bytes(height, "big"), int.from_bytes(width, "big")
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    raise UserError("a frame is no JPEG")
