"""Runs, videos and files that are none, made for the tests of serving."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from keras_actrec import files

CLASSES = ("Jump", "Run", "Sit", "Wave")
FPS = 20


def save_run(
    path: Path,
    classes: tuple[str, ...] = CLASSES,
    *,
    seed: int = 0,
    data: str = "{frames: 4, size: 32}",
    model: str = "{name: convnet_transformer, backbone: tiny, weights: none, widths: [6, 8]}",
    clips: int = 1,
    training_clip: dict[str, Any] | None = None,
) -> Path:
    """Write a run directory as training leaves it, with a network that has not learnt anything."""
    import keras

    from keras_actrec import models
    from keras_actrec.config import load_config

    path.mkdir(parents=True)
    (path / "config.yaml").write_text(
        f"name: {path.name}\nseed: {seed}\ndata: {data}\nmodel: {model}\nevaluation: {{clips: {clips}}}\n"
    )
    config = load_config(path / "config.yaml")
    row = training_clip or {"path": "a.mp4", "label": classes[0], "split": "train", "frames": 40, "fps": 20.0}
    files.write_json(path / "manifest.lock", {"classes": list(classes), "clips": [row]})
    keras.utils.set_random_seed(seed)
    architecture = models.make_config_for(config.model.name, len(classes), config.data, config.model.options)
    network = models.build_from_config(config.model.name, architecture)
    # Untrained classifiers are nearly undecided; larger weights make answers that differ.
    logits = network.get_layer("logits")
    logits.set_weights([logits.get_weights()[0] * 20, *logits.get_weights()[1:]])
    network.save(path / "model.keras")
    return path


def pictures(frames: int, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Iterator[np.ndarray]:
    """Coarse coloured noise that changes slowly."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 256, (frames // 20 + 2, 6, 8, 3))
    for number in range(frames):
        before, share = divmod(number / 20, 1)
        mixed = ends[int(before)] * (1 - share) + ends[int(before) + 1] * share
        yield np.kron(mixed.astype(np.uint8), np.ones((size[0] // 6, size[1] // 8, 1), np.uint8))


def video(path: Path, frames: int = 40, seed: int = 0, codec: str = "libx264", **options: str) -> Path:
    """Encode noise at `FPS` frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options={"g": "100", **options})
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in pictures(frames, seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def two_hours(path: Path) -> Path:
    """Twenty frames whose times say that they last two hours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, picture in enumerate(pictures(20)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = 379 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def huge(path: Path, side: int = 6000) -> Path:
    """A file of some kilobytes whose one frame has millions of pixels."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        frame = av.VideoFrame(side, side, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def lying_jpegs(path: Path) -> Path:
    """Motion JPEG whose container says 64 x 48, and whose pictures say 60000 x 60000."""
    data = video(path, 10, codec="mjpeg").read_bytes()
    side = (60_000).to_bytes(2, "big")
    told = b"\xff\xc0\x00\x11\x08" + (48).to_bytes(2, "big") + (64).to_bytes(2, "big")
    assert told in data
    path.write_bytes(data.replace(told, told[:5] + side + side))
    return path


def damaged(path: Path, source: Path, share: float = 0.5, width: int = 3000) -> Path:
    """A copy with noise in the middle of its pictures."""
    data = bytearray(source.read_bytes())
    middle = int(len(data) * share)
    data[middle : middle + width] = np.random.default_rng(0).bytes(width)
    path.write_bytes(data)
    return path
