"""Sample frames of each class, as strips for a data set's page."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures

import numpy as np

from keras_actrec.data import survey
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import FrameSource
from keras_actrec.data.survey_facts import Facts, Key, key_of
from keras_actrec.errors import UnreadableVideoError

CLIPS, FRAMES = 2, 3
"""Clips of each class, and frames of each clip: early, in the middle, late."""
HEIGHT, GAP, QUALITY = 84, 3, 78
"""Height of a frame and space between frames in pixels; quality of the JPEGs."""


@dataclasses.dataclass(frozen=True)
class Strip:
    """Frames of one clip in a row.

    Attributes:
        path: of the clip.
        image: data URI of a JPEG.
    """

    path: str
    image: str


def strips(
    clips: Sequence[Clip],
    found: Mapping[Key, Facts],
    source: FrameSource,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[Strip]]:
    """Return class name -> strips of the first readable clips of the survey's sample; bad files are left out."""
    classes = survey.sample((clip for clip in clips if found[key_of(clip)].reason is None), CLIPS)
    chosen = [(name, clip) for name, members in classes.items() for clip in members]
    result: dict[str, list[Strip]] = {name: [] for name in classes}
    with futures.ThreadPoolExecutor(workers) as pool:
        made = pool.map(lambda pair: _strip(pair[1], source), chosen)
        for done, ((name, _), strip) in enumerate(zip(chosen, made, strict=True), start=1):
            result[name].extend([strip] if strip else [])
            if progress:
                progress(done, len(chosen))
    return result


def places(frames: int) -> np.ndarray:
    """Return the numbers of the frames that are shown: the centres of equal parts of the clip."""
    return np.floor((np.arange(FRAMES) + 0.5) * frames / FRAMES).astype(np.int64)


def encode(frames_uint8: np.ndarray) -> str:
    """Return frames (T, H, W, 3), RGB, side by side as the data URI of a JPEG."""
    import cv2

    line = np.full((frames_uint8.shape[1], GAP, 3), 255, np.uint8)
    row = np.concatenate([part for frame in frames_uint8 for part in (frame, line)][:-1], axis=1)
    done, data = cv2.imencode(".jpg", row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise ValueError(f"OpenCV cannot encode a picture of shape {row.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _strip(clip: Clip, source: FrameSource) -> Strip | None:
    try:
        info = source.probe(clip)
        size = (HEIGHT, max(1, round(info.width * HEIGHT / info.height)))
        return Strip(clip.path, encode(source.read(clip, places(info.frames), size)))
    except (UnreadableVideoError, OSError):
        return None  # damaged beyond the first frame; the page shows the others
