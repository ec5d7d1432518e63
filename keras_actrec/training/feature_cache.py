"""Transfer learning: the frozen backbone sees each clip once, its frame features are kept on disk, the head learns.

What is kept depends on the clips, the view, how frames are read and the backbone's weights, and their digest names the
folder. So a change of any of them makes a new folder, and runs that share all of them share the features.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_actrec import models
from keras_actrec.config import AugmentationConfig, TrainingConfig
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.errors import UserError
from keras_actrec.evaluation.predict import prepare_for_inference
from keras_actrec.training import distribution, optimizers, supervised
from keras_actrec.training.callbacks import Companion
from keras_actrec.training.distribution import Hardware
from keras_actrec.training.feature_files import FeatureCache
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.progress import Progress
from keras_actrec.training.run_directory import RunDirectory
from keras_actrec.training.supervised import Fitted

CLIPS_PER_FILE = 128
FEATURES = "frame_features"
CACHE = ".features"
"""Folder of the caches, in the folder of the runs, so that runs share them."""


@dataclasses.dataclass
class FeatureLoader:
    """Batches of features with the interface of `data.pipeline.Loader`; the order is drawn from (seed, epoch).

    Attributes:
        features: float32 (N, T, D).
        labels: one-hot, float32 (N, K), or {name of the head: that} where there are several.
        name: of the head's input.
    """

    features: np.ndarray
    labels: np.ndarray | dict[str, np.ndarray]
    batch_size: int
    seed: int
    shuffle: bool
    name: str = FEATURES
    _epoch: int = 0

    @property
    def steps(self) -> int:
        """Number of batches per epoch."""
        return -(-len(self.features) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration shows."""
        self._epoch = epoch

    def order(self, epoch: int) -> np.ndarray:
        """Return the rows in the order of an epoch, int64 (N,)."""
        count = len(self.features)
        return np.random.default_rng((self.seed, epoch)).permutation(count) if self.shuffle else np.arange(count)

    def batches(self) -> Iterator[tuple[dict[str, np.ndarray], Any]]:
        """Give the batches of the chosen epoch."""
        order, several = self.order(self._epoch), isinstance(self.labels, dict)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            taken = {name: array[rows] for name, array in self.labels.items()} if several else self.labels[rows]
            yield {self.name: self.features[rows]}, taken

    def dataset(self) -> Any:
        """Return the batches as a `tf.data.Dataset`."""
        return distribution.dataset_from(self.batches, ({self.name: self.features}, self.labels))


def fit_head(
    model: keras.Model,
    data: Inputs,
    settings: TrainingConfig,
    run: RunDirectory,
    *,
    hardware: Hardware,
    companion: Companion | None = None,
) -> Fitted:
    """Freeze a frame-wise model's backbone, compute or read the frame features, and train what stands behind them.

    The layers of the head are the model's own, so afterwards the whole model is the trained one.

    Args:
        model: has a layer "frame_features"; its backbone's weights are in place.
        data: gives the plain loaders; augmentation and MixUp do not apply to cached features.
        settings: as for `supervised.fit`.
        run: locked by the caller.
        hardware: from `distribution.set_up`.
        companion: as for `supervised.fit`; it sees the head alone.

    Raises:
        UserError: the model is not frame-wise, no clip can be read, or training fails (see `supervised.fit`).
    """
    head, *batches = cached_head(model, data, settings, run)
    return supervised.fit(
        head, *batches, settings, run, hardware=hardware, quarantine=data.quarantine, companion=companion
    )


def cached_head(
    model: keras.Model, data: Inputs, settings: TrainingConfig, run: RunDirectory
) -> tuple[keras.Model, FeatureLoader, FeatureLoader]:
    """Freeze a frame-wise model's backbone; return its head and the cached features for training and validation.

    Args:
        model: as for `fit_head`.
        data: as for `fit_head`.
        settings: the batch size counts.
        run: its output folder holds the caches.

    Raises:
        UserError: the model is not frame-wise, or no clip can be read.
    """
    backbone, head = models.split_at_features(model)
    backbone.trainable = False
    training, validation = data.plain("train"), data.plain("validation")
    reading = run.config.data.prepared_short_side if run.config.data.prepared else None
    key = key_of(backbone, data.manifest, training.views[0], reading)
    cache = FeatureCache(Path(run.config.output) / CACHE, key)
    if data.config.data.augmentation != AugmentationConfig():
        run.say("transfer: data.augmentation is not used, as the features of each clip are computed once")
    if data.config.data.instances > 1:
        run.say("transfer: data.instances is not used, as the features of one clip per video are cached")
    batches = []
    for loader, shuffle in ((training, True), (validation, False)):
        options = {"batch_size": settings.batch_size, "seed": run.config.seed, "shuffle": shuffle}
        with Progress("frame features", unit="clips") as progress:
            batches.append(features_of(backbone, loader, cache, progress=progress, **options))
    return head, *batches


