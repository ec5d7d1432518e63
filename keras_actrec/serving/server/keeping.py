"""Keeping uploads and their answers, where whoever runs the server has asked for it."""

from __future__ import annotations

import datetime
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from keras_actrec import files
from keras_actrec.data.folder import VIDEO_SUFFIXES

NAME_LENGTH = 200
"""So much is kept of what a sender calls a file: the end of it."""


class Keeper:
    """Keeps uploads and answers; where the file system refuses them, that is told once, until it takes them again.

    Args:
        folder: where they go.
        say: prints a line.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._failed = False

    def keep(self, upload: Path, name: str | None, answer: dict[str, Any]) -> None:
        """Keep an upload and its answer, which is given to the sender whether or not this works (see `keep`)."""
        try:
            keep(self._folder, upload, name, answer)
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._say(f"--keep {self._folder}: uploads are answered, but not kept any more ({error.strerror}).")
            self._failed = True


def keep(folder: Path, upload: Path, name: str | None, answer: dict[str, Any]) -> Path:
    """Publish a copy of an upload, and its answer beside it as JSON; return the path of the copy.

    Args:
        folder: where they go.
        upload: the file that was received.
        name: what the sender calls it; its suffix is kept where it is that of a video, the rest goes into the JSON, up
            to a length.
        answer: what was told of it.
    """
    name = None if name is None else name[-NAME_LENGTH:]
    suffix = PurePath(name or "").suffix.lower()
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
    target = folder / f"{stamp}-{secrets.token_hex(4)}{suffix if suffix in VIDEO_SUFFIXES else '.video'}"
    with files.publish(target) as temporary:
        shutil.copyfile(upload, temporary)
    files.write_json(target.with_suffix(".json"), {"name": name, "sha256": files.sha256(target), **answer})
    return target
