"""Box files: where the person is in each frame of a video.

    {"height": 120, "width": 160, "boxes": [[69.9, 31.3, 96.1, 119.9], null, ...]}

One row per frame: left, top, right, bottom in pixels of a picture of `width` x `height`, or null where nobody is seen.
Pixels are counted from the left and upper edges of the picture, so that a box of the whole picture is 0, 0, width,
height. Further keys are ignored. `stick-actions` comes with such files, and the detector's are written by `write`.

A bad box file makes its clip an unreadable one: it is quarantined with the reason, and the run goes on.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from keras_actrec import files
from keras_actrec.errors import UnreadableVideoError

DETECTED = "boxes-yolov8"
"""Folder in a data set's root for the box files that a detector made; no class of videos."""
TOLERATED_FRAMES = 2
TOLERATED_SHARE = 0.1
"""By how many frames, or by which share of the video's, the number of boxes may differ from that of the frames: counts
of two decoders differ at the end of a file, as those of video and depth do."""


def read(path: str | os.PathLike[str], frames: int | None = None) -> np.ndarray:
    """Read a box file.

    What lies outside of the picture is cut off; a box of which nothing is left counts as nobody seen.

    Args:
        path: the file.
        frames: of the video; None: as many as the file has boxes. Of a few boxes too many the last are left out, and
            in the frames of a few that are missing at the end nobody is seen; more of either is an error.

    Returns:
        float64 (frames, 4): left, top, right, bottom as shares of the picture's width and height; rows of NaN where
        nobody is seen.

    Raises:
        UnreadableVideoError: with the reason: the file is missing or damaged, its numbers make no sense, or it does not
            belong to a video of so many frames.
    """
    document = _document(path)
    boxes = _shares(path, document)
    return boxes if frames is None else _for_frames(path, boxes, frames)


def write(path: str | os.PathLike[str], boxes_px: np.ndarray, height: int, width: int) -> None:
    """Publish a box file, with one decimal.

    Args:
        path: the file; its folder is made.
        boxes_px: (n, 4): left, top, right, bottom in pixels; rows of NaN where nobody is seen.
        height: of the picture that the pixels are counted in.
        width: of that picture.

    Raises:
        ValueError: the boxes are no (n, 4), are infinite, half NaN or turned inside out, or the picture has no size.
    """
    boxes_px = np.asarray(boxes_px, np.float64)
    if boxes_px.ndim != 2 or boxes_px.shape[1] != 4 or not (height > 0 and width > 0):
        raise ValueError(f"expected boxes (n, 4) in a picture, got {boxes_px.shape} in one of {width} x {height}")
    unseen = np.isnan(boxes_px).all(axis=1)
    wrong = np.flatnonzero(~unseen & (~np.isfinite(boxes_px).all(axis=1) | _inside_out(boxes_px)))
    if len(wrong):
        raise ValueError(f"frame {wrong[0]}: expected left <= right and top <= bottom, got {boxes_px[wrong[0]]}")
    rows = [None if hidden else row for hidden, row in zip(unseen, boxes_px.round(1).tolist(), strict=True)]
    files.write_json(path, {"height": int(height), "width": int(width), "boxes": rows})


def _document(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        document = files.read_json(path)
    except FileNotFoundError:
        raise _bad(path, "missing file") from None
    except OSError as error:
        raise _bad(path, error.strerror or "cannot be opened") from None
    except (ValueError, RecursionError):  # also bytes that are no text, and numbers of thousands of digits
        raise _bad(path, "damaged: no JSON") from None
    keys = {"height", "width", "boxes"}
    if not isinstance(document, dict) or not keys <= document.keys() or not isinstance(document["boxes"], list):
        raise _bad(path, "expected height, width and a list of boxes")
    return document


def _shares(path: str | os.PathLike[str], document: dict[str, Any]) -> np.ndarray:
    size = [document["width"], document["height"]]
    if not _are_numbers(size) or not all(1 <= side < math.inf for side in size):
        raise _bad(path, f"a picture of {_short(size[0])} x {_short(size[1])} pixels")
    rows = document["boxes"]
    for number, row in enumerate(rows):
        if row is not None and not (isinstance(row, list) and len(row) == 4 and _are_numbers(row)):
            raise _bad(path, f"frame {number}: expected four numbers or null, got {_short(row)}")
    try:
        boxes = np.array([[np.nan] * 4 if row is None else row for row in rows], np.float64).reshape(-1, 4)
        shares = boxes / np.array([*size, *size], np.float64)
    except OverflowError:
        raise _bad(path, "numbers beyond all measure") from None
    seen = np.array([row is not None for row in rows], bool)
    wrong = np.flatnonzero(seen & ~np.isfinite(shares).all(axis=1))
    if len(wrong):
        raise _bad(path, f"frame {wrong[0]}: a box that is not finite")
    wrong = np.flatnonzero(_inside_out(shares))
    if len(wrong):
        raise _bad(path, f"frame {wrong[0]}: a box turned inside out, {_short(rows[wrong[0]])}")
    shares = np.clip(shares, 0.0, 1.0)
    nothing_left = (shares[:, 0] >= shares[:, 2]) | (shares[:, 1] >= shares[:, 3])
    shares[nothing_left] = np.nan
    return shares


def _for_frames(path: str | os.PathLike[str], boxes: np.ndarray, frames: int) -> np.ndarray:
    if abs(frames - len(boxes)) > max(TOLERATED_FRAMES, TOLERATED_SHARE * frames):
        raise _bad(path, f"{len(boxes)} boxes for {frames} frames of the video")
    missing = np.full((max(0, frames - len(boxes)), 4), np.nan)
    return np.concatenate([boxes[:frames], missing])


def _inside_out(boxes: np.ndarray) -> np.ndarray:
    """Return which boxes (n, 4) have their right before their left, or their bottom above their top; NaN has not."""
    return (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])


def _are_numbers(values: list[Any]) -> bool:
    return {type(value) for value in values} <= {int, float}  # True is none, though Python counts with it


def _short(value: Any) -> str:
    """Return a value's beginning, for a sentence."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _bad(path: str | os.PathLike[str], reason: str) -> UnreadableVideoError:
    return UnreadableVideoError(str(path), f"box file: {reason}")
