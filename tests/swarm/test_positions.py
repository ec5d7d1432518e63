"""Positions as files: what is written is read, by us and by safetensors; what is not whole is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from keras_actrec.errors import UserError
from keras_actrec.swarm import positions
from keras_actrec.swarm.positions import (
    BLOCK,
    UNFINISHED,
    BlockDigests,
    DamagedPositionError,
    Draft,
    combine,
    create,
    digest_of,
    open_position,
    write,
)

SIZES = [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3]


def vector(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size, np.float32)


def expected_digest(array: np.ndarray) -> str:
    """The definition, from bytes."""
    data = array.astype("<f4").tobytes()
    blocks = [data[start : start + 4 * BLOCK] for start in range(0, len(data), 4 * BLOCK)]
    return xxhash.xxh3_128(b"".join(xxhash.xxh3_128(block).digest() for block in blocks)).hexdigest()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_read(tmp_path: Path, size: int) -> None:
    path, array = tmp_path / "p.safetensors", vector(size)
    digest = write(path, [array], size, {"round": 3})
    position = open_position(path)
    position.verify()
    assert digest == position.digest == digest_of(array) == expected_digest(array)
    assert position.notes == {"round": 3}
    assert position.array.dtype == np.float32
    assert np.array_equal(position.array, array)
    assert position.offset % 4096 == 0


def test_safetensors_reads_it(tmp_path: Path) -> None:
    array = vector(1000)
    write(tmp_path / "p.safetensors", [array], 1000, {"name": "é" * 5000})
    found = load_file(tmp_path / "p.safetensors")
    assert list(found) == ["position"]
    assert np.array_equal(found["position"], array)


def test_a_position_cannot_be_written_to(tmp_path: Path) -> None:
    write(tmp_path / "p.safetensors", [vector(5)], 5)
    with pytest.raises(ValueError, match="read-only"):
        open_position(tmp_path / "p.safetensors").array[0] = 1


@given(st.lists(st.integers(0, 2 * BLOCK // 3), min_size=1, max_size=6).filter(any))
@settings(max_examples=25, deadline=None)
def test_digest_does_not_depend_on_how_a_vector_is_cut(lengths: list[int]) -> None:
    array = np.arange(sum(lengths), dtype=np.float32)
    blocks = BlockDigests()
    for part in np.split(array, np.cumsum(lengths)[:-1]):
        blocks.update(part)
    assert combine(blocks.all()) == expected_digest(array)


def test_parts_may_have_any_shape_type_and_layout(tmp_path: Path) -> None:
    parts = [np.arange(12, dtype=np.float64).reshape(3, 4).T, np.float32(7), np.zeros((2, 0)), np.arange(8.0)[::2]]
    write(tmp_path / "p.safetensors", parts, 17)
    expected = np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)
    assert np.array_equal(open_position(tmp_path / "p.safetensors").array, expected)


@pytest.mark.parametrize("lengths", [[3], [3, 3], [6], []])
def test_parts_of_another_size_are_refused_and_nothing_is_published(tmp_path: Path, lengths: list[int]) -> None:
    with pytest.raises(UserError, match="expected 5 weights, got"):
        write(tmp_path / "p.safetensors", [vector(length) for length in lengths], 5)
    assert list(tmp_path.iterdir()) == []


def test_a_position_has_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one weight, got 0"):
        write(tmp_path / "p.safetensors", [], 0)


@pytest.mark.parametrize("size", SIZES)
def test_a_draft_is_filled_in_any_order(tmp_path: Path, size: int) -> None:
    array = vector(size)
    spans = [(start, min(start + 50_000, size)) for start in range(0, size, 50_000)]
    with create(tmp_path / "p.safetensors", size) as draft:
        for start, stop in reversed(spans):
            draft.write(start, array[start:stop])
    position = open_position(tmp_path / "p.safetensors")
    position.verify()
    assert np.array_equal(position.array, array)
    assert position.digest == draft.digest == expected_digest(array)


def test_a_draft_has_an_array(tmp_path: Path) -> None:
    array = vector(BLOCK + 5)
    with create(tmp_path / "p.safetensors", len(array)) as draft:
        draft.array[:] = array
    open_position(tmp_path / "p.safetensors").verify()
    memory = Draft(len(array))
    memory.write(0, array)
    assert memory.finish() == open_position(tmp_path / "p.safetensors").digest


def test_known_block_digests_are_believed_and_a_wrong_one_is_found_out(tmp_path: Path) -> None:
    array = vector(BLOCK + 5)
    blocks = [xxhash.xxh3_128_digest(array[:BLOCK]), xxhash.xxh3_128_digest(array[BLOCK:])]
    for name, digests in (("right", blocks), ("wrong", blocks[::-1])):
        with create(tmp_path / f"{name}.safetensors", len(array)) as draft:
            draft.write(0, array)
            draft.finish(digests)
    open_position(tmp_path / "right.safetensors").verify()
    with pytest.raises(DamagedPositionError, match="checksum"):
        open_position(tmp_path / "wrong.safetensors").verify()


def test_an_error_while_drafting_publishes_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write(path, [vector(5)], 5)
    with pytest.raises(RuntimeError, match="on purpose"), create(path, 5) as draft:
        draft.write(0, vector(5, seed=1))
        raise RuntimeError("on purpose")
    assert list(tmp_path.iterdir()) == [path]
    assert np.array_equal(open_position(path).array, vector(5))


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a position file at .*none\.safetensors"):
        open_position(tmp_path / "none.safetensors")


def test_each_truncation_is_found(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write(path, [vector(3)], 3)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 37), *range(len(whole) - 13, len(whole)), 7, 8, 9}:
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedPositionError, match="not a whole position file"):
            open_position(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedPositionError, match="1 bytes too many"):
        open_position(path)


def test_each_flipped_bit_of_the_weights_is_found(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write(path, [vector(8)], 8)
    whole = path.read_bytes()
    for bit in range(8 * 4 * 8):
        data = bytearray(whole)
        data[4096 + bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(DamagedPositionError, match="checksum"):
            open_position(path).verify()


def with_header(path: Path, header: bytes, weights: int = 2) -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * weights))
    return path


def document(**changes: object) -> dict[str, object]:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    metadata = {"digest": "a" * 32, "notes": "{}"}
    both = {"__metadata__": metadata, "position": tensor}
    for key, value in changes.items():
        (metadata if key in metadata else tensor if key in tensor else both)[key] = value
    return both


def test_the_headers_below_are_refused_for_what_is_changed_in_them(tmp_path: Path) -> None:
    path = with_header(tmp_path / "p.safetensors", json.dumps(document()).encode())
    assert open_position(path).digest == "a" * 32


@pytest.mark.parametrize(
    "change",
    [
        {"digest": UNFINISHED},
        {"digest": "A" * 32},
        {"digest": 5},
        {"notes": "[]"},
        {"notes": "{"},
        {"notes": None},
        {"dtype": "F16"},
        {"shape": [1, 2]},
        {"shape": [0]},
        {"shape": [-2]},
        {"shape": [True]},
        {"shape": 2},
        {"data_offsets": [0, 4]},
        {"position": []},
        {"__metadata__": []},
        {"other": {"dtype": "F32", "shape": [0], "data_offsets": [8, 8]}},
    ],
)
def test_a_header_of_another_kind_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(DamagedPositionError):
        open_position(with_header(tmp_path / "p.safetensors", json.dumps(document(**change)).encode()))


@pytest.mark.parametrize("header", [b"[" * 500_000, b"\xff\xfe", b"[1]", b"nonsense"])
def test_a_header_that_is_no_json_object_is_refused(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(DamagedPositionError, match="header is not"):
        open_position(with_header(tmp_path / "p.safetensors", header))


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_garbage_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.safetensors"
    path.write_bytes(data)
    with pytest.raises(DamagedPositionError):
        open_position(path)


def test_another_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"position": vector(4)}, tmp_path / "p.safetensors")
    with pytest.raises(DamagedPositionError, match="with a checksum"):
        open_position(tmp_path / "p.safetensors")


def test_a_full_disk_raises_where_a_memory_map_would_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(positions.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"), create(tmp_path / "p.safetensors", 5) as draft:
        draft.array[:] = 1
    assert list(tmp_path.iterdir()) == []


def test_notes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shorten them"):
        write(tmp_path / "p.safetensors", [vector(1)], 1, {"long": "x" * positions.LARGEST_HEADER})
