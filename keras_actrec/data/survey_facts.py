"""What a survey finds of single clips, and the file that keeps it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_actrec import files
from keras_actrec.data.manifest import Clip

FORMAT = 1

Key = tuple[str | float | None, ...]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What was found of one clip.

    Attributes:
        path, start_sec, end_sec, start_frame, end_frame: of the clip.
        size_bytes, changed_ns: of its file when it was read; another file is read again.
        frames: number of frames; 0 when the clip cannot be read, like all that follows.
        fps: frames per second.
        width, height: of a frame, in pixels.
        motion: mean absolute difference of adjacent frames in grey values of 0..255; None when not measured.
        reason: why the clip cannot be read; None when it can.
    """

    path: str
    start_sec: float | None
    end_sec: float | None
    size_bytes: int
    changed_ns: int
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    motion: float | None = None
    reason: str | None = None
    start_frame: int | None = None
    end_frame: int | None = None

    @property
    def seconds(self) -> float:
        """Length at the average frame rate."""
        return self.frames / self.fps if self.fps else 0.0


def key_of(clip: Clip | Facts) -> Key:
    """Return what tells a clip from all others, whatever its split is."""
    seconds, frames = (clip.start_sec, clip.end_sec), (clip.start_frame, clip.end_frame)
    return (clip.path, *seconds, *(() if frames == (None, None) else frames))


def save(path: str | Path, found: Mapping[Key, Facts], settings: Sequence[int]) -> None:
    """Publish facts, so that the next survey reads only what is new.

    Args:
        path: the JSON file.
        found: the facts.
        settings: what they depend on beside the files.
    """
    rows = [dataclasses.astuple(found[key]) for key in sorted(found, key=str)]
    names = [field.name for field in dataclasses.fields(Facts)]
    files.write_json(path, {"format": [FORMAT, *settings], "fields": names, "clips": rows})


def load(path: str | Path, settings: Sequence[int]) -> dict[Key, Facts]:
    """Read facts; none, when there are none or they were measured with other settings."""
    if not Path(path).is_file():
        return {}
    try:
        document = files.read_json(path)
        if document["format"] != [FORMAT, *settings]:
            return {}
        rows = [Facts(*row) for row in document["clips"]]
    except (ValueError, TypeError, KeyError):  # damaged: the videos are there to be read again
        return {}
    return {key_of(facts): facts for facts in rows}
