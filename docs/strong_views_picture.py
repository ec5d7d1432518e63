"""Draw the weak view and the strong views of a clip of stick-actions' cluttered level.

    python docs/strong_views_picture.py [--out docs/images/strong-views.jpg] [--seeds 3 30]

The one clip is rendered into a temporary folder, read back from its files, and changed as the input pipeline does. All
rows share the random numbers: what is drawn for the weak view is in every one of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tailor_picture import GAP, LABELS, PANEL, render, sheet

from keras_actrec.data import augment
from keras_actrec.data.source import VideoSource
from keras_actrec.data.views import Augmentation

WEAK = Augmentation(flip=0.5, resized_crop=0.5)
STRONG = {
    "Weak": {},
    "RandAugment": {"rand_augment": 2},
    "AutoAugment": {"auto_augment": True},
    "Patches": {"patch_dropout": 0.2},
    "Strong": {"rand_augment": 2, "patch_dropout": 0.2},
}
WORDS = {
    "Weak": ["flip and resized crop"],
    "RandAugment": ["two operations of ten,", "drawn strengths"],
    "AutoAugment": ["one of 25 pairs of", "operations"],
    "Patches": ["20% of 8 x 8 patches", "blanked in all frames"],
    "Strong": ["RandAugment, then", "patches"],
}


def rows_of(frames: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return a row of changed frames for each set of changes: uint8 (T, PANEL, PANEL, 3)."""
    rows = []
    for changes in STRONG.values():
        settings = dataclasses.replace(WEAK, **changes)
        outcome = augment.draw(settings, np.random.default_rng(seed), *frames.shape[1:3])
        names = [operation.name for operation in (*outcome.operations, *outcome.auto_operations)]
        print(f"draw {seed}, {', '.join(changes) or 'weak'}: {', '.join(names) or '-'}")
        rows.append(augment.apply(frames, outcome, PANEL))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Render, change, draw, write the JPEG."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "strong-views.jpg")
    parser.add_argument("--video", default="videos/WaveArms/v_WaveArms_g01_c01.mp4", help="which clip")
    parser.add_argument("--moments", type=int, default=3, help="frames that are shown (default: 3)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 30], help="which draws are shown")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        source, clip = VideoSource(Path(folder)), render(Path(folder), options.video)
        times = np.linspace(0, source.probe(clip).frames - 1, options.moments).round().astype(int)
        frames = source.read(clip, times)
    words = [[name, *lines] for name, lines in WORDS.items()]
    sheets = [sheet(rows_of(frames, seed), words) for seed in options.seeds]
    # The words stand before the first draw alone; the others come after a gap.
    picture = np.concatenate([sheets[0], *(other[:, LABELS - 2 * GAP :] for other in sheets[1:])], axis=1)
    picture[:, sheets[0].shape[1] : sheets[0].shape[1] + GAP] = 255
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(options.out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88]):
        raise SystemExit(f"cannot write {options.out}")
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
