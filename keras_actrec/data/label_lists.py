"""Lists of the clips that keep their label: this package's own, and those that papers publish.

Own lists (`line` writes one, see `labelled_split.write_list`) have a line per clip: its path, its class, and,
of a part of a file, the stretch. What holds a space stands in quotes; comments begin with "# ":

    videos/SitDown/v_SitDown_g03_c02.mp4 SitDown
    "kitchen/day 1.mp4" "open door" seconds=12.5:17.0

Published ones, as they are:

    v_ApplyEyeMakeup_g19_c01.avi                                 names alone
    ApplyEyeMakeup/v_ApplyEyeMakeup_g19_c01.avi 1                path, number of the class (UCF-101's own, mmaction)
    ApplyEyeMakeup/v_ApplyEyeMakeup_g19_c01 180 0                folder of pictures, their count, number of the class
    label,youtube_id,time_start,time_end                         a CSV with a header; also path, video, ...

Numbers of classes are compared with each other alone, since each project orders the classes in its own way; the label
that counts is the manifest's. How paths are found is told in `clip_index`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_actrec.data.clip_index import ClipIndex
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.errors import UserError

_PATH_COLUMNS = ("path", "video", "video_path", "filename", "file", "youtube_id")
_SHOWN = 5
_SECONDS = r"\d+(?:\.\d*)?(?:e[+-]?\d+)?"
_STRETCH = {
    float: re.compile(rf"seconds=({_SECONDS})?:({_SECONDS})?"),
    int: re.compile(r"frames=(\d+)?:(\d+)?"),
}
_TIMES = (("time_start", "time_end"), ("start_sec", "end_sec"))
_GAP = re.compile(r"[\s,]+")


@dataclasses.dataclass(frozen=True)
class Listed:
    """What a list names.

    Attributes:
        clips: clips of training and of validation, in the manifest's order.
    """

    clips: tuple[Clip, ...]

    @property
    def held_out(self) -> int:
        """How many of them the run had held out for validation."""
        return sum(clip.split == "validation" for clip in self.clips)


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A line of a list, understood.

    Attributes:
        number: of the line, from 1.
        path: as it stands there, or what was found of it.
        label: name of the class, None where the list gives none.
        index: number of the class, likewise.
        stretch: what must equal the clip's stretch, None where the list does not say.
    """

    number: int
    path: str
    label: str | None = None
    index: int | None = None
    stretch: tuple[float | None, ...] | None = None


def read(path: str | Path, manifest: Manifest) -> Listed:
    """Find the clips that a list names among those of a manifest.

    Raises:
        UserError: the list is missing or empty; a line fits no training clip, several, or a test clip; a class has
            another name or number than elsewhere; a class of the training clips is not listed.
    """
    path, index = Path(path), ClipIndex(manifest.clips)
    entries = list(_entries(path, index))
    if not entries:
        raise UserError(f"{path} names no clip; expected a line for each labelled clip, such as 'Class/name.mp4'.")
    found = {entry.number: _clips(path, entry, index) for entry in entries}
    _check_found(path, entries, found, manifest)
    _check_numbers(path, [(entry, found[entry.number]) for entry in entries])
    chosen = {clip for clips in found.values() for clip in clips}
    _check_classes(path, chosen, manifest)
    return Listed(tuple(clip for clip in manifest.clips if clip in chosen))


def line(clip: Clip) -> str:
    """Return what an own list says of a labelled clip.

    Raises:
        UserError: the path or the class holds a line break.
    """
    if re.search(r"[\r\n]", f"{clip.path}{clip.label}"):
        raise UserError(f"clip {clip.path!r}, class {clip.label!r}: a list cannot hold names with line breaks.")
    words = [clip.path, clip.label, *([] if clip.stretch == (None, None) else [_stretch_text(clip)])]
    text = io.StringIO()
    csv.writer(text, delimiter=" ", lineterminator="").writerow(words)
    return text.getvalue()


def _stretch_text(clip: Clip) -> str:
    unit, ends = ("frames", clip.stretch[2:]) if clip.by_frames else ("seconds", clip.stretch)
    start, end = ("" if number is None else repr(number) for number in ends)
    return f"{unit}={start}:{end}"


