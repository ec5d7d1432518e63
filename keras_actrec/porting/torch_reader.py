"""Read PyTorch files with the unpickler that knows tensors alone, so that nothing in a file is executed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from keras_actrec.errors import UserError

CONTAINERS = ("state_dict", "model_state", "model_state_dict", "model")
FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")
CAUSE = re.compile(r"WeightsUnpickler error:\s*(.+)")
REMEDY = (
    "If you trust where it comes from, load it with the program that wrote it and keep its weights alone: "
    'safetensors.torch.save_file(network.state_dict(), "weights.safetensors").'
)


def read(path: Path) -> dict[str, np.ndarray]:
    """Return name -> array, out of the dictionaries that training programs wrap around the weights.

    Raises:
        UserError: PyTorch is missing, or the file is damaged, holds no tensors, or would execute code.
    """
    torch = _torch()
    content = _load(torch, path)
    tensors = {name: value for name, value in _unwrap(content).items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f"{path} holds no named tensors, but {_kind(content)}; expected a state dict. {REMEDY}")
    return {str(name): _array(torch, value) for name, value in tensors.items()}


def _torch() -> ModuleType:
    try:
        import torch
    except ImportError:
        raise UserError(
            "files of PyTorch are read with PyTorch, which is not installed: pip install torch. "
            "Safetensors files need no PyTorch."
        ) from None
    return torch


def _load(torch: ModuleType, path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its remarks on other kinds of files; these are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        raise _refusal(path, error) from None


def _refusal(path: Path, error: Exception) -> UserError:
    text = str(error)
    if "TorchScript" in text:
        return UserError(f"{path} is a TorchScript program rather than weights, and programs are not run. {REMEDY}")
    forbidden, cause = FORBIDDEN.search(text), CAUSE.search(text)
    if forbidden:
        return UserError(f"{path} holds more than tensors ({forbidden[1]}): reading it would execute code. {REMEDY}")
    first = cause[1] if cause else (text.strip() or type(error).__name__).splitlines()[0]
    return UserError(f"{path} cannot be read as a PyTorch file: {first[:200].rstrip('. ')}. Fetch it again.")


def _unwrap(content: Any) -> Mapping[Any, Any]:
    """Return the innermost dictionary of weights."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content
        content = inner
    return {}


def _kind(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary of {', '.join(map(repr, list(content)[:5])) or 'nothing'}"
    return f"one {type(content).__name__}"


def _array(torch: ModuleType, tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).cpu().contiguous().numpy()
