"""Read the tensors of a checkpoint, whatever kind of file holds them. Nothing in a file is ever executed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec import files
from keras_actrec.backbones import safetensors_reader
from keras_actrec.errors import UserError
from keras_actrec.porting import torch_reader

SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
SETTINGS = "config.json"
# How the input was prepared, under this name among the settings.
PREPROCESSOR = "preprocessor_config.json"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".pyth", ".ckpt", ".tar", ".pickle", ".pkl")
KINDS = "a safetensors file, a PyTorch file of weights, or a folder with one of them"
# A safetensors file begins with the length of its header; longer ones are refused by the format itself.
LONGEST_HEADER = 100_000_000
LFS_POINTER = b"version https://git-lfs"

Tensors = Mapping[str, np.ndarray]
Settings = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Source:
    """What was read.

    Attributes:
        name: of the file or folder, without the folders above it.
        digests: SHA-256 of each file that was read, by its name.
        tensors: name -> array in PyTorch's layout. Floating-point ones are float32.
        settings: what the `config.json` of a folder says of the network, such as its number of heads; empty without.
            What its `preprocessor_config.json` says of the input is in there under `preprocessor_config.json`.
    """

    name: str
    digests: Mapping[str, str]
    tensors: Tensors
    settings: Settings = dataclasses.field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file; of several files, that of the lines "digest  name" in the order of names."""
        if len(self.digests) == 1:
            return next(iter(self.digests.values()))
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.digests.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


def read(path: str | os.PathLike[str]) -> Source:
    """Read a file, or a folder as Hugging Face writes it: one file, or shards and their index.

    Raises:
        UserError: there is nothing to read, or it is damaged, of another kind, or would execute code.
    """
    path = Path(path)
    tensors: dict[str, np.ndarray] = {}
    digests: dict[str, str] = {}
    for part in _parts(path):
        for name, array in _read_file(part).items():
            if name in tensors:
                raise UserError(f"{path}: two of its files hold a tensor named '{name}'; each may be there once.")
            tensors[name] = _float32(array)
        digests[part.name] = files.sha256(part)
    return Source(path.resolve().name, digests, tensors, _settings(path))


def _settings(path: Path) -> Settings:
    """Return the content of a folder's config.json; that of a single file may be about something else."""
    settings, preprocessor = _json(path / SETTINGS), _json(path / PREPROCESSOR)
    return {**settings, PREPROCESSOR: preprocessor} if preprocessor else settings


def _json(file: Path) -> dict[str, Any]:
    """Return the object in a file, empty where there is none."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{file} is no JSON; fetch the folder again, or pass the file of weights itself.") from None
    return content if isinstance(content, dict) else {}


def _parts(path: Path) -> list[Path]:
    """Return the files that hold the tensors."""
    if not path.exists():
        raise UserError(f"there is no {path}; expected {KINDS}.")
    if path.is_file():
        return _shards(path) if path.name.endswith(INDEX) else [path]
    for name in SINGLE:
        if (path / name).is_file():
            return [path / name]
        if (path / f"{name}{INDEX}").is_file():
            return _shards(path / f"{name}{INDEX}")
    return _only(path)


def _only(folder: Path) -> list[Path]:
    """Return the single index or the single file of weights in a folder."""
    indices = sorted(folder.glob(f"*{INDEX}"))
    if len(indices) == 1:
        return _shards(indices[0])
    found = [entry for entry in sorted(folder.iterdir()) if entry.is_file() and entry.suffix in SUFFIXES]
    if len(found) != 1 or indices:
        names = ", ".join(entry.name for entry in [*indices, *found][:5]) or "none"
        raise UserError(
            f"the folder {folder} should hold {SINGLE[0]}, an index of shards (*{INDEX}) or exactly one file of "
            f"weights; found: {names}. Pass the file itself with --from."
        )
    return found


def _shards(index: Path) -> list[Path]:
    """Return the files that an index names; they must lie beside it."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        strange = [name for name in names if Path(name).name != name]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"{index} is no index of shards: it should be JSON with a 'weight_map'.") from None
    missing = strange or [name for name in names if not (index.parent / name).is_file()]
    if missing or not names:
        listed = ", ".join(missing[:5]) or "no shard at all"
        raise UserError(f"{index} names files that do not lie beside it: {listed}. Fetch the whole folder again.")
    return [index.parent / name for name in names]


def _read_file(path: Path) -> Tensors:
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if not start:
        raise UserError(f"{path} is empty; fetch it again.")
    if path.suffix in (".keras", ".h5"):
        raise UserError(f"{path} is a file of Keras, which needs no import: name it in training.init_from.")
    if start == LFS_POINTER:
        raise UserError(f"{path} is a pointer of Git LFS rather than the weights; fetch them with git lfs pull.")
    if path.suffix == ".safetensors" or _is_safetensors(start):
        return safetensors_reader.read(path)
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return torch_reader.read(path)
    raise UserError(f"{path} is no checkpoint; expected {KINDS}.")


def _is_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER


def _float32(array: np.ndarray) -> np.ndarray:
    """Return floating-point arrays, bfloat16 among them, as float32, and others as they are."""
    whole = np.issubdtype(array.dtype, np.integer) or array.dtype.kind in "bc"
    return array if whole else np.asarray(array, np.float32)
