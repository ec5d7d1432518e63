"""The picture that stands for a clip which cannot be read: its reason, as a video that every browser plays."""

from __future__ import annotations

import hashlib
import textwrap
from pathlib import Path

import cv2
import numpy as np

from keras_actrec.inspection import media

HEIGHT_PX, WIDTH_PX, FRAMES, FPS = 240, 320, 4, 4.0
_PAPER, _INK, _MARK = (236, 232, 228), (60, 52, 48), (176, 58, 46)
_LETTERS, _LINES, _LINE_PX = 32, 6, 26


def placeholder(reason: str, folder: Path) -> media.Medium:
    """Return a video that shows a reason, after making it."""
    target = folder / f"unreadable-{hashlib.sha256(reason.encode()).hexdigest()[:16]}.mp4"
    if not target.is_file():
        media.write(target, iter([draw(reason)] * FRAMES), FPS)
    return media.Medium(target.resolve(), True, FRAMES, FPS, WIDTH_PX, HEIGHT_PX)


def draw(reason: str) -> np.ndarray:
    """Return the picture, uint8 (H, W, 3), RGB."""
    picture = np.full((HEIGHT_PX, WIDTH_PX, 3), _PAPER, np.uint8)
    cv2.line(picture, (16, 52), (WIDTH_PX - 16, 52), _MARK, 2)
    cv2.putText(picture, "not readable", (16, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, _MARK, 2, cv2.LINE_AA)
    for line, text in enumerate(textwrap.wrap(reason, _LETTERS)[:_LINES]):
        place = (16, 84 + line * _LINE_PX)
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    return picture
