"""The manifest: a data set as a table, one row per clip. It, not a folder listing, is the truth.

A manifest file is a CSV with one column per field of `Clip`, in which the splits of several folds stand side by side
(`split_1`, `split_2`, ...). Reading it for one fold gives rows with one `split`. The hash of what was read goes into
each checkpoint and result, so that a number can always be traced to the clips behind it.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_actrec import files
from keras_actrec.errors import UnreadableVideoError, UserError

SPLITS = ("train", "validation", "test", "unlabelled", "unknown")
RATE = 30.0
"""Frames per second that is taken for a video that does not tell its own: a folder of pictures."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """One row: a stretch of one video file and what is known about it.

    Attributes:
        path: file, relative to the data set's root, with forward slashes.
        label: class name; None for unlabelled clips.
        split: one of `SPLITS`, for the fold that was asked for.
        group: person, scene or source video; clips of one group never straddle a split. Empty when unknown.
        start_sec, end_sec: the stretch within the file, in seconds; None for the file's own start or end.
        frames, fps: number of frames and frames per second as declared; None when not known beforehand.
        verb, noun: parts of a composed label (EPIC-Kitchens style).
        depth: depth video, relative to the root, frame by frame aligned with `path`.
        boxes: JSON file with a person box per frame, relative to the root.
        start_frame, end_frame: the stretch by frame numbers, in place of seconds: its first frame, counted from 0, and
            the one after its last; None for the file's own start or end.
        cameras: files of further cameras of the same recording, relative to the root, separated by ";". The stretch
            holds for each of them, by its own clock or count of frames. `depth` and `boxes` belong to `path`.

    Raises:
        UserError: an unknown split, a stretch in both seconds and frames, a frame number below 0, or a camera without
            a file.
    """

    path: str
    label: str | None
    split: str
    group: str = ""
    start_sec: float | None = None
    end_sec: float | None = None
    frames: int | None = None
    fps: float | None = None
    verb: str | None = None
    noun: str | None = None
    depth: str | None = None
    boxes: str | None = None
    start_frame: int | None = None
    end_frame: int | None = None
    cameras: str | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise UserError(f"clip {self.path}: the split is '{self.split}', expected one of {', '.join(SPLITS)}.")
        frames = [number for number in (self.start_frame, self.end_frame) if number is not None]
        if frames and (self.start_sec is not None or self.end_sec is not None):
            raise UserError(f"clip {self.path}: its stretch is given in seconds and in frames; expected one of them.")
        if frames and min(frames) < 0:
            raise UserError(f"clip {self.path}: frames are counted from 0, got {min(frames)}.")
        if self.cameras is not None and not all(path.strip() for path in self.cameras.split(";")):
            raise UserError(f"clip {self.path}: expected paths of cameras between ';', got '{self.cameras}'.")

    def __getitem__(self, column: str) -> Any:
        return getattr(self, column)

    def seen_by(self, camera: int) -> Clip:
        """Return the recording as another of its cameras has it: 0 is `path`, 1 the first of `cameras`.

        What is known of `path` alone (frames, depth, boxes) is not known of the others.

        Raises:
            UnreadableVideoError: there is no such camera.
        """
        if camera == 0:
            return self
        others = [path.strip() for path in self.cameras.split(";")] if self.cameras else []
        if not 0 < camera <= len(others):
            count = f"{len(others) + 1} camera{'s' if others else ''}"
            raise UnreadableVideoError(self.path, f"has {count}, camera {camera} was asked for (counted from 0)")
        path = others[camera - 1]
        return dataclasses.replace(self, path=path, frames=None, depth=None, boxes=None, cameras=None)

    @property
    def by_frames(self) -> bool:
        """Whether the stretch is given by frame numbers."""
        return self.start_frame is not None or self.end_frame is not None

    @property
    def stretch(self) -> tuple[float | None, ...]:
        """What tells clips of one file apart: start and end in seconds, then those in frames if there are any."""
        seconds = (self.start_sec, self.end_sec)
        return (*seconds, self.start_frame, self.end_frame) if self.by_frames else seconds

    @property
    def span_sec(self) -> tuple[float | None, float | None]:
        """Start and end in seconds; those of frame numbers at the declared rate, or else `RATE`.

        Good for comparing the stretches of one file with each other, even where the rate is a guess.
        """
        if not self.by_frames:
            return self.start_sec, self.end_sec
        rate = self.fps or RATE
        return tuple(None if number is None else number / rate for number in (self.start_frame, self.end_frame))


_FIELDS = tuple(field.name for field in dataclasses.fields(Clip))
_NUMBERS = {"start_sec": float, "end_sec": float, "frames": int, "fps": float, "start_frame": int, "end_frame": int}
_BY_FRAMES = ("start_frame", "end_frame")
_LATER = (*_BY_FRAMES, "cameras")
"""Fields that came later, in this order, at the end of `Clip`: manifests without them keep their hash and columns."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The clips of one fold of a data set.

    Attributes:
        name: name of the data set, such as "ucf101".
        root: folder that the clips' paths are relative to.
        fold: the fold, counted from 1.
        classes: class names in the order of the network's outputs (sorted by name, or a collection's own order).
        clips: all rows, sorted by path.
        verbs, nouns: the official lists of them, in the order of the network's outputs; empty where there are none.
        notes: what people should know of how it came about; no part of it.
    """

    name: str
    root: Path
    fold: int
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    verbs: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @classmethod
    def from_clips(
        cls,
        name: str,
        root: str | Path,
        fold: int,
        clips: Iterable[Clip],
        classes: Sequence[str] | None = None,
        verbs: Sequence[str] = (),
        nouns: Sequence[str] = (),
    ) -> Manifest:
        """Sort the clips; the classes, unless given, are the sorted labels of train, validation and test clips."""
        rows = tuple(sorted(clips, key=lambda clip: (clip.path, clip.start_sec or clip.start_frame or 0.0)))
        if classes is None:
            classes = sorted({clip.label for clip in rows if clip.label and clip.split in SPLITS[:3]})
        return cls(name, Path(root), fold, tuple(classes), rows, tuple(verbs), tuple(nouns))

    @property
    def hash(self) -> str:
        """SHA-256 over name, fold, classes and rows; independent of where the root lies on this machine."""
        rows = [_row(clip) for clip in self.clips]
        lists = [list(names) for names in (self.verbs, self.nouns) if names]
        text = json.dumps([self.name, self.fold, self.classes, rows, *lists], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def split(self, name: str) -> tuple[Clip, ...]:
        """Return the clips of one split."""
        if name not in SPLITS:
            raise UserError(f"there is no split '{name}'; expected one of {', '.join(SPLITS)}.")
        return tuple(clip for clip in self.clips if clip.split == name)

    def class_index(self, clip: Clip) -> int:
        """Return the network's output that stands for the clip's label."""
        return self.classes.index(clip.label)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return split -> class name -> number of clips."""
        counted = {split: Counter() for split in SPLITS}
        for clip in self.clips:
            counted[clip.split][clip.label or ""] += 1
        return {split: dict(sorted(counter.items())) for split, counter in counted.items() if counter}

    def to_json(self) -> dict[str, Any]:
        """Return what `manifest.lock` holds: everything but the root, so that a moved data set stays the same."""
        rows = [{name: value for name, value in vars(clip).items() if value is not None} for clip in self.clips]
        lists = {name: list(getattr(self, name)) for name in ("verbs", "nouns") if getattr(self, name)}
        facts = {"name": self.name, "fold": self.fold, "classes": list(self.classes), **lists}
        return {**facts, "hash": self.hash, "clips": rows}

    @classmethod
    def from_json(cls, document: dict[str, Any], root: str | Path) -> Manifest:
        """Rebuild a manifest from `to_json`; refuse one whose hash does not fit its rows."""
        manifest = cls.from_clips(
            document["name"],
            root,
            document["fold"],
            (Clip(**{"label": None, **row}) for row in document["clips"]),
            document["classes"],
            document.get("verbs", ()),
            document.get("nouns", ()),
        )
        if manifest.hash != document["hash"]:
            raise UserError(f"the manifest of '{manifest.name}' was changed after writing: its hash is not its rows'.")
        return manifest


