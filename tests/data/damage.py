"""Videos damaged at random, as disks, downloads and malice damage them; and small files that ask for much."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from scenes import Film, film

CONTAINERS = {"a.mp4": "libx264", "b.avi": "mpeg4", "c.webm": "libvpx-vp9", "d.mkv": "libx264", "e.avi": "mjpeg"}


def write_good(folder: Path) -> list[bytes]:
    """Return the bytes of a sound file of each kind."""
    return [
        film(folder / name, seed, Film(codec, frames=24)).read_bytes()
        for seed, (name, codec) in enumerate(CONTAINERS.items())
    ]


def fuzzed(good: list[bytes], number: int) -> bytes:
    """Return a damaged file: bits flipped (in its header, or anywhere), an end cut off, or another's header before it.

    Args:
        good: sound files.
        number: decides which damage.
    """
    rng = np.random.default_rng(number)
    data = np.frombuffer(good[number % len(good)], np.uint8).copy()
    kind = number // len(good) % 5
    if kind == 0:
        return _flip(data, rng, len(data), int(rng.integers(1, 40)))
    if kind == 1:
        return _flip(data, rng, min(len(data), 1200), int(rng.integers(1, 12)))
    if kind == 2:
        return data[: rng.integers(1, len(data))].tobytes()
    if kind == 3:
        other = good[rng.integers(len(good))]
        length = int(rng.integers(8, 2000))
        return other[:length] + data.tobytes()[length:]
    start, stop = sorted(rng.integers(0, len(data), 2))
    return data[:start].tobytes() + rng.bytes(int(rng.integers(0, 300))) + data[stop:].tobytes()


def _flip(data: np.ndarray, rng: np.random.Generator, within: int, count: int) -> bytes:
    for position in rng.integers(0, within, count):
        data[position] ^= 1 << int(rng.integers(8))
    return data.tobytes()


def jpeg_bomb(folder: Path, side: int) -> bytes:
    """Return a Motion JPEG file of a few kilobytes whose headers, of the file and of each frame, name `side` pixels."""
    data = film(folder / "small.avi", 1, Film("mjpeg", frames=5)).read_bytes()
    big, little = side.to_bytes(2, "big") * 2, side.to_bytes(4, "little") * 2
    size = (96).to_bytes(2, "big") + (128).to_bytes(2, "big")
    frame_header = b"\xff\xc0\x00\x11\x08"
    data = data.replace(frame_header + size, frame_header + big)
    return data.replace((128).to_bytes(4, "little") + (96).to_bytes(4, "little"), little)


def h264_bomb(folder: Path, macroblocks: int) -> bytes:
    """Return an MPEG transport stream whose H.264 sequence header names frames of so many macroblocks each way."""
    path = folder / "bomb.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "threads": "1"}
        for number in range(5):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * number, np.uint8), format="rgb24")
            for packet in stream.encode(picture):
                container.mux(_with_header(packet, stream, _sequence_header(macroblocks)))
    return path.read_bytes()


def _with_header(packet: av.Packet, stream: av.VideoStream, header: bytes) -> av.Packet:
    """Return a packet with another sequence parameter set, where it has one."""
    start_code = b"\x00\x00\x01"
    units = [header if unit[:1] == b"\x67" else unit for unit in bytes(packet).split(start_code)]
    changed = av.Packet(start_code.join(units))
    changed.pts, changed.dts, changed.time_base, changed.stream = packet.pts, packet.dts, packet.time_base, stream
    changed.is_keyframe = packet.is_keyframe
    return changed


def _sequence_header(macroblocks: int) -> bytes:
    """Return a sequence parameter set (ITU-T H.264, section 7.3.2.1.1; baseline profile) without a start code."""
    bits = "".join(map(_exp_golomb, (0, 0, 2, 1))) + "0"  # identity, frame numbers, order, references, no gaps
    bits += _exp_golomb(macroblocks - 1) * 2 + "1" + "1" + "0" + "0"  # frames only, direct 8x8, no cropping, no VUI
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return b"\x67\x42\x00\x3e" + body


def _exp_golomb(value: int) -> str:
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits
