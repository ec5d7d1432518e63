"""What is shown of each clip, put together before FiftyOne is asked: its video, or the reason why there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

import numpy as np

from keras_actrec.data.fiftyone_sets.fields import Row
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.errors import UnreadableVideoError
from keras_actrec.inspection import media, placeholder
from keras_actrec.inspection.media import Medium

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Shown:
    """One clip, ready for the App.

    Attributes:
        row: the clip and its splits.
        original: its file.
        medium: what is shown.
        reason: why the clip cannot be read; empty when it can.
        boxes: float64 (frames, 4), left, top, right, bottom as shares of the picture, NaN where nobody is seen; None
            without a box file.
        depth: copy of its depth video; None without one.
    """

    row: Row
    original: Path
    medium: Medium
    reason: str = ""
    boxes: np.ndarray | None = None
    depth: Path | None = None


@dataclasses.dataclass(frozen=True)
class Wish:
    """What of the clips is wanted.

    Attributes:
        boxes: person boxes.
        depth: copies of the depth videos, which no browser plays.
        workers: clips that are worked on at a time.
    """

    boxes: bool = True
    depth: bool = False
    workers: int = 1


def show(rows: Sequence[Row], source: VideoSource, folder: Path, wish: Wish, progress: Progress) -> list[Shown]:
    """Return what is shown of each clip, in their order; copies that are missing are made.

    Args:
        rows: the clips.
        source: reads them.
        folder: gets copies and placeholders.
        wish: what is wanted.
        progress: called with (clips done, clips in all).

    Raises:
        UserError: copies cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with futures.ThreadPoolExecutor(wish.workers) as pool:
        waiting = [pool.submit(_one, row, source, folder, wish) for row in rows]
        try:
            return [done.result() for done in _counted(waiting, progress)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what was asked for and not begun is left
            raise


def _counted(waiting: Sequence[futures.Future[Shown]], progress: Progress) -> Iterator[futures.Future[Shown]]:
    for number, done in enumerate(waiting, start=1):
        yield done
        progress(number, len(waiting))


def _one(row: Row, source: VideoSource, folder: Path, wish: Wish) -> Shown:
    clip = row.clip
    original = (Path(source.root) / clip.path).absolute()
    try:
        found = media.medium(clip, source, folder)
    except UnreadableVideoError as error:
        return Shown(row, original, placeholder.placeholder(error.reason, folder), error.reason)
    reasons: list[str] = []
    boxes = _part(reasons, lambda: source.boxes(clip)) if wish.boxes and clip.boxes else None
    depth = _part(reasons, lambda: media.depth_medium(clip, source, folder)) if wish.depth and clip.depth else None
    return Shown(row, original, found, "; ".join(reasons), boxes, depth)


def _part(reasons: list[str], read: Callable[[], object]) -> object | None:
    """Read what belongs to a clip; when it is damaged, the clip is still shown, with the reason."""
    try:
        return read()
    except UnreadableVideoError as error:
        reasons.append(error.reason)
        return None


def replace_reasons(shown: Sequence[Shown], known: Callable[[Clip], str]) -> list[Shown]:
    """Add the reasons for which a run or a check has put clips in quarantine that could be read here."""
    return [
        one if one.reason or not (reason := known(one.row.clip)) else dataclasses.replace(one, reason=reason)
        for one in shown
    ]
