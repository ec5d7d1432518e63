"""How a prepared cache is laid out: its receipt, the entries of its index, and how they are compared."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import stat
from collections.abc import Sequence
from pathlib import Path

from keras_actrec.data import remote
from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError

FORMAT = 1
Key = tuple[str | float | None, ...]


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What a cache is made of and how.

    Attributes:
        format: version of the files' layout.
        clips: SHA-256 over path, stretch, depth and file size of every clip. Splits and labels do not count, so that
            one cache serves all folds.
        count: number of clips.
        short_side: shorter side of the frames, in pixels (smaller videos are not enlarged).
        quality: of the JPEGs, 1 to 100.
        frame_step: every so many-th frame is kept.
        clips_per_shard: clips per shard.
        depth_range_mm: distances that were mapped to grey values, where 16 bit depth pictures were read (see
            `data.image_sequence`); None where there were none.
    """

    format: int
    clips: str
    count: int
    short_side: int
    quality: int
    frame_step: int
    clips_per_shard: int
    depth_range_mm: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a clip's record lies, and what its video is.

    Attributes:
        path, start_sec, end_sec, start_frame, end_frame: which clip.
        shard: name of the file.
        offset, length: of the record in the file, in bytes.
        frames_at, depth_at: where the lists of JPEGs begin in the payload; None when there is no depth.
        frames, fps, height, width: of what is stored.
        source_bytes: size of the original video (and depth video) when it was read.
    """

    path: str
    start_sec: float | None
    end_sec: float | None
    shard: str
    offset: int
    length: int
    frames_at: int
    depth_at: int | None
    frames: int
    fps: float
    height: int
    width: int
    source_bytes: int | None
    start_frame: int | None = None
    end_frame: int | None = None

    @property
    def key(self) -> Key:
        """What a clip is found by."""
        return _key(self)


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A clip that could not be read when the cache was made."""

    path: str
    start_sec: float | None
    end_sec: float | None
    reason: str
    source_bytes: int | None
    start_frame: int | None = None
    end_frame: int | None = None

    @property
    def key(self) -> Key:
        """What a clip is found by."""
        return _key(self)


def key_of(clip: Clip) -> Key:
    """Return what a clip is found by: its file and stretch, whatever its label and split."""
    return (clip.path, *clip.stretch)


def _key(row: Entry | Unreadable) -> Key:
    frames = (row.start_frame, row.end_frame)
    return (row.path, row.start_sec, row.end_sec, *(() if frames == (None, None) else frames))


def row_of(entry: Entry | Unreadable) -> list[str | float | None]:
    """Return an entry as the index holds it: without frame numbers where there are none."""
    values = list(vars(entry).values())
    return values if len(entry.key) > 3 else values[:-2]


def fingerprint(clips: Sequence[Clip], root: Path) -> str:
    """Return the SHA-256 of what the clips are made of; a video that was replaced changes it by its size."""
    rows = [(*key_of(clip), clip.depth, source_bytes(root, clip)) for clip in clips]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def source_bytes(root: Path, clip: Clip) -> int | None:
    """Return the size of a clip's video (and depth video), in bytes; None when a file is not there.

    A folder of pictures counts 0: its own size is the file system's matter.
    """
    try:
        found = [(root / path).stat() for path in (clip.path, clip.depth) if path]
        return sum(0 if stat.S_ISDIR(status.st_mode) else status.st_size for status in found)
    except OSError:
        return None


def read_receipt(folder: remote.Folder) -> Receipt | None:
    """Return a cache's receipt; None when there is none."""
    if not folder.exists("receipt.json"):
        return None
    try:
        document = json.loads(folder.read("receipt.json"))
        distances = document.pop("depth_range_mm", None)
        return Receipt(**document, depth_range_mm=None if distances is None else tuple(map(float, distances)))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder.address}: receipt.json is no receipt of a prepared cache ({error}).") from None


def check_receipt(address: str, there: Receipt, wanted: Receipt, fields: Sequence[str]) -> None:
    """Refuse a cache whose receipt says otherwise in one of the fields; the message names the field."""
    for field in fields:
        old, new = getattr(there, field), getattr(wanted, field)
        if old != new:
            raise UserError(differs(address, field, old, new))


def write_receipt(folder: remote.Folder, receipt: Receipt) -> None:
    """Lay the receipt down, before anything else."""
    document = {name: value for name, value in dataclasses.asdict(receipt).items() if value is not None}
    folder.write("receipt.json", (json.dumps(document, indent=2) + "\n").encode())


def differs(address: str, field: str, old: object, new: object) -> str:
    """Return the sentence about a cache that does not fit."""
    if field in ("clips", "count"):
        what = "was made from other clips, or videos were replaced since"
    else:
        what = f"was made with {field} = {old}, {new} is asked for"
    return f"the prepared cache at {address} {what}; delete it, or name another folder or address (data.prepared)."


def sha256(folder: remote.Folder, name: str) -> str:
    """Return the SHA-256 of a file of a folder."""
    digest, offset, step = hashlib.sha256(), 0, 1 << 24
    while data := folder.read_range(name, offset, step):
        digest.update(data)
        offset += len(data)
    return digest.hexdigest()
