"""Draw the tailor strategy on a clip of stick-actions' cluttered level.

    python docs/tailor_picture.py [--out docs/images/tailor.png] [--video videos/WaveArms/v_WaveArms_g01_c01.mp4]

The one clip is rendered into a temporary folder, read back from its files, and treated as the input pipeline does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from keras_actrec.config import StickActions
from keras_actrec.data import augment, person_cut
from keras_actrec.data.manifest import Clip
from keras_actrec.data.source import VideoSource
from keras_actrec.data.synthetic import plan, worker
from keras_actrec.data.views import Tailor, View
from keras_actrec.explain.pictures import write

SETTINGS = StickActions(clips_per_class=8, difficulty="hard", seed=0)
INPUT, PANEL, LABELS, GAP = 112, 168, 196, 6
"""Pixels: the network's input, a panel's side, the column of words, and the space between panels."""
INK, BOX, CUT = (30, 30, 30), (255, 60, 40), (0, 150, 255)


def render(root: Path, video: str) -> Clip:
    """Render the shot that a video comes from; return its clip."""
    shots = plan.plan(SETTINGS)
    for shot in shots:
        for output in shot.outputs:
            if output.path == video:
                worker.render_shot(root, SETTINGS, shot)
                return Clip(output.path, output.label, "test", boxes=output.boxes)
    known = [output.path for shot in shots for output in shot.outputs if shot.part == "labelled"]
    raise SystemExit(f"no video '{video}'; there are, for instance, {', '.join(known[:: len(known) // 12])}")


def rows_of(root: Path, clip: Clip, moments: int, wish: Tailor) -> list[np.ndarray]:
    """Return the rows: frames with box and cut, the cut, the factors, the result; uint8 (moments, H, PANEL, 3)."""
    source, view = VideoSource(root), View(size=INPUT, tailor=wish)
    info = source.probe(clip)
    person = person_cut.find(clip, view, source, info)
    times = np.linspace(0, info.frames - 1, moments).round().astype(int)
    frames = source.read(clip, times)
    cut = person.cut(frames)
    tailored = person.paint(cut, times, view, info.height, info.width)
    factors = person.paint(np.full_like(cut, 200), times, view, info.height, info.width)
    size = np.array([info.width, info.height] * 2)
    left, top, wide, high = person.region
    cut_px = np.array([left, top, left + wide, top + high]) * size
    return [outlined(frames, person.boxes[times] * size, cut_px), *map(squared, (cut, factors, tailored))]


def outlined(frames: np.ndarray, people_px: np.ndarray, cut_px: np.ndarray) -> np.ndarray:
    """Return frames as wide as a panel, with each one's box, and the cut that serves all of them."""
    zoom = PANEL / frames.shape[2]
    result = augment.resize(frames, round(frames.shape[1] * zoom), PANEL)
    for picture, person in zip(result, people_px, strict=True):
        for colour, corners in ((CUT, cut_px), (BOX, person)):
            x0, y0, x1, y1 = (corners * zoom).round().astype(int).tolist()
            far = (min(x1, PANEL - 2), min(y1, len(picture) - 2))
            cv2.rectangle(picture, (max(x0, 1), max(y0, 1)), far, colour, 2)
    return result


def squared(frames: np.ndarray) -> np.ndarray:
    """Return what the network would see of them, at a panel's size."""
    return augment.apply(frames, augment.IDENTITY, PANEL)


def sheet(rows: Sequence[np.ndarray], words: Sequence[Sequence[str]]) -> np.ndarray:
    """Lay rows of panels out, with a few words before each."""
    strips = []
    for panels, lines in zip(rows, words, strict=True):
        height = panels.shape[1]
        strip = np.full((height + GAP, LABELS + len(panels) * (PANEL + GAP), 3), 255, np.uint8)
        start = (height - 24 * (len(lines) - 1)) // 2 + 6
        for number, line in enumerate(lines):
            write(strip, line, (4, start + 24 * number), 0.64 if number == 0 else 0.52, INK)
        for number, panel in enumerate(panels):
            x = LABELS + number * (PANEL + GAP)
            strip[:height, x : x + PANEL] = panel
        strips.append(strip)
    return np.concatenate(strips)


def words_for(wish: Tailor) -> list[list[str]]:
    """Return what stands before each row."""
    return [
        ["Video", "red: person's box,", f"mean of {wish.smooth_frames} frames", "blue: the cut, one", "for all frames"],
        ["Cut", "around all boxes,", f"{wish.margin:.0%} margin, square", "where it fits"],
        [
            "Factors",
            f"box: x {wish.enhance:g}",
            f"rings of {wish.ring_px} pixels of",
            f"the input: x {wish.decay:g},",
            f"{wish.decay**2:.2f}, {wish.decay**3:.2f}, ...",
        ],
        ["Tailored", "what the network", "is given"],
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Render, draw, write the PNG."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "tailor.png")
    parser.add_argument("--video", default="videos/WaveArms/v_WaveArms_g01_c01.mp4", help="which clip")
    parser.add_argument("--moments", type=int, default=5, help="frames that are shown (default: 5)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(Path(folder), render(Path(folder), options.video), options.moments, Tailor())
    options.out.parent.mkdir(parents=True, exist_ok=True)
    picture = cv2.cvtColor(sheet(rows, words_for(Tailor())), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(options.out), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise SystemExit(f"cannot write {options.out}")
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
