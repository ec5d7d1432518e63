"""Read safetensors files."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes  # noqa: F401 (teaches NumPy bfloat16 and the eight-bit floats)
import numpy as np
import safetensors

from keras_actrec.errors import UserError


def read(path: Path) -> dict[str, np.ndarray]:
    """Return name -> array.

    Raises:
        UserError: the file is damaged, or of another kind.
    """
    try:
        with safetensors.safe_open(str(path), "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}. Fetch it again.") from None
