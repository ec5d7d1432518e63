"""What is rounded for others: to what, how, and that it comes back as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file

from keras_actrec.errors import UserError
from keras_actrec.swarm import precision
from keras_actrec.swarm.positions import BLOCK, DamagedPositionError, digest_of, open_position, write
from keras_actrec.swarm.precision import TAGS, decode, encode, rounded

HALVES = ("float16", "bfloat16")
UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-7}  # half a step, rounded to the nearest; a step, rounded at random
finite = arrays.arrays(np.float32, st.integers(1, 50), elements=st.floats(-60_000, 60_000, width=32))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", HALVES)
@given(values=finite, seed=st.integers(0, 1000))
def test_what_is_rounded_can_be_held_and_is_near(name: str, values: np.ndarray, seed: int) -> None:
    found = rounded(values, name, generator(seed))
    assert found.dtype == np.float32
    assert np.array_equal(decode(encode(found, TAGS[name]), TAGS[name]), found)
    assert (np.abs(found - values) <= np.maximum(UNIT[name] * np.abs(values), 1e-7)).all()
    assert np.array_equal(rounded(found, name, generator(seed + 1)), found), "rounding again changes nothing"


def test_float32_is_left_alone() -> None:
    values = generator().standard_normal(9, np.float32)
    assert rounded(values, "float32") is values


def test_the_nearest_bfloat16_is_that_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.concatenate(
        [generator().standard_normal(5000, np.float32), np.float32([1.00390625, 1.01171875, 0, -0.0])]
    )
    assert np.array_equal(rounded(values, "bfloat16"), values.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_random_rounding_is_right_in_the_mean_and_the_nearest_is_not() -> None:
    """A displacement far below the step between two numbers, as that of most weights in one epoch."""
    before = np.full(200_000, 0.3, np.float32)
    after = before + np.float32(2e-4)
    moved = rounded(after, "bfloat16", generator()) - rounded(before, "bfloat16", generator())
    step = 2.0**-9  # between bfloat16 numbers from 0.25 to 0.5
    share = 2e-4 / step
    assert moved.mean() == pytest.approx(2e-4, abs=4 * step * np.sqrt(share * (1 - share) / len(moved)))
    assert set(np.unique(moved)) == {0.0, np.float32(step)}, "the same random numbers: up by a step, or not at all"
    assert not (rounded(after, "bfloat16") - rounded(before, "bfloat16")).any()


@pytest.mark.parametrize(("name", "largest"), [("float16", 65_520.0), ("bfloat16", 3.4e38)])
def test_what_is_too_large_is_told(name: str, largest: float) -> None:
    with pytest.raises(UserError, match=f"{name} can hold.*swarm.exchange"):
        rounded(np.float32([1, -largest]), name)


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("size", [1, 1001, BLOCK + 3])
def test_files_at_half_width(tmp_path: Path, name: str, size: int) -> None:
    values = rounded(generator().standard_normal(size, np.float32), name, generator(1))
    half, whole = tmp_path / "half.safetensors", tmp_path / "whole.safetensors"
    digest = write(half, [values[: size // 3], values[size // 3 :]], size, {"who": 1}, TAGS[name])
    assert digest == write(whole, [values], size) == digest_of(values)
    assert whole.stat().st_size - half.stat().st_size == 2 * size
    position = open_position(half)
    position.verify()
    assert (position.stored, position.notes, len(position.array)) == (TAGS[name], {"who": 1}, size)
    assert np.array_equal(decode(position.array, position.stored), values)


def test_others_can_read_the_files(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")
    for name in HALVES:
        values = rounded(generator().standard_normal(70, np.float32), name, generator(1))
        write(tmp_path / name, [values], 70, stored=TAGS[name])
        read = load_file(tmp_path / name)["position"]
        assert read.dtype.name == name
        assert np.array_equal(read.astype(np.float32), values)


@pytest.mark.parametrize("name", HALVES)
def test_a_half_file_that_is_damaged_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "half.safetensors"
    values = rounded(generator().standard_normal(500, np.float32), name)
    write(path, [values], 500, stored=TAGS[name])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedPositionError, match="checksum"):
        open_position(path).verify()
    path.write_bytes(whole[:-2])
    with pytest.raises(DamagedPositionError, match="truncated"):
        open_position(path)
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    for tag in ("F64", "F32", "I16"):
        header["position"]["dtype"] = tag
        text = json.dumps(header).encode().ljust(length)
        path.write_bytes(whole[:8] + text + whole[8 + length :])
        with pytest.raises(DamagedPositionError, match="exactly one vector"):
            open_position(path)


def test_every_precision_has_a_tag() -> None:
    assert set(TAGS) == set(precision.NAMES)
    assert set(TAGS.values()) == set(precision.STORED)
