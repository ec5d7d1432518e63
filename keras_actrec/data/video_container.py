"""What a video file says about itself, read from its bytes without a decoder.

Two questions are answered here, for the three families that collections are made of (MP4/MOV boxes, AVI chunks,
Matroska/WebM elements): is the file shorter than its own headers say, and why can FFmpeg not open it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MAX_PARTS = 1_000_000  # bounds the walk over a hostile file's parts
_FARTHEST = 1 << 40  # damaged lengths can lead farther than a file can be sought in
_MP4_TYPES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof")
_MP4_EXTRAS = (b"mfra", b"free", b"skip", b"wide", b"udta", b"uuid", b"meta")
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_CLUSTER = b"\x1f\x43\xb6\x75"
# RFC 9559, sections 5.1 and 27.1: what may stand in a segment and in a cluster.
_IN_BOTH = {b"\xec", b"\xbf"}  # padding and checksum
_IN_SEGMENT = _IN_BOTH | {
    bytes.fromhex(name)
    for name in ("114d9b74", "1549a966", "1654ae6b", "1f43b675", "1c53bb6b", "1254c367", "1941a469", "1043a770")
}
_IN_CLUSTER = _IN_BOTH | {bytes.fromhex(name) for name in ("e7", "a3", "a0", "ab", "a7", "5854", "af")}


def why_not_opened(path: Path) -> str:
    """Return the reason for a file that no demuxer accepts: "not a video", or what of the video is missing."""
    with path.open("rb") as file:
        head = file.read(12)
        boxes = list(_boxes(file)) if head[4:8] in _MP4_TYPES else []
    if not boxes and not _is_avi(head) and head[:4] != _EBML:
        return "not a video"
    size = path.stat().st_size
    if boxes and not any(name == b"moov" and end <= size for name, end in boxes):
        return "truncated: the index (moov) is lost"
    return "truncated: the header is incomplete" if is_cut(path) else "corrupt: the header is damaged"


def is_cut(path: Path) -> bool:
    """Return whether the file ends before the end that its own headers name (what is cut of extras is no loss)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in _MP4_TYPES:
            return any(end > size and name not in _MP4_EXTRAS for name, end in _boxes(file))
        if _is_avi(head):
            return any(end > size for _, end in _chunks(file))
        if head[:4] == _EBML:
            return any(end > size for _, _, end in _elements(file, 0))
    return False


def is_fragmented(path: Path) -> bool:
    """Return whether an MP4 file stores its index in pieces, so that no place in it names the whole length."""
    with path.open("rb") as file:
        return file.read(8)[4:] in _MP4_TYPES and any(name == b"moof" for name, _ in _boxes(file))


def is_broken_matroska(path: Path) -> bool:
    """Return whether the clusters of a Matroska file hold something that is none of their elements.

    The demuxer passes over such places in silence and goes on at the next cluster.
    """
    with path.open("rb") as file:
        if file.read(4) != _EBML:
            return False
        for name, start, end in _elements(file, 0):
            if name == _SEGMENT and not _is_sound_segment(file, start, end):
                return True
    return False


def _is_sound_segment(file: BinaryIO, start: int, end: int) -> bool:
    for name, inner_start, inner_end in _elements(file, start, end):
        if name not in _IN_SEGMENT or inner_end > end:
            return False
        if name == _CLUSTER and any(
            part not in _IN_CLUSTER or part_end > inner_end
            for part, _, part_end in _elements(file, inner_start, inner_end)
        ):
            return False
    return True


def _is_avi(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"AVI "


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield type and end of each top-level box (ISO/IEC 14496-12, section 4.2)."""
    start = 0
    for _ in range(_MAX_PARTS):
        file.seek(min(start, _FARTHEST))
        header = file.read(16)
        if not header:
            return
        if len(header) < 8:  # the file ends within a box's header
            yield b"", start + 8
            return
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # the box reaches to the end of the file
            length = file.seek(0, os.SEEK_END) - start
        if length < 8:
            return
        yield header[4:8], start + length
        start += length


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield name and end of each RIFF chunk at the top level; large AVI files have several."""
    start = 0
    for _ in range(_MAX_PARTS):
        file.seek(min(start, _FARTHEST))
        header = file.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length == 0:  # 0: the writer never came to fill it in
            return
        yield header[:4], start + 8 + length
        start += 8 + length + length % 2


def _elements(file: BinaryIO, start: int, stop: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield identifier, start of the content and end of each EBML element from `start` up to `stop`.

    One of unknown size (live recordings) ends the walk. Bytes that are no element are yielded as an empty identifier.
    """
    for _ in range(_MAX_PARTS):
        if stop is not None and start >= stop:
            return
        file.seek(min(start, _FARTHEST))
        header = file.read(12)
        if not header:
            return
        id_length = _vint_length(header[:1])
        size_length = _vint_length(header[id_length : id_length + 1])
        digits = header[id_length : id_length + size_length]
        if not 0 < id_length <= 4 or not size_length or len(digits) < size_length:
            yield b"", start, start
            return
        mask = (1 << 7 * size_length) - 1
        length = int.from_bytes(digits, "big") & mask
        if length == mask:
            return
        content = start + id_length + size_length
        start = content + length
        yield header[:id_length], content, start


def _vint_length(first: bytes) -> int:
    """Return the number of bytes of a variable-length number (RFC 8794, section 4), 0 for none."""
    return 9 - first[0].bit_length() if first and first[0] else 0
