"""The sheet: one picture that shows a clip, what the network says, and every method's maps over time.

Above, as in Figures 14 and 15 of Tran et al., "Temporal Human Action Recognition": one frame, the mean activation of
the first convolution, Grad-CAM and guided backpropagation, side by side. Below, a row per method over several frames.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence

import numpy as np

from keras_actrec.evaluation.thumbnails import thin
from keras_actrec.explain import pictures, rows
from keras_actrec.explain.explanation import Explanation, NotApplicable

COLUMNS = 8
CELL = 160
"""Pixels of a frame in a row; above it is as large as a quarter of the sheet's width."""
GAP, LINE, MARGIN = 6, 22, 14
_PAPER = ("activation", "grad_cam", "guided_backprop")
_INK, _PALE = (30, 30, 30), (110, 110, 110)


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a sheet shows.

    Attributes:
        heading: lines above the pictures.
        frames: uint8 (T, S, S, 3), as they are to be looked at.
        times: what is written above each frame.
        results: of all methods.
    """

    heading: Sequence[str]
    frames: np.ndarray
    times: Sequence[str]
    results: Sequence[Explanation | NotApplicable]

    @property
    def explanations(self) -> list[Explanation]:
        """The methods that apply."""
        return [result for result in self.results if isinstance(result, Explanation)]


def draw(shown: Shown) -> np.ndarray:
    """Return the sheet, uint8 (H, W, 3), RGB."""
    numbers = thin(np.arange(len(shown.frames)), COLUMNS)
    width = COLUMNS * CELL + (COLUMNS - 1) * GAP
    frames = pictures.resized(shown.frames, (CELL, CELL))
    drawn = {result.method: rows.draw(result, frames) for result in shown.explanations}
    parts = [_line(text, width, 0.62 if not number else 0.5) for number, text in enumerate(shown.heading)]
    parts += [_figure(shown, width), _line("", width)]
    parts += [_times([shown.times[number] for number in numbers], width), _row(frames[numbers], width)]
    for result in shown.explanations:
        parts += [_line(rows.title(result), width), _row(drawn[result.method][numbers], width)]
    parts += _notes(shown.results, width)
    return np.pad(np.concatenate(parts), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)


def telling_frame(explanations: Sequence[Explanation], frames: int) -> int:
    """Return the frame that is shown large: the one where Grad-CAM is warmest, or else the middle one."""
    for explanation in explanations:
        if explanation.method == "grad_cam" and explanation.heat.any():
            return int(explanation.heat.max(axis=(1, 2)).argmax())
    return frames // 2


def _figure(shown: Shown, width: int) -> np.ndarray:
    """Return frame, activation, Grad-CAM and guided backpropagation of one frame, side by side with captions."""
    number = telling_frame(shown.explanations, len(shown.frames))
    size = (width - 3 * GAP) // 4
    large = pictures.resized(shown.frames, (size, size))
    panels, captions = [large[number]], [f"(a) frame {shown.times[number]}"]
    for letter, method in zip("bcd", _PAPER, strict=True):
        found = [result for result in shown.explanations if result.method == method]
        if found:
            panels.append(rows.draw(found[0], large)[number])
            captions.append(f"({letter}) {rows.TITLES[method]}")
    text = _line("", width)
    for place, caption in enumerate(captions):
        pictures.write(text, caption, (place * (size + GAP), LINE - 7), 0.48, _INK)
    return np.concatenate([_row(panels, width), text])


def _row(panels: Sequence[np.ndarray], width: int) -> np.ndarray:
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    row = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)
    return np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255)


def _times(times: Sequence[str], width: int) -> np.ndarray:
    line = _line("", width)
    for place, time in enumerate(times):
        pictures.write(line, time, (place * (CELL + GAP), LINE - 7), 0.42, _PALE)
    return line


def _notes(results: Sequence[Explanation | NotApplicable], width: int) -> list[np.ndarray]:
    notes = [f"{result.method}: {result.reason}" for result in results if isinstance(result, NotApplicable)]
    return [_line(text, width, 0.4, _PALE) for note in notes for text in textwrap.wrap(note, width // 8)]


def _line(text: str, width: int, size: float = 0.48, colour: tuple[int, int, int] = _INK) -> np.ndarray:
    line = np.full((LINE if size < 0.6 else LINE + 6, width, 3), 255, np.uint8)
    pictures.write(line, text, (0, line.shape[0] - 7), size, colour)
    return line
