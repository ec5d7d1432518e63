"""The video with what networks say of it: label and confidence below the picture, and a timeline that is played along.

The result is H.264 where FFmpeg has an encoder for it, without sound, at the video's average rate, no wider or higher
than 1280 pixels; small videos are enlarged, so that the writing can be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from keras_actrec.data import decode
from keras_actrec.data.synthetic.recording import for_browsers, write_video
from keras_actrec.errors import UserError
from keras_actrec.serving.answers import Answer
from keras_actrec.serving.output import clock
from keras_actrec.serving.predictor import UNKNOWN

_SMALLEST_PX, _LARGEST_PX = 480, 1280
_HELD_BYTES = 64 << 20
_PANEL_PX, _MARGIN_PX = 76, 12
_INK, _SOFT, _PAPER, _LINE = (244, 246, 249), (148, 158, 175), (28, 36, 48), (66, 76, 92)
COLOURS = ("#4c9be8", "#e8834c", "#3fb68b", "#d98cc0", "#e6b422", "#8fc7f0", "#8d80d6", "#c0677e")
"""Of the labels, in turn as they first appear; "unknown" is grey."""


def write(target: str | os.PathLike[str], video: str | os.PathLike[str], answer: Answer) -> None:
    """Write the annotated video.

    Args:
        target: an MP4 file.
        video: the file that was asked about.
        answer: what was told of it.

    Raises:
        UserError: the target's name does not end with .mp4, or names the video itself.
        UnreadableVideoError: a frame of the video cannot be decoded.
    """
    check_target(target, video)
    times, info = decode.frame_times(video), answer.facts
    size = _even_size(info.height, info.width)
    painter = _Painter(answer, size[1])
    frames = (painter.paint(picture, times[number]) for number, picture in _pictures(video, info.frames, size))
    write_video(Path(target), frames, for_browsers(), Fraction(info.fps).limit_denominator(1001))


def check_target(target: str | os.PathLike[str], video: str | os.PathLike[str]) -> None:
    """Raise a `UserError` where the annotated video cannot go to a file."""
    if Path(target).suffix.lower() != ".mp4":
        raise UserError(f"--annotate writes an MP4 file; expected a name that ends with .mp4, got {target}.")
    if Path(target).exists() and Path(video).exists() and Path(target).samefile(video):
        raise UserError(f"--annotate {target} would overwrite the video itself; name another file.")


def _pictures(video: str | os.PathLike[str], frames: int, size: tuple[int, int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield all frames in order, of a few decoded at a time."""
    at_once = max(8, _HELD_BYTES // (3 * size[0] * size[1]))
    for start in range(0, frames, at_once):
        numbers = range(start, min(start + at_once, frames))
        yield from zip(numbers, decode.read_frames(video, list(numbers), size), strict=True)


def _even_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width of the picture in the result: even, as H.264 wants them."""
    scale = max(1.0, _SMALLEST_PX / width) if max(height, width) < _LARGEST_PX else _LARGEST_PX / max(height, width)
    scale = min(scale, _LARGEST_PX / max(height, width))
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


class _Painter:
    """Draws the panel below a picture.

    Args:
        answer: of the video.
        width: of the picture, in pixels.
    """

    def __init__(self, answer: Answer, width: int) -> None:
        self._answer, self._width = answer, width
        self._ends = np.array([one.end_sec for one in answer.timeline])
        self._centres = np.array([one.centre_sec for one in answer.windows])
        names = [name for name in dict.fromkeys(answer.names) if name != UNKNOWN]
        self._colours = {name: _rgb(COLOURS[place % len(COLOURS)]) for place, name in enumerate(names)}
        self._panel = self._draw_panel()

    def paint(self, picture: np.ndarray, time_sec: float) -> np.ndarray:
        """Return the picture, uint8 (H, W, 3), with the panel below it."""
        panel = self._panel.copy()
        segment = self._answer.timeline[min(int(np.searchsorted(self._ends, time_sec, "right")), len(self._ends) - 1)]
        nearest = int(np.abs(self._centres - time_sec).argmin())
        _write(panel, _fitting(segment.label, self._width - 190), (_MARGIN_PX, 28), _INK, 0.75)
        self._bar(panel, self._answer.confidences[nearest], self._colour(segment.label))
        self._playhead(panel, time_sec)
        return np.concatenate([picture, panel])

    def _draw_panel(self) -> np.ndarray:
        panel = np.full((_PANEL_PX, self._width, 3), _PAPER, np.uint8)
        for one in self._answer.timeline:
            left, right = self._place(one.start_sec), self._place(one.end_sec)
            cv2.rectangle(panel, (left, 44), (max(left, right - 2), 56), self._colour(one.label), -1)
        _write(panel, "0:00", (_MARGIN_PX, 71), _SOFT, 0.4)
        end = clock(self._answer.facts.duration_sec)
        _write(panel, end, (self._width - _MARGIN_PX - _wide(end, 0.4), 71), _SOFT, 0.4)
        return panel

    def _bar(self, panel: np.ndarray, confidence: float, colour: tuple[int, int, int]) -> None:
        left, right = self._width - 170, self._width - 70
        cv2.rectangle(panel, (left, 14), (right, 28), _LINE, -1)
        cv2.rectangle(panel, (left, 14), (left + round((right - left) * confidence), 28), colour, -1)
        _write(panel, f"{100 * confidence:.0f} %", (right + 8, 27), _INK, 0.5)

    def _playhead(self, panel: np.ndarray, time_sec: float) -> None:
        place = self._place(time_sec)
        cv2.line(panel, (place, 40), (place, 60), _INK, 2)

    def _place(self, time_sec: float) -> int:
        share = time_sec / max(self._answer.facts.duration_sec, 1e-9)
        return round(_MARGIN_PX + min(share, 1.0) * (self._width - 2 * _MARGIN_PX))

    def _colour(self, label: str) -> tuple[int, int, int]:
        return self._colours.get(label, _SOFT)


def _write(panel: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, int, int], scale: float) -> None:
    cv2.putText(panel, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _wide(text: str, scale: float) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]


def _fitting(text: str, width: int) -> str:
    """Return a text that is no wider than so many pixels; OpenCV's letters are ASCII."""
    text = text.encode("ascii", "replace").decode()
    while len(text) > 1 and _wide(text, 0.75) > width:
        text = f"{text.rstrip('.')[:-1]}..."
        if text == "...":
            break
    return text


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(colour[1:]))
