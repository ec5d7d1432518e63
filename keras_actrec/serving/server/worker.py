"""What workers do for the server: functions that `guarded.worker` runs by their names on one file.

They never see more of the server than their arguments, which are JSON.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from keras_actrec.data import assemble, decode
from keras_actrec.data.guarded.admission import admit, check
from keras_actrec.data.guarded.limits import Limits
from keras_actrec.data.guarded.reading import VideoSource  # also keeps OpenCV to one thread
from keras_actrec.data.manifest import Clip
from keras_actrec.data.views import View
from keras_actrec.errors import UserError
from keras_actrec.serving import reading
from keras_actrec.serving.reading import Plain, Wish
from keras_actrec.serving.windows import Sliding

PREVIEW_PX, PREVIEW_FPS, PREVIEW_SEC = 240, 12.5, 60.0
_PREVIEW_BYTES = 100_000_000


def part(
    path: str,
    limits: Limits,
    wishes: list[dict[str, Any]],
    sliding: dict[str, float] | None,
    start: int,
    most_windows: int,
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read one part of a video (see `reading.Opened`).

    Returns:
        {"facts", "windows": all windows (with the first part only), "starts": with which windows parts begin, "read":
        numbers of the windows that could be read, "lost": [number, reason]}, and for each wish the arrays of its views.
    """
    admit(path, limits)
    cut = Sliding(**sliding) if sliding else None
    _check_count(path, limits, cut, most_windows)
    opened = reading.open_video(path, cut)
    wanted = tuple(wish_from_json(wish) for wish in wishes)
    found = opened.part(wanted, start)
    numbers = {window: number for number, window in enumerate(opened.windows)}
    told = {
        "facts": dataclasses.asdict(opened.facts),
        "windows": [dataclasses.astuple(window) for window in opened.windows] if not start else [],
        "starts": list(opened.starts(wanted)) if not start else [],
        "read": [numbers[window] for window in found.windows],
        "lost": [[numbers[window], reason] for window, reason in found.lost],
    }
    given = zip(wanted, found.frames, strict=True) if found.windows else ()
    return told, [frames[view.name] for wish, frames in given for view in wish.views]


def looked_at(
    path: str, limits: Limits, wish: dict[str, Any], stretch: list[float] | None, size: int
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read what a network is given of a video, or of a stretch of it, and the same larger, for the eye.

    Args:
        path: of the file.
        limits: on it.
        wish: of the network, which takes one input.
        stretch: start and end in seconds; None: the whole video.
        size: height and width of the larger frames, in pixels.

    Returns:
        {"indices", "fps", "height", "width"} and uint8 (T, S, S, C) twice.
    """
    admit(path, limits)
    (view,) = wish_from_json(wish).of_window().views
    start, end = stretch or (None, None)
    clip = Clip(path, None, "test", start_sec=start, end_sec=end, depth=path)
    source = Plain(VideoSource("/"))
    info, key = source.probe(clip), assemble.Key(wish["seed"], 0, 0)
    check(path, source.probe(Clip(path, None, "test")), limits)
    views = [view, dataclasses.replace(view, size=max(size, view.size))]
    small, large = (assemble.assemble_evaluation(clip, [one], source, key)[0][0] for one in views)
    indices = assemble.frames_of(clip, view, source)
    facts = {"indices": indices.tolist(), "fps": info.fps, "height": info.height, "width": info.width}
    return facts, [small, large]


def preview(path: str, limits: Limits) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Return small frames of a video that browsers cannot play: {"fps"} and uint8 (T, H, W, 3)."""
    admit(path, limits)
    info = decode.probe(path)
    check(path, info, limits)
    step = max(1, round(info.fps / PREVIEW_FPS))
    numbers = np.arange(0, min(info.frames, round(PREVIEW_SEC * info.fps)), step)
    scale = min(1.0, PREVIEW_PX / min(info.height, info.width))
    size = tuple(max(2, round(side * scale / 2) * 2) for side in (info.height, info.width))
    numbers = numbers[: max(1, _PREVIEW_BYTES // (3 * size[0] * size[1]))]
    return {"fps": info.fps / step}, [decode.read_frames(path, numbers, size, threads=1)]


def wish_to_json(wish: Wish) -> dict[str, Any]:
    """Return a wish as JSON."""
    return dataclasses.asdict(wish)


def wish_from_json(document: dict[str, Any]) -> Wish:
    """Return the wish of `wish_to_json`."""
    return Wish(tuple(View(**view) for view in document["views"]), document["seed"])


def _check_count(path: str, limits: Limits, cut: Sliding | None, most_windows: int) -> None:
    """Refuse a video before it is cut into more windows than anybody should ask about."""
    info = decode.probe(path)
    check(path, info, limits)
    count = math.ceil(info.frames / info.fps / cut.hop_sec) if cut and info.fps else 1
    if count > most_windows:
        raise UserError(
            f"this video would be cut into {count} windows, at most {most_windows} are allowed; take a longer hop."
        )
