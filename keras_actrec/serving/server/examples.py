"""Clips that the page offers to try: of a folder, or of the test split of a run whose data set is on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from keras_actrec import files
from keras_actrec.config import load_config
from keras_actrec.data.folder import VIDEO_SUFFIXES
from keras_actrec.errors import UserError

MOST = 8
_PLAYABLE = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
"""What browsers play, by suffix."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One clip.

    Attributes:
        path: the file.
        label: what it shows, where that is known.
        kind: its media type.
    """

    path: Path
    label: str | None
    kind: str


def in_folder(folder: Path) -> tuple[Example, ...]:
    """Return the videos of a folder, in order of name; those that browsers play come first.

    Raises:
        UserError: it is no folder, or holds none.
    """
    if not folder.is_dir():
        raise UserError(f"--examples {folder}: expected a folder of videos, or none.")
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES)
    if not found:
        raise UserError(f"--examples {folder}: there is no video in it.")
    found.sort(key=lambda path: path.suffix.lower() not in _PLAYABLE)
    return tuple(Example(path, None, _kind(path)) for path in found[:MOST])


def of_run(run: Path) -> tuple[Example, ...]:
    """Return test clips of a run, one of each class, as far as their files are there and browsers play them."""
    return tuple(list(_of_run(run))[:MOST]) if (run / "config.yaml").is_file() else ()


def _of_run(run: Path) -> Iterator[Example]:
    root, seen = Path(load_config(run / "config.yaml").data.root), set()
    for clip in files.read_json(run / "manifest.lock").get("clips", []):
        label, path = clip.get("label"), root / clip["path"]
        whole = not any(clip.get(name) is not None for name in ("start_sec", "end_sec", "start_frame", "end_frame"))
        wanted = clip["split"] == "test" and whole and label not in seen
        if wanted and path.suffix.lower() in _PLAYABLE and path.is_file():
            seen.add(label)
            yield Example(path, label, _kind(path))


def _kind(path: Path) -> str:
    return _PLAYABLE.get(path.suffix.lower(), "application/octet-stream")
