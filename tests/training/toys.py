"""Small networks and loaders with the interface of `data.pipeline.Loader`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_actrec import config as configuration
from keras_actrec.data.manifest import Clip, Manifest


@dataclasses.dataclass
class ArrayLoader:
    """Batches from arrays; order and noise are drawn from (seed, epoch)."""

    clips: np.ndarray
    targets: np.ndarray
    batch_size: int = 4
    seed: int = 0
    shuffle: bool = True
    noise: float = 0.1
    epoch: int = 0

    @property
    def steps(self) -> int:
        return -(-len(self.clips) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def batches(self) -> Iterator[Any]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.clips)) if self.shuffle else np.arange(len(self.clips))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            noise = rng.normal(size=self.clips[rows].shape) * self.noise if self.shuffle else 0.0
            yield {"rgb": (self.clips[rows] + noise).astype("float32")}, self.targets[rows]

    def dataset(self) -> Any:
        from keras_actrec.training import distribution

        return distribution.dataset_from(self.batches, ({"rgb": self.clips[:1]}, self.targets[:1]))


def make_arrays(count: int, classes: int = 3, shape: tuple[int, ...] = (2, 8, 8, 3), seed: int = 0) -> Any:
    """Return clips whose colour tells the class, float32 (N, T, H, W, C), and one-hot labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    clips = rng.normal(size=(count, *shape)).astype("float32") * 0.5
    clips[..., 0] += labels.reshape(-1, *[1] * (len(shape) - 1))
    return clips, np.eye(classes, dtype="float32")[labels]


def make_network(classes: int = 3, dropout: float = 0.3, normalise: bool = True, shape: Any = (2, 8, 8, 3)) -> Any:
    """Return a tiny network with what makes resuming hard: dropout and batch normalisation."""
    import keras

    clip = keras.Input(shape, name="rgb")
    x = keras.layers.Conv3D(4, (1, 3, 3), strides=(1, 2, 2), use_bias=not normalise)(clip)
    if normalise:
        x = keras.layers.BatchNormalization(momentum=0.8)(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    x = keras.layers.Dropout(dropout)(x)
    return keras.Model(clip, keras.layers.Dense(classes, dtype="float32", name="logits")(x), name="tiny")


def make_manifest(root: Path, count: int = 6) -> Manifest:
    """Return a manifest without files."""
    splits = ("train", "validation", "test")
    clips = [Clip(f"class_{i % 3}/clip_{i}.mp4", f"class_{i % 3}", splits[i // 3 % 3]) for i in range(count)]
    return Manifest.from_clips("toy", root, 1, clips)


def make_config(output: Path, **training: Any) -> configuration.RunConfig:
    """Return a configuration for the tiny network."""
    logging = training.pop("logging", {"tensorboard": False})
    document = {"output": str(output), "training": {"epochs": 3, "batch_size": 4, **training}, "logging": logging}
    return configuration.parse_config(document)