def _entries(path: Path, index: ClipIndex) -> Iterator[_Entry]:
    rows = [
        (number, text.strip())
        for number, text in enumerate(_text(path).split("\n"), start=1)
        if text.strip() and text.strip() != "#" and not text.lstrip().startswith("# ")
    ]
    header = [name.strip().lower() for name in _fields(path, *rows[0], ",")] if rows else []
    if not set(header) & set(_PATH_COLUMNS):
        yield from (_entry(path, number, text, index) for number, text in rows)
        return
    for number, text in rows[1:]:
        values = [value.strip() for value in _fields(path, number, text, ",")]
        yield _row(path, number, dict(zip(header, values, strict=False)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no list {path}; `data.labels.list` must name a file of labelled clips.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path}: {error}; expected text in UTF-8.") from None


def _fields(path: Path, number: int, text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error as error:
        raise UserError(f"{path}, line {number}: {error}; expected a path, and perhaps a class.") from None


def _entry(path: Path, number: int, text: str, index: ClipIndex) -> _Entry:
    """Understand a line: the longest beginning that is a known path, and what stands behind it."""
    if text.startswith('"'):
        name, *rest = _fields(path, number, text, " ")
        return _described(_Entry(number, name), rest)
    ends = [len(text), *(found.start() for found in reversed(list(_GAP.finditer(text))) if found.start())]
    for end in ends:
        if index.find(text[:end]):
            rest = text[end:].lstrip(" \t,")
            words = _GAP.split(rest) if re.fullmatch(r"[\d\s,]+", rest) else _fields(path, number, rest, " ")
            return _described(_Entry(number, text[:end]), words)
    return _Entry(number, text)


def _described(entry: _Entry, words: Sequence[str]) -> _Entry:
    """Add what stands behind a path: a number, a count of pictures and a number, or a class and a stretch."""
    words = [word for word in words if word]
    for kind, pattern in _STRETCH.items():
        if words and (found := pattern.fullmatch(words[-1])):
            ends = tuple(None if text is None else kind(text) for text in found.groups())
            entry = dataclasses.replace(entry, stretch=ends if kind is float else (None, None, *ends))
            words = words[:-1]
    if words and len(words) <= 2 and all(re.fullmatch(r"\d+", word) for word in words):
        return dataclasses.replace(entry, index=int(words[-1]))
    return dataclasses.replace(entry, label=" ".join(words) or None)


def _row(path: Path, number: int, row: dict[str, str]) -> _Entry:
    """Understand a row of a CSV."""
    name = next((row[column] for column in _PATH_COLUMNS if row.get(column)), None)
    if name is None:
        raise UserError(f"{path}, line {number}: expected a value for one of {', '.join(_PATH_COLUMNS)}.")
    entry = _described(_Entry(number, name), [row.get("label", "")])
    for columns in _TIMES:
        times = [row.get(column, "") for column in columns]
        if not all(times):
            continue
        if not all(re.fullmatch(_SECONDS, time) for time in times):
            raise UserError(
                f"{path}, line {number}: expected seconds for {' and '.join(columns)}, found '{times[0]}' and"
                f" '{times[1]}'."
            )
        entry = dataclasses.replace(entry, stretch=tuple(map(float, times)))
    return entry


def _clips(path: Path, entry: _Entry, index: ClipIndex) -> tuple[Clip, ...]:
    """Return the clips that a line means; training clips, unless there are none."""
    clips = index.find(entry.path, entry.stretch)
    training = tuple(clip for clip in clips if clip.split == "train")
    clips = training or clips
    names = sorted({clip.path for clip in clips})
    if len(names) > 1:
        raise UserError(
            f"{path}, line {entry.number}: '{entry.path}' may be {names[0]} or {names[1]}; expected more of its path."
        )
    labels = {clip.label for clip in clips}
    learnt = clips and {clip.split for clip in clips} <= {"train", "validation"}  # of others `_check_found` tells
    if learnt and None in labels and (entry.label is None or len(labels) == 1):
        raise UserError(
            f"{path}, line {entry.number}: {names[0]} has no label in the data set; give it one in the manifest,"
            " or take the line out."
        )
    if entry.label is not None and clips:
        clips = tuple(clip for clip in clips if _same(clip.label, entry.label, labels))
        if not clips:
            known = ", ".join(sorted(map(str, labels)))
            raise UserError(
                f"{path}, line {entry.number}: {names[0]} is called '{entry.label}' here, and {known} in the data set."
                " Expected the data set's own class: correct the line, or leave the classes out of the list."
            )
    if entry.index is not None and len(labels) > 1:
        known = ", ".join(sorted(map(str, labels)))
        raise UserError(
            f"{path}, line {entry.number}: {names[0]} has clips of several classes ({known}); expected the name of the"
            " class in place of its number, or the stretch (seconds=START:END)."
        )
    return clips


def _same(label: str | None, name: str, labels: set[str | None]) -> bool:
    """Whether a class is meant by a name, up to case and what joins its words, where no other is meant exactly."""
    if name in labels:
        return label == name
    short = [re.sub(r"[\W_]+", "", text.casefold()) for text in (label or "", name)]
    return short[0] == short[1] != ""


def _check_found(path: Path, entries: Sequence[_Entry], found: dict[int, tuple[Clip, ...]], manifest: Manifest) -> None:
    """Every line must mean a clip of training or validation; none may be a test clip's."""
    splits = {entry: {clip.split for clip in found[entry.number]} for entry in entries}
    tested = [entry for entry in entries if "test" in splits[entry]]
    if tested:
        raise UserError(
            f"{path}: {_some(tested)} in the test split of {manifest.name}, fold {manifest.fold}; nothing may be learnt"
            " from test clips. Expected the list of this fold (`data.fold`)."
        )
    lost = [entry for entry in entries if not splits[entry] & {"train", "validation"}]
    if lost:
        example = next(iter(manifest.split("train")), None)
        expected = f", such as {example.path}" if example else ""
        raise UserError(
            f"{path}: {_some(lost)} not among the training clips of {manifest.name}, fold {manifest.fold}. Expected"
            f" their paths{expected}, with or without the suffix, or their names."
        )


def _some(entries: Sequence[_Entry]) -> str:
    """Name the first few lines, and say how many there are."""
    shown = []
    for entry in entries[:_SHOWN]:
        start, end = (entry.stretch or (None, None))[-2:]
        part = "" if start is None and end is None else f" from {start} to {end}"
        shown.append(f"'{entry.path}'{part} (line {entry.number})")
    names = ", ".join(shown)
    if len(entries) == 1:
        return f"{names} is"
    return f"{names}{', ...' if len(entries) > _SHOWN else ''}, {len(entries)} lines in all, are"


def _check_numbers(path: Path, found: Sequence[tuple[_Entry, tuple[Clip, ...]]]) -> None:
    """A class has one number and a number one class; most lines decide which."""
    counts: dict[str | None, Counter[int]] = defaultdict(Counter)
    numbered = [(entry, clips[0].label) for entry, clips in found if entry.index is not None]
    for entry, label in numbered:
        counts[label][entry.index] += 1
    usual = {label: counter.most_common(1)[0][0] for label, counter in counts.items()}
    shared = {number for number, times in Counter(usual.values()).items() if times > 1}
    odd = [(entry, label) for entry, label in numbered if entry.index != usual[label] or entry.index in shared]
    if odd:
        entry, label = odd[0]
        others = sorted(str(name) for name, number in usual.items() if number == entry.index and name != label)
        means = f"that of '{others[0]}'" if others else f"elsewhere it has {usual[label]}"
        raise UserError(
            f"{path}, line {entry.number}: class '{label}' has the number {entry.index}, {means};"
            f" {len(odd)} of {len(numbered)} lines disagree with the data set like that. If its own labels are right,"
            " remove the numbers from the list: the paths suffice."
        )


def _check_classes(path: Path, chosen: set[Clip], manifest: Manifest) -> None:
    wanted = {clip.label for clip in manifest.split("train")} - {None}
    missing = sorted(wanted - {clip.label for clip in chosen})
    if missing:
        names = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise UserError(
            f"{path} leaves {len(missing)} of {len(wanted)} classes without a labelled training clip: {names}. Add a"
            " clip of each."
        )
