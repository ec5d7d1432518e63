"""Reading official lists: lines, tables and JSON, with errors that name file and line; and finding the videos."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_actrec.data.folder import VIDEO_SUFFIXES
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield "FILE, line N" and each line that is not empty, without the spaces around it.

    Raises:
        UserError: the list is missing or no text.
    """
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def table(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield "FILE, line N" and each row of a CSV that has a header.

    Args:
        path: the file.
        columns: those that must be there and filled in; others may be.

    Raises:
        UserError: the file is missing, lacks a column, or a row has too few values.
    """
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    header = reader.fieldnames or ()
    for column in columns:
        if column not in header:
            raise UserError(f"{path}: expected a column '{column}', found {', '.join(header) or 'an empty file'}.")
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        for column in columns:
            if not row[column]:
                raise UserError(f"{place}: the column '{column}' is empty.")
        yield place, row


def document(path: Path, kind: type, what: str) -> Any:
    """Return what a JSON file holds.

    Args:
        path: the file.
        kind: type of the whole, `list` or `dict`.
        what: a word on what it should hold, for the message.

    Raises:
        UserError: the file is missing, no JSON, or something else.
    """
    text = _text(path)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); expected {what}.") from None
    if not isinstance(found, kind) or not found:
        raise UserError(f"{path}: expected {what}, found {str(found)[:60]}.")
    return found


def entries(path: Path, keys: dict[str, type | tuple[type, ...]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield "FILE, entry N" (from 1) and each entry of a JSON list of objects that have these keys.

    Raises:
        UserError: as in `document`; an entry lacks a key or has another type there.
    """
    wanted = ", ".join(keys)
    for number, entry in enumerate(document(path, list, f"a list of objects with {wanted}"), start=1):
        place = f"{path}, entry {number}"
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in keys.items()):
            raise UserError(f"{place}: expected an object with {wanted}, found {entry!r}.")
        yield place, entry


def whole(place: str, name: str, text: object, least: int, most: int) -> int:
    """Return a whole number of a range, given as such or as text.

    Raises:
        UserError: it is none, or lies outside.
    """
    number = int(text) if re.fullmatch(r"\d+", str(text)) else -1
    if not least <= number <= most:
        raise UserError(f"{place}: expected {name} from {least} to {most}, found '{text}'.")
    return number


def one_of(folder: Path, names: Iterable[str]) -> Path:
    """Return the one file of a folder that has one of these names or patterns (`*train*.csv`), tried in order.

    Raises:
        UserError: there is none, or a pattern fits several.
    """
    names = list(names)
    for name in names:
        found = sorted(path for path in folder.glob(name) if path.is_file())
        if len(found) > 1:
            raise UserError(f"expected one list {name} in {folder}, found {', '.join(path.name for path in found)}.")
        if found:
            return found[0]
    wanted = " or ".join(names)
    raise UserError(f"there is no list {wanted} in {folder}; `data.lists` must name the folder of the lists.")


def find_videos(root: Path, is_folder: Callable[[str], bool] = lambda name: False) -> Iterator[str]:
    """Yield the video files below a folder, relative to it with forward slashes, in a fixed order.

    Args:
        root: the folder.
        is_folder: tells by its name whether a sub-folder holds the pictures of one video; it is yielded itself, and not
            looked into.
    """
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(root, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back to where we have been
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        relative = Path(parent).relative_to(root)
        sequences = [name for name in folders if is_folder(name)]
        folders[:] = sorted(name for name in folders if name not in sequences and not name.startswith("."))
        videos = [name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".")]
        for name in sorted([*sequences, *videos]):
            yield (relative / name).as_posix()


def by_stem(root: Path) -> dict[str, str]:
    """Return name without suffix -> path of the video files below a folder; the first of several."""
    found: dict[str, str] = {}
    for path in find_videos(root):
        found.setdefault(Path(path).stem, path)
    return found


def check_unique(clips: Sequence[Clip], repeats: bool = False) -> None:
    """Refuse lists that name no clip, or one stretch of a video twice.

    Args:
        clips: those of all lists.
        repeats: whether a list may name a stretch several times, as one that shows two things at once.

    Raises:
        UserError: names the clip and its splits.
    """
    if not clips:
        raise UserError("the official lists name no clip; check `data.lists`.")
    splits: dict[tuple, set[str]] = defaultdict(set)
    for clip in clips:
        splits[clip.path, *clip.stretch].add(clip.split)
    counts = Counter((clip.path, *clip.stretch) for clip in clips)
    for key, count in counts.items():
        if len(splits[key]) > 1 or (count > 1 and not repeats):
            names = ", ".join(sorted(splits[key]))
            raise UserError(f"the official lists name {key[0]} {count} times ({names}); expected once.")


def in_split(split: str, group: str) -> str:
    """Return a group's name within its official list.

    Where the official training and test lists share a recording or a subject, that is the protocol's own choice, and
    no reason to refuse it; validation is kept apart from training by the same name.
    """
    return f"{'test' if split == 'test' else 'training'}/{group}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no list {path}; `data.lists` must name the folder of the official lists.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path}: {error}") from None
