"""TFRecord framing and examples without TensorFlow, against published numbers and TensorFlow itself."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_actrec.data import tfrecord
from keras_actrec.errors import UserError

FEATURES = {"path": [b"a/b.mp4"], "many": [b"", b"x" * 127, b"y" * 128, b"z" * 20000]}


def test_crc_of_the_standard() -> None:
    """RFC 3720, appendix B.4, and the check value of CRC-32C."""
    assert tfrecord.crc32c(b"123456789") == 0xE3069283
    assert tfrecord.crc32c(bytes(32)) == 0x8A9136AA
    assert tfrecord.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert tfrecord.crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 8192, 70001])
def test_lanes_and_bytes_agree(length: int) -> None:
    data = np.random.default_rng(length).bytes(length)
    by_bytes = tfrecord._crc_bytes(np.frombuffer(data, np.uint8), 0xFFFFFFFF) ^ 0xFFFFFFFF
    assert tfrecord.crc32c(data) == by_bytes


def test_a_record_comes_back() -> None:
    record = tfrecord.frame(b"hello" * 3000)
    assert bytes(tfrecord.payload(record)) == b"hello" * 3000


@pytest.mark.parametrize("place", [0, 9, 20, -6, -1])
def test_a_changed_byte_is_seen(place: int) -> None:
    record = bytearray(tfrecord.frame(b"hello" * 3000))
    record[place] ^= 4
    with pytest.raises(UserError):
        tfrecord.payload(bytes(record))


def test_a_cut_record_is_seen() -> None:
    record = tfrecord.frame(b"hello" * 3000)
    for length in (0, 5, 12, 17, len(record) - 1):
        with pytest.raises(UserError):
            tfrecord.payload(record[:length])


def test_examples_come_back() -> None:
    features = tfrecord.decode_example(tfrecord.encode_example(FEATURES))
    assert [bytes(item) for item in tfrecord.bytes_list(features["many"])] == FEATURES["many"]
    assert "path" in features


def test_the_head_of_an_example_gives_what_it_holds() -> None:
    example = tfrecord.encode_example(FEATURES)
    start, stop = tfrecord.spans(example)["many"]
    assert bytes(tfrecord.decode_example(example)["many"]) == example[start:stop]
    head = tfrecord.decode_example(example[:start])
    assert [bytes(item) for item in tfrecord.bytes_list(head["path"])] == FEATURES["path"] and "many" not in head


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_any_example_comes_back(items: list[bytes]) -> None:
    raw, lengths = (
        tfrecord.decode_example(tfrecord.encode_example({"b": [b"", *items]}))["b"],
        np.array([0, *map(len, items)]),
    )
    starts = tfrecord.bytes_offsets(lengths)
    assert [bytes(raw[start : start + length]) for start, length in zip(starts, lengths, strict=True)] == [b"", *items]


def test_offsets_of_long_items() -> None:
    items = [bytes(length) for length in (0, 127, 128, 16383, 16384, 2097151, 2097152)]
    raw = tfrecord.decode_example(tfrecord.encode_example({"b": items}))["b"]
    ends = tfrecord.bytes_offsets(np.array([len(item) for item in items])) + [len(item) for item in items]
    assert ends[-1] == len(raw) and len(tfrecord.bytes_list(raw)) == len(items)


@given(st.binary(max_size=200))
def test_garbage_is_refused_not_followed(data: bytes) -> None:
    with contextlib.suppress(UserError, LookupError, StopIteration, ValueError):
        tfrecord.decode_example(data)


def test_tensorflow_reads_what_we_write_and_writes_the_same(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    features = {**FEATURES, "fps": [29.97, 0.5]}
    payload = tfrecord.encode_example(features)
    path = tmp_path / "ours.tfrecord"
    path.write_bytes(tfrecord.frame(payload) + tfrecord.frame(b"second" * 2000))
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    assert records == [payload, b"second" * 2000]

    example = tf.train.Example.FromString(records[0]).features.feature
    assert list(example["many"].bytes_list.value) == FEATURES["many"]
    assert list(example["fps"].float_list.value) == pytest.approx(features["fps"])

    with tf.io.TFRecordWriter(str(tmp_path / "theirs.tfrecord")) as writer:
        for record in records:
            writer.write(record)
    assert (tmp_path / "theirs.tfrecord").read_bytes() == path.read_bytes()
