"""What changes when a video does: of a file its size and time of change, of a folder of pictures those of all in it.

A folder's own time of change is another one only when entries come, go or are renamed: a picture that is written over
leaves it as it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Version(NamedTuple):
    """What is compared.

    Attributes:
        size_bytes: of the file, or of all of the folder's.
        changed_ns: when it changed; of a folder: it, or the newest of its entries.
        entries: how many a folder has; 0 for a file.
    """

    size_bytes: int
    changed_ns: int
    entries: int = 0


def version(path: str | os.PathLike[str]) -> Version:
    """Return the version of a file or a folder.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    status = Path(path).stat()
    if not Path(path).is_dir():
        return Version(status.st_size, status.st_mtime_ns)
    with os.scandir(path) as entries:
        found = [found for entry in entries if (found := _status(entry)) is not None]
    newest = max((one.st_mtime_ns for one in found), default=0)
    return Version(sum(one.st_size for one in found), max(status.st_mtime_ns, newest), len(found))


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:  # a link to nothing is no picture; when it is mended, one more is counted
        return None