def features_of(
    backbone: keras.Model,
    loader: Any,
    cache: FeatureCache,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureLoader:
    """Compute what the cache lacks and return a loader of features.

    Args:
        backbone: clip (B, T, H, W, C) -> frame features (B, T, D).
        loader: a `data.pipeline.Loader` with one deterministic view.
        cache: filled as far as an earlier run came.
        batch_size: of the loader that is returned, and of the backbone's passes.
        seed: of the order of its batches.
        shuffle: whether that changes from epoch to epoch.
        progress: called with (clips done, clips to do).

    Raises:
        UserError: no clip can be read.
    """
    compute(backbone, loader, cache, batch_size, progress)
    features, found = cache.read(loader.clips)
    if not found:
        raise UserError("no clip can be read, so there are no features to learn from; see quarantine.json.")
    clips = [loader.clips[index] for index in found]
    return FeatureLoader(features, _one_hot(loader, clips), batch_size, seed, shuffle)


def _one_hot(loader: Any, clips: Sequence[Clip]) -> np.ndarray | dict[str, np.ndarray]:
    """Return the labels of clips as the network's output has them, by head where there are several."""
    if loader.targets:
        return {
            target.name: np.eye(len(target.classes), dtype=np.float32)[target.numbers(clips)]
            for target in loader.targets
        }
    classes = list(loader.classes)
    return np.eye(len(classes), dtype=np.float32)[[classes.index(clip.label) for clip in clips]]


def compute(
    backbone: keras.Model,
    loader: Any,
    cache: FeatureCache,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill the cache with the features of the loader's clips that it lacks, `batch_size` clips at a time.

    Of several processes that want the same features, one computes them and the others wait.
    """
    if not cache.missing(loader.clips):
        return
    with cache.alone():
        missing = cache.missing(loader.clips)
        if missing:
            _compute(backbone, loader, missing, cache, batch_size, progress)


def _compute(
    backbone: keras.Model,
    loader: Any,
    missing: Sequence[Clip],
    cache: FeatureCache,
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    prepare_for_inference(backbone)
    clips: list[Clip] = []
    rows: list[np.ndarray] = []
    done = 0
    for inputs, indices in _only(loader, missing).evaluation_dataset():
        batch = np.asarray(next(iter(inputs.values())))[:, 0]
        rows.extend(_forward(backbone, batch, batch_size))
        clips.extend(missing[int(index)] for index in np.asarray(indices))
        done += len(batch)
        if len(clips) >= CLIPS_PER_FILE:
            cache.write(clips, rows)
            clips, rows = [], []
        if progress:
            progress(done, len(missing))
    if clips:
        cache.write(clips, rows)


def key_of(backbone: keras.Model, manifest: Manifest, view: Any, reading: Any = None) -> dict[str, Any]:
    """Return all that features depend on.

    Args:
        backbone: architecture and weights count.
        manifest: the clips, with size and time of their files.
        view: a `data.views.View`; must have one clip and one crop and no augmentation.
        reading: how frames are read, such as the shorter side of a prepared cache.
    """
    if view.augmentation is not None or view.clips * view.crops != 1:
        raise UserError("features are cached for one plain view: no augmentation, one clip, one crop per video.")
    return {
        "manifest": manifest.hash,
        "files": _files_digest(manifest),
        "view": dataclasses.asdict(view),
        "reading": reading,
        "backbone": digest_of(backbone),
        "backend": keras.backend.backend(),
        "precision": keras.config.dtype_policy().name,
    }


def digest_of(model: keras.Model) -> str:
    """Return a digest of a network's shapes, types and weights."""
    digest = hashlib.sha256()
    for variable in model.weights:
        value = optimizers.to_numpy(variable)
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _forward(backbone: keras.Model, batch: np.ndarray, size: int) -> np.ndarray:
    """Return float32 features (B, T, D); batches are filled up to one size, so that the network is traced once."""
    padding = np.repeat(batch[-1:], max(size - len(batch), 0), axis=0)
    features = np.asarray(backbone.predict_on_batch(np.concatenate([batch, padding])))
    return features[: len(batch)].astype(np.float32)


def _files_digest(manifest: Manifest) -> str:
    """Return a digest of size and time of the files, as a manifest does not change when a video is rendered anew."""
    digest = hashlib.sha256()
    for clip in manifest.clips:
        path = manifest.root / clip.path
        facts = path.stat() if path.exists() else None
        digest.update(f"{facts.st_size},{facts.st_mtime_ns};".encode() if facts else b"-;")
    return digest.hexdigest()


def _only(loader: Any, clips: Sequence[Clip]) -> Any:
    """Return the loader for some of its clips; without labels, which evaluation does not ask for."""
    part = copy.copy(loader)
    part.clips = tuple(clips)
    return part
