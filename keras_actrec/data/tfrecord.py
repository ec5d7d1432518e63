"""TFRecord framing and `tf.train.Example` payloads, without TensorFlow.

A record is: length (uint64, little endian), masked CRC-32C of these eight bytes, the payload, masked CRC-32C of the
payload. The payload is a `tf.train.Example` in protobuf's wire format, of which only what the prepared cache needs is
written: lists of bytes and of floats. `tf.data.TFRecordDataset` and `tf.io.parse_single_example` read it.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from keras_actrec.errors import UserError

HEADER = 12
"""Bytes before a payload."""
FOOTER = 4
"""Bytes after a payload."""

_POLYNOMIAL = 0x82F63B78
_LANES = 1024
_Value = Sequence[bytes] | Sequence[float]


def frame(payload: bytes) -> bytes:
    """Return the record that holds a payload."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _masked(length), payload, _masked(payload)))


def payload_length(header: bytes | memoryview) -> int:
    """Return the payload's length from the first `HEADER` bytes of a record.

    Raises:
        UserError: the header's checksum does not fit.
    """
    header = memoryview(header)[:HEADER]
    if len(header) < HEADER or bytes(header[8:]) != _masked(header[:8]):
        raise UserError("the record's header does not check")
    return struct.unpack("<Q", header[:8])[0]


def payload(record: bytes | memoryview) -> memoryview:
    """Return the payload of one whole record.

    Raises:
        UserError: the record is cut short or changed.
    """
    record = memoryview(record)
    length = payload_length(record)
    if len(record) != HEADER + length + FOOTER:
        raise UserError(f"{length} bytes were announced, {len(record) - HEADER - FOOTER} are there")
    body = record[HEADER : HEADER + length]
    if bytes(record[HEADER + length :]) != _masked(body):
        raise UserError("the record's checksum does not fit")
    return body


def encode_example(features: Mapping[str, _Value]) -> bytes:
    """Return the wire format of a `tf.train.Example`, features in the order given."""
    entries = (_field(1, _field(1, name.encode()) + _field(2, _feature(value))) for name, value in features.items())
    return _field(1, b"".join(entries))


def decode_example(data: bytes | memoryview) -> dict[str, memoryview]:
    """Return name -> raw list of the features of an `Example`; nothing is copied.

    `data` may be the beginning of an `Example`: features that it does not hold whole are left out.
    """
    data = memoryview(data)
    return {name: data[start:stop] for name, (start, stop) in spans(data).items()}


def spans(data: bytes | memoryview) -> dict[str, tuple[int, int]]:
    """Return name -> start and stop of the raw list of the features of an `Example` (see `decode_example`)."""
    data = memoryview(data)
    found: dict[str, tuple[int, int]] = {}
    for _, start, stop in _fields(data, 0, len(data)):
        for _, first, last in _fields(data, start, stop):
            if last > len(data):
                return found
            parts = {number: span for number, *span in _fields(data, first, last)}
            (_, *span) = next(_fields(data, *parts[2]))
            found[bytes(data[slice(*parts[1])]).decode()] = (span[0], span[1])
    return found


def bytes_list(raw: memoryview) -> list[memoryview]:
    """Return the elements of a raw list of bytes."""
    return [raw[start:stop] for _, start, stop in _fields(raw, 0, len(raw))]


def bytes_offsets(lengths: np.ndarray) -> np.ndarray:
    """Return where the elements of a raw list of bytes begin, given their lengths (N,)."""
    sizes = 2 + sum((lengths >= 1 << bits).astype(np.int64) for bits in (7, 14, 21, 28))
    return np.cumsum(sizes + lengths) - lengths