def _row(clip: Clip) -> tuple[Any, ...]:
    """Return what the hash takes of a clip: frame numbers and cameras only where there are any (see `_LATER`)."""
    row = tuple(vars(clip).values())  # dataclasses.astuple copies deeply: slow for 260 000 clips
    row = row[: -len(_LATER)] + (row[-len(_LATER) : -1] if clip.by_frames else ())
    return row if clip.cameras is None else (*row, clip.cameras)


def write_csv(path: str | Path, folds: Sequence[Sequence[Clip]]) -> None:
    """Publish a manifest file. `folds[k]` holds the same clips in the same order, with the splits of fold k + 1."""
    by_frames, cameras = any(clip.by_frames for clip in folds[0]), any(clip.cameras for clip in folds[0])
    absent = {"split", *(() if by_frames else _BY_FRAMES), *(() if cameras else ("cameras",))}
    names = [name for name in _FIELDS if name not in absent]
    columns = names + [f"split_{number}" for number in range(1, len(folds) + 1)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for rows in zip(*folds, strict=True):
        values = [getattr(rows[0], name) for name in names]
        writer.writerow(["" if value is None else value for value in values] + [row.split for row in rows])
    files.write_text(path, text.getvalue())


def header(path: str | Path) -> list[str]:
    """Return the names of a manifest file's columns.

    Raises:
        UserError: it is no text.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; expected a CSV manifest in UTF-8.") from None


def read_csv(path: str | Path, fold: int, split: str | None = None) -> list[Clip]:
    """Read the rows of a manifest file for one fold (counted from 1).

    The columns `path`, `label` and `split` (or `split_1`, `split_2`, ...) are required, the others optional. A row
    whose cell is empty for this fold, and not for another one, is a clip that the fold does not use.

    Args:
        path: the file.
        fold: whose splits.
        split: of all rows, of a file that names none.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            split_column = _split_column(path, columns, fold, split)
            rows = [(line, row) for line, row in enumerate(reader, start=2) if split or _is_used(row, split_column)]
            return [_clip(path, line, row, split or row[split_column]) for line, row in rows]
    except FileNotFoundError:
        raise UserError(f"there is no manifest at {path}; check `data.root` or create it first.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; expected a CSV manifest in UTF-8.") from None


def _split_column(path: Path, columns: Sequence[str], fold: int, split: str | None) -> str:
    for required in ("path", "label"):
        if required not in columns:
            raise UserError(f"{path}: expected a column '{required}', found {', '.join(columns) or 'an empty file'}.")
    if f"split_{fold}" in columns:
        return f"split_{fold}"
    if split is not None or ("split" in columns and fold == 1):
        return "split"
    folds = [name for name in columns if name.startswith("split")]
    raise UserError(f"{path}: fold {fold} was asked for, the file has {', '.join(folds) or 'no split column'}.")


def _is_used(row: dict[str, str | None], split_column: str) -> bool:
    others = (row[name] for name in row if name and name.startswith("split_") and name != split_column)
    return bool(row[split_column]) or not any(others)


def _clip(path: Path, line: int, row: dict[str, str | None], split: str | None) -> Clip:
    values: dict[str, Any] = {"split": split}
    for name in _FIELDS:
        text = row.get(name)
        if name == "split" or text is None or text == "":
            continue
        try:
            values[name] = _NUMBERS.get(name, str)(text)
        except ValueError:
            raise UserError(f"{path}, line {line}: '{text}' is no number for '{name}'.") from None
    if "path" not in values:
        raise UserError(f"{path}, line {line}: the path is empty.")
    return Clip(**{"label": None, **values})
