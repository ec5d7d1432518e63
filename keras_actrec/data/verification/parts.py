"""The files that clips are made of: their video, further cameras, depth and person boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from keras_actrec.data import boxes, source
from keras_actrec.data.manifest import Clip
from keras_actrec.data.verification.results import Checked

ALL = ("rgb", "cameras", "depth", "boxes")


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of a clip.

    Attributes:
        kind: "video", "depth" or "boxes": how it is checked.
        path: relative to the data set's root.
        title: what stands before its reason: "" for the clip's own video, and for boxes, whose reasons say it.
    """

    kind: str
    path: str
    title: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What tells files apart."""
        return self.kind, self.path


def of(clip: Clip, wanted: Iterable[str]) -> list[Part]:
    """Return the files of a clip.

    Args:
        clip: the clip.
        wanted: which of `ALL`.
    """
    wanted = set(wanted)
    parts = [Part("video", clip.path)]
    if "cameras" in wanted and clip.cameras:
        seen = [clip.seen_by(camera).path for camera in range(1, 1 + len(clip.cameras.split(";")))]
        parts += [Part("video", path, f"camera {camera}: ") for camera, path in enumerate(seen, start=1)]
    if "depth" in wanted and clip.depth:
        parts.append(Part("depth", clip.depth, "depth video: "))
    if "boxes" in wanted and clip.boxes:
        parts.append(Part("boxes", clip.boxes))
    return parts


def reason(clip: Clip, wanted: Iterable[str], found: Mapping[tuple[str, str], Checked]) -> str | None:
    """Return why a clip cannot be read, None when it can: the first reason of its files, or that they do not fit.

    Args:
        clip: the clip.
        wanted: which of `ALL`.
        found: what is known of files, by `Part.key`.
    """
    frames = None
    for part in of(clip, wanted):
        checked = found[part.key]
        why = checked.reason or _of_stretch(clip, part, checked) or _of_length(part, checked, frames)
        if why:
            return f"{part.title}{why}"
        frames = checked.facts["frames"] if frames is None else frames
    return None


def stretch_key(clip: Clip) -> str:
    """Return under which name the facts of a file keep whether a clip's stretch of it has frames."""
    return repr((*clip.stretch, clip.fps))


def _of_stretch(clip: Clip, part: Part, checked: Checked) -> str | None:
    return checked.facts["stretches"].get(stretch_key(clip)) if part.kind == "video" else None


def _of_length(part: Part, checked: Checked, frames: int | None) -> str | None:
    """Return why a depth video or a box file does not belong to a video of so many frames."""
    count = checked.facts["frames"]
    if part.kind == "depth" and frames - count > max(source.DEPTH_LACKS_FRAMES, source.DEPTH_LACKS_SHARE * frames):
        return f"{count} frames for {frames} of the video"
    if part.kind == "boxes" and abs(frames - count) > max(boxes.TOLERATED_FRAMES, boxes.TOLERATED_SHARE * frames):
        return f"box file: {count} boxes for {frames} frames of the video"
    return None
