"""Whether what comes will fit on the disk, asked before the first byte is stored."""

from __future__ import annotations

import shutil
from pathlib import Path

from keras_actrec.errors import UserError

MARGIN_BYTES = 64 * 2**20
"""What is left free for the journal, the manifest, and other programs."""

FULL_BYTES = 8 * 2**20
"""Less than a video may want."""


def check(folder: Path, wanted_bytes: float, what: str) -> None:
    """Refuse to begin what does not fit.

    Args:
        folder: on the disk in question; there already.
        wanted_bytes: what will be written.
        what: names it in the message.

    Raises:
        UserError: says how much is free and how much is wanted.
    """
    free = shutil.disk_usage(folder).free
    if wanted_bytes + MARGIN_BYTES > free:
        raise UserError(
            f"{what}: about {_text(wanted_bytes + MARGIN_BYTES)} needed, but {folder} has {_text(free)} free; "
            "free some space, choose another folder with --to, or ask for fewer videos with --per-class or --classes."
        )


def is_full(folder: Path) -> bool:
    """Return whether a disk is as good as full: then what failed on it says nothing about a video."""
    return shutil.disk_usage(folder).free < FULL_BYTES


def _text(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
