"""What a packet's first bytes tell about its picture, without decoding it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

VOP = b"\x00\x00\x01\xb6"
"""Start code of an MPEG-4 picture (ISO/IEC 14496-2, table 6-3)."""

_SLICES = frozenset({1, 2, 3, 4})
_HARMLESS = frozenset({6, 9, 12})  # supplemental information, delimiter, filler: not needed by other pictures


def droppable(codec: str, extradata: bytes | None) -> Callable[[Any], bool]:
    """Return a test whether a packet holds only a picture that no other picture is predicted from.

    It knows H.264 and MPEG-4 and says no for everything else. A packet may be anything with the buffer protocol.
    """
    if codec == "h264":
        prefix = (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0
        return lambda packet: _is_droppable_h264(memoryview(packet), prefix)
    if codec == "mpeg4":
        return lambda packet: _is_droppable_mpeg4(bytes(packet))
    return lambda packet: False


def _is_droppable_h264(data: memoryview, prefix: int) -> bool:
    """ITU-T H.264, section 7.4.1: nal_ref_idc is 0 in pictures without successors. Parameter sets must be kept."""
    headers = list(_length_prefixed(data, prefix) if prefix else _start_coded(bytes(data)))
    kinds = {header & 31 for header in headers}
    referred = any(header & 96 for header in headers if header & 31 in _SLICES)
    return bool(kinds & _SLICES) and kinds <= _SLICES | _HARMLESS and not referred


def _length_prefixed(data: memoryview, prefix: int) -> Iterator[int]:
    """Yield the first byte of each unit, as MP4 and Matroska store them."""
    place = 0
    while place + prefix < len(data):
        yield data[place + prefix]
        place += prefix + int.from_bytes(data[place : place + prefix], "big")


def _start_coded(data: bytes) -> Iterator[int]:
    """Yield the first byte of each unit, as transport streams and AVI store them (annex B)."""
    place = data.find(b"\x00\x00\x01")
    while 0 <= place < len(data) - 3:
        yield data[place + 3]
        place = data.find(b"\x00\x00\x01", place + 3)


def _is_droppable_mpeg4(data: bytes) -> bool:
    """vop_coding_type 2 is a B picture (ISO/IEC 14496-2, table 6-20); MPEG-4 never predicts from those."""
    place = data.find(VOP)
    return place >= 0 and len(data) > place + 4 and data[place + 4] >> 6 == 2
