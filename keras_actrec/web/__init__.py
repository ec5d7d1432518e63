"""What the servers of the package share: who may ask, where they listen, how pages look. Imports no Keras."""

from __future__ import annotations

import importlib.resources


def base_style() -> str:
    """Return the style sheet with which that of each page begins."""
    return importlib.resources.files(__package__).joinpath("base.css").read_text(encoding="utf-8")
