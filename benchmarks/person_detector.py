"""A small YOLOv8 detector of KerasCV, trained on the true boxes of stick-actions in a few minutes, and how good it is.

    python benchmarks/person_detector.py [--out runs/stick-detector] [--epochs 3] [--check]
    python -m keras_actrec boxes --config configs/quickstart.yaml --weights runs/stick-detector

Prints the mean overlap (intersection over union) of the boxes that `PersonDetector` finds in test clips with the true
ones; a frame in which it finds nobody counts 0. `--check` fails below 0.6. The folder that it leaves is a preset as
KerasCV's own are, for stick figures alone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentences import leave

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
LEAST_OVERLAP = 0.6
SIZE = 128
BATCH = 16
CHANNELS, DEPTH = (16, 32, 64, 128), (1, 1, 1, 1)
"""Of the backbone: a quarter to a half of the smallest that KerasCV has a preset of."""


def main() -> int:
    """Train, measure, print; with --check return 1 when the boxes are bad."""
    options = _parser().parse_args()
    import keras
    import numpy as np

    from keras_actrec.data import manifest

    keras.utils.set_random_seed(0)
    root = Path(options.root)
    clips = manifest.read_csv(root / "manifest.csv", 1)
    frames, boxes = examples(root, [clip for clip in clips if clip.split in ("train", "validation")], options.clips)
    print(f"{len(frames)} frames of {min(options.clips, len(clips))} clips", flush=True)
    detector = build()
    train(detector, frames, boxes, options.epochs)
    publish(detector, options.out)
    tests = [clip for clip in clips if clip.split == "test"]
    values = measure(options.out, root, _some(tests, options.test_clips))
    print(
        f"{len(values)} frames of test clips: mean overlap {np.mean(values):.3f}, above 0.5 in "
        f"{100 * np.mean(values > 0.5):.1f} %, nobody found in {100 * np.mean(values == 0):.1f} %"
    )
    print(f"preset: {options.out}")
    return int(options.check and np.mean(values) < LEAST_OVERLAP)


def examples(root: Path, clips: Sequence[Any], most: int, per_clip: int = 4) -> tuple[Any, Any]:
    """Return letterboxed frames, uint8 (N, S, S, 3), and their boxes, float32 (N, 4) in pixels of them."""
    import numpy as np

    from keras_actrec.data import boxes, decode, person_detector

    pictures, targets = [], []
    for clip in _some(clips, most):
        rows = boxes.read(root / clip.boxes)
        chosen = np.linspace(0, len(rows) - 1, per_clip + 2).astype(int)[1:-1]
        for frame, row in zip(decode.read_frames(root / clip.path, chosen, threads=1), rows[chosen], strict=True):
            if not np.isnan(row).any():
                height, width = person_detector.inner_size(*frame.shape[:2], SIZE)
                pictures.append(person_detector.letterbox(frame, SIZE))
                targets.append(row * [width, height, width, height])
    return np.stack(pictures), np.array(targets, np.float32)


def build() -> Any:
    """Return an untrained detector of one class."""
    from keras_cv.models import YOLOV8Backbone, YOLOV8Detector

    backbone = YOLOV8Backbone(
        stackwise_channels=list(CHANNELS),
        stackwise_depth=list(DEPTH),
        include_rescaling=True,
        input_shape=(SIZE, SIZE, 3),
    )
    return YOLOV8Detector(num_classes=1, bounding_box_format="xyxy", backbone=backbone, fpn_depth=1)


def train(detector: Any, frames: Any, boxes: Any, epochs: int) -> None:
    """Train as KerasCV's guide does: complete IoU and binary cross entropy; its own training step wants TensorFlow."""
    import keras
    import tensorflow as tf

    rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * (len(frames) // BATCH))
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=10.0)
    detector.compile(box_loss="ciou", classification_loss="binary_crossentropy", optimizer=optimizer, jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((frames, boxes)).shuffle(len(frames), seed=0)
    data = data.batch(BATCH, drop_remainder=True).map(
        lambda x, y: (tf.cast(x, tf.float32), {"boxes": y[:, None], "classes": tf.zeros((BATCH, 1))})
    )
    begin = time.monotonic()
    for epoch in range(epochs):
        loss = detector.fit(data, epochs=1, verbose=0).history["loss"][0]
        print(f"epoch {epoch + 1}: loss {loss:.3f}, {time.monotonic() - begin:.0f} s", flush=True)


def publish(detector: Any, folder: str) -> None:
    """Write the preset as KerasCV writes its own."""
    from keras_cv.src.utils.preset_utils import save_to_preset

    save_to_preset(detector, folder)


def measure(folder: str, root: Path, clips: Sequence[Any]) -> Any:
    """Return the overlap of found and true box in every frame of clips: float64 (N,)."""
    import numpy as np

    from keras_actrec.data import boxes, person_boxes
    from keras_actrec.data.person_detector import PersonDetector, overlaps
    from keras_actrec.data.source import VideoSource

    detector, source, values = PersonDetector.open(folder), VideoSource(root), []
    for clip in clips:
        found, height, width = person_boxes.find(clip, detector, source)
        true = boxes.read(root / clip.boxes, len(found)) * [width, height, width, height]
        shown = ~np.isnan(true).any(axis=1)
        values.append(overlaps(np.nan_to_num(found[shown]), true[shown]))
    return np.concatenate(values)


def _some(clips: Sequence[Any], most: int) -> list[Any]:
    import numpy as np

    chosen = np.random.default_rng(0).permutation(len(clips))[:most]
    return [clips[index] for index in sorted(chosen)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--root", default="datasets/stick-actions", help="stick-actions, rendered")
    parser.add_argument("--out", default="runs/stick-detector", help="folder that gets the preset")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--clips", type=int, default=600, help="training clips, four frames of each")
    parser.add_argument("--test-clips", type=int, default=30)
    parser.add_argument("--check", action="store_true", help=f"fail when the mean overlap is below {LEAST_OVERLAP}")
    return parser


if __name__ == "__main__":
    leave(main)
