"""Keeping uploads and their answers, where whoever runs the server has asked for it."""

from __future__ import annotations

import datetime
import secrets
import shutil
from pathlib import Path, PurePath
from typing import Any

from keras_actrec import files
from keras_actrec.data.folder import VIDEO_SUFFIXES


def keep(folder: Path, upload: Path, name: str | None, answer: dict[str, Any]) -> Path:
    """Publish a copy of an upload, and its answer beside it as JSON; return the path of the copy.

    Args:
        folder: where they go.
        upload: the file that was received.
        name: what the sender calls it; its suffix is kept where it is that of a video, the rest goes into the JSON.
        answer: what was told of it.
    """
    suffix = PurePath(name or "").suffix.lower()
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
    target = folder / f"{stamp}-{secrets.token_hex(4)}{suffix if suffix in VIDEO_SUFFIXES else '.video'}"
    with files.publish(target) as temporary:
        shutil.copyfile(upload, temporary)
    files.write_json(target.with_suffix(".json"), {"name": name, "sha256": files.sha256(target), **answer})
    return target
