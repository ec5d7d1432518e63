"""Which videos are copies of others, so that a repository of actions does not hold one under two names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from keras_actrec.evaluation.provenance import fingerprint
from keras_actrec.evaluation.video_names import file_of


def originals(held: Iterable[str], given: Iterable[str], root: str | os.PathLike[str]) -> dict[str, str]:
    """Return the given videos that are copies -> the file that they are copies of: a held one, or one given before.

    Files are the same by `provenance.fingerprint`. Of what is held only files of the same size are opened; files that
    are missing by now are passed over.

    Args:
        held: names of videos (`video_names.video_name`).
        given: further ones, each once.
        root: that relative names are relative to.
    """
    given, names = list(given), {file_of(name) for name in held}
    sizes = {_size(Path(root) / file_of(name)) for name in given} - {None}
    found: dict[str | None, str] = {}
    for name in sorted(names):
        if _size(Path(root) / name) in sizes:
            found.setdefault(fingerprint(Path(root) / name), name)
    copies = {}
    for name in given:
        file = file_of(name)
        if file in names:
            continue
        content = fingerprint(Path(root) / file)
        if content is not None and found.setdefault(content, file) != file:
            copies[name] = found[content]
    return copies


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
