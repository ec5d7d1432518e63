"""Videos whose pixels tell clip and frame, and loaders over them."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np

from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.views import Augmentation, View
from keras_actrec.errors import UnreadableVideoError

PLAIN = View(frames=4, size=16, normalization="none")
CLASSES = ("jump", "run", "sit")
STRONG = Augmentation(zoom=0.1, rotation_deg=8, shift=0.2, flip=0.5, resized_crop=0.5, brightness=0.3, hue=0.1)


class FakeSource:
    """Videos whose red is 10 x frame number, whose green tells the clip, whose blue is noise; some cannot be read."""

    def __init__(self, frames: int = 20, height: int = 24, width: int = 32, slow: bool = False) -> None:
        self.info = VideoInfo(frames, 25.0, width, height, 0)
        self.slow = slow
        self.reads: list[tuple[str, tuple[int, ...], object, str]] = []
        self.inside = self.most_inside = 0
        self.lock = threading.Lock()

    def probe(self, clip: Clip) -> VideoInfo:
        if "empty" in clip.path:
            raise UnreadableVideoError(clip.path, "empty file")
        return self.info

    def read(self, clip: Clip, indices: np.ndarray, size: object = None, modality: str = "rgb") -> np.ndarray:
        self.reads.append((clip.path, tuple(int(index) for index in indices), size, modality))
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.inside, self.most_inside)
        if self.slow:
            time.sleep(0.002 * (1 + len(self.reads) % 5))
        with self.lock:
            self.inside -= 1
        if "cut" in clip.path:
            raise UnreadableVideoError(clip.path, "truncated: 3 of 20 frames can be decoded")
        if "broken" in clip.path:
            raise ZeroDivisionError("a defect")
        number = int("".join(filter(str.isdigit, clip.path)) or 0)
        noise = np.random.default_rng(number).integers(0, 256, (self.info.height, self.info.width), np.uint8)
        frames = np.empty((len(indices), self.info.height, self.info.width, 3), np.uint8)
        frames[..., 0] = 10 * np.asarray(indices)[:, None, None]
        frames[..., 1] = number
        frames[..., 2] = noise
        if modality == "depth":
            frames = frames[..., 2:]
        if size is None:
            return frames
        wide = round(self.info.width * size / self.info.height)
        return np.stack([cv2.resize(f, (wide, size)).reshape(size, wide, -1) for f in frames])


def clips(count: int = 11, **names: str) -> list[Clip]:
    """Clips clip00 ... whose label goes round; `names` replaces the file of some, as n3="empty"."""
    return [
        Clip(names.get(f"n{n}", f"clip{n:02d}") + ".avi", CLASSES[n % 3], "train", depth="d.avi") for n in range(count)
    ]


def loader(rows: list[Clip] | None = None, source: FakeSource | None = None, **options: object) -> Loader:
    settings = {
        "views": (View(frames=4, size=16, selection="random_run", augmentation=STRONG),),
        "batch_size": 4,
        "seed": 3,
        "shuffle": True,
        "quarantine": Quarantine(),
        "workers": 2,
        **options,
    }
    views = settings.pop("views")
    return Loader(clips() if rows is None else rows, CLASSES, views, source or FakeSource(), **settings)


def epoch_of(one: Loader, epoch: int) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
    one.set_epoch(epoch)
    return list(one.dataset().as_numpy_iterator())


def digest(batches: list) -> list[bytes]:
    return [
        b"".join(inputs[name].tobytes() for name in sorted(inputs)) + labels.tobytes() for inputs, labels in batches
    ]
