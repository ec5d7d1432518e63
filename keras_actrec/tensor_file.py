"""One safetensors file with arrays and JSON beside them, published atomically and checked when it is read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from keras_actrec import files
from keras_actrec.errors import UserError


class DamagedFileError(UserError):
    """A file of arrays that is cut off, changed, or of another kind."""


def save(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], notes: Any) -> None:
    """Publish arrays and notes (anything that JSON can hold, with floats that come back exactly)."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(notes)
    metadata = {"notes": text, "digest": _digest(arrays, text)}
    with files.publish(path) as temporary:
        try:
            safetensors.numpy.save_file(arrays, str(temporary), metadata)
        except safetensors.SafetensorError as error:
            raise _system_error(error, path) from error


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], Any]:
    """Return the arrays and the notes.

    Raises:
        DamagedFileError: when the file is not exactly what was saved.
    """
    try:
        with safetensors.safe_open(str(path), "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        notes = json.loads(metadata["notes"])
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise DamagedFileError(f"{path} cannot be read as a file of weights: {error}.") from None
    if metadata.get("digest") != _digest(arrays, metadata["notes"]):
        raise DamagedFileError(f"{path} was damaged after writing: its digest is not that of its contents.")
    return arrays, notes


def load_notes(path: str | os.PathLike[str]) -> Any:
    """Return the notes alone, unchecked; quick for big files."""
    try:
        with safetensors.safe_open(str(path), "numpy") as file:
            return json.loads((file.metadata() or {})["notes"])
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise DamagedFileError(f"{path} cannot be read as a file of weights: {error}.") from None


def _system_error(error: safetensors.SafetensorError, path: str | os.PathLike[str]) -> Exception:
    """Return what the system said, such as that the disk is full; safetensors quotes it in a text of its own."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    """Return BLAKE2b over names, types, shapes, bytes and notes."""
    digest = hashlib.blake2b(text.encode(), digest_size=32)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()