def crc32c(data: bytes | memoryview) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes.

    A CRC is linear, so the bytes are cut into lanes that NumPy works on side by side; the lanes' sums are then joined
    pairwise. About 100 times faster than a loop over bytes, and no compiled dependency.
    """
    values = np.frombuffer(data, np.uint8)
    if len(values) < 4 * _LANES:
        return _crc_bytes(values, 0xFFFFFFFF) ^ 0xFFFFFFFF
    words = -(-len(values) // (4 * _LANES))
    padded = np.zeros(words * 4 * _LANES, np.uint8)
    start = len(padded) - len(values)
    padded[start:] = values
    # Starting with all ones equals starting with zeros and inverting the first four bytes.
    padded[start : start + 4] ^= 0xFF
    return _join(_crc_lanes(padded.view("<u4").reshape(_LANES, words)), 4 * words) ^ 0xFFFFFFFF


def _masked(data: bytes | memoryview) -> bytes:
    """Return TFRecord's mask of a CRC: rotated right by 15 bits plus a constant."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _tables() -> np.ndarray:
    """Return uint32 (4, 256): the effect of a byte that 0 to 3 more bytes follow."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    tables = [table]
    for _ in range(3):
        tables.append(table[tables[-1] & 0xFF] ^ tables[-1] >> 8)
    return np.stack(tables)


def _crc_bytes(values: np.ndarray, state: int) -> int:
    table = _byte_table()
    for value in values.tolist():
        state = table[(state ^ value) & 0xFF] ^ state >> 8
    return state


@functools.cache
def _byte_table() -> list[int]:
    return _tables()[0].tolist()


def _crc_lanes(words: np.ndarray) -> np.ndarray:
    """Return the plain CRC (start 0, not inverted) of each lane; `words` is uint32 (lanes, words)."""
    tables = _tables()
    state = np.zeros(len(words), np.uint32)
    for column in np.ascontiguousarray(words.T):
        state ^= column
        state = _four_bytes(tables, state)
    return state


def _four_bytes(tables: np.ndarray, state: np.ndarray) -> np.ndarray:
    joined = tables[3][state & 0xFF] ^ tables[2][state >> 8 & 0xFF]
    return joined ^ tables[1][state >> 16 & 0xFF] ^ tables[0][state >> 24]


def _join(states: np.ndarray, lane_bytes: int) -> int:
    """Return the CRC of the lanes put one after the other."""
    shift = _zeros_operator(lane_bytes)
    while len(states) > 1:
        left, right = states[0::2], states[1::2]
        states = _apply(shift, left) ^ right
        shift = _apply(shift, shift)
    return int(states[0])


def _zeros_operator(count: int) -> np.ndarray:
    """Return uint32 (32,): what each bit of a state becomes after `count` (a multiple of 4) zero bytes."""
    power = _four_bytes(_tables(), np.uint32(1) << np.arange(32, dtype=np.uint32))
    result = np.uint32(1) << np.arange(32, dtype=np.uint32)
    count //= 4
    while count:
        if count & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        count >>= 1
    return result


def _apply(operator: np.ndarray, states: np.ndarray) -> np.ndarray:
    bits = states[:, None] >> np.arange(32, dtype=np.uint32) & np.uint32(1)
    return np.bitwise_xor.reduce(np.where(bits, operator, np.uint32(0)), axis=1)


def _feature(value: _Value) -> bytes:
    if all(isinstance(item, bytes) for item in value):
        return _field(1, b"".join(_field(1, item) for item in value))
    return _field(2, _field(1, struct.pack(f"<{len(value)}f", *value)))


def _field(number: int, content: bytes) -> bytes:
    return b"".join((_varint(number << 3 | 2), _varint(len(content)), content))


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _fields(data: memoryview, position: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and stop of the length-delimited fields of the message that lies within two positions.

    A field may reach beyond the data, not beyond its message.
    """
    while position < min(stop, len(data)):
        key, position = _read_varint(data, position)
        length, position = _read_varint(data, position)
        if key & 7 != 2:
            raise UserError("this is no tf.train.Example")
        yield key >> 3, position, position + length
        position += length


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
    raise UserError("it ends within a number")
