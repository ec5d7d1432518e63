"""Where copies for the browser lie: beside the data set, or in the user's cache where that cannot be written to."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from keras_actrec.errors import UserError

_PLACE = ".keras_actrec/media"
"""In the root of a data set; a hidden folder is no class of videos."""


def folder(root: Path) -> Path:
    """Return the folder for the copies of a data set's videos; it is made.

    Raises:
        UserError: neither place can be written to.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    for place in (root / _PLACE, base / "keras_actrec" / f"media-{root.resolve().name}-{name}"):
        if _can_be_written(place):
            return place
    raise UserError(f"copies for the browser cannot be written to {root} or {base}; name a folder with --cache.")


def _can_be_written(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False
