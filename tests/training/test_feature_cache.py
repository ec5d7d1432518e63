"""Transfer learning with the real loader and a real model; the frames come from memory."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import toys

from keras_actrec import models
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.pipeline import Loader
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.views import Augmentation, View
from keras_actrec.errors import UnreadableVideoError, UserError
from keras_actrec.training import distribution, feature_cache, seeding, supervised
from keras_actrec.training.feature_files import FeatureCache
from keras_actrec.training.inputs import Inputs
from keras_actrec.training.run_directory import RunDirectory

OPTIONS = {"frames": 2, "size": 16, "backbone": "tiny", "weights": "none", "head_units": 8}


@dataclasses.dataclass(frozen=True)
class Info:
    frames: int = 8
    fps: float = 10.0
    width: int = 16
    height: int = 16
    rotation: int = 0


class MemorySource:
    """Frames drawn from the clip's name; one clip cannot be read."""

    def __init__(self, bad: str = "") -> None:
        self.bad = bad
        self.reads = 0

    def probe(self, clip: Clip) -> Info:
        if clip.path == self.bad:
            raise UnreadableVideoError(clip.path, "empty file")
        return Info()

    def read(self, clip: Clip, indices: Any, size: Any = None, modality: str = "rgb") -> np.ndarray:
        self.probe(clip)
        self.reads += 1
        rng = np.random.default_rng(list(clip.path.encode()))
        frames = rng.integers(0, 255, (8, 16, 16, 3)).astype(np.uint8)
        frames[..., int(clip.label[-1])] //= 4
        return frames[np.asarray(indices)]


def make_manifest(root: Path) -> Manifest:
    splits = ["train"] * 14 + ["validation"] * 6
    clips = [Clip(f"c{i:02d}.mp4", f"class_{i % 3}", split) for i, split in enumerate(splits)]
    return Manifest.from_clips("toy", root, 1, clips)


def make_inputs(config: Any, manifest: Manifest, source: MemorySource) -> Inputs:
    return Inputs(config, manifest, source, Quarantine(), "zero_one")


def config_for(output: Path, **training: Any) -> Any:
    config = toys.make_config(output, regime="transfer", **training)
    return config.model_copy(update={"data": config.data.model_copy(update={"frames": 2, "size": 16})})


def build() -> keras.Model:
    seeding.seed_everything(0)
    return models.build_model("convnet_transformer", 3, **OPTIONS)


def train(output: Path, source: MemorySource, **training: Any) -> Any:
    config = config_for(output, **training)
    manifest = make_manifest(output)
    hardware = distribution.set_up(config.training)
    with RunDirectory.create(config, manifest) as run:
        model = build()
        data = make_inputs(config, manifest, source)
        return model, data, feature_cache.fit_head(model, data, config.training, run, hardware=hardware)


class SameOrder:
    """The clips themselves, in the batches in which the features are given."""

    def __init__(self, loader: Loader, order: feature_cache.FeatureLoader) -> None:
        batches = list(loader.evaluation_dataset())
        self.clips, self.order, self.epoch = np.concatenate([inputs["rgb"][:, 0] for inputs, _ in batches]), order, 0
        assert np.array_equal(np.concatenate([indices for _, indices in batches]), np.arange(len(self.clips)))

    steps = property(lambda self: self.order.steps)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def batches(self) -> Any:
        order = self.order.order(self.epoch)
        for start in range(0, len(order), self.order.batch_size):
            rows = order[start : start + self.order.batch_size]
            yield {"rgb": self.clips[rows]}, self.order.labels[rows]

    def dataset(self) -> Any:
        return distribution.dataset_from(self.batches, ({"rgb": self.clips}, self.order.labels))


def test_equals_training_the_whole_model_with_a_frozen_backbone(tmp_path: Path) -> None:
    training = {"optimizer": {"learning_rate": 0.05, "ema": 0.5}, "batch_size": 4}
    head_only, data, fitted = train(tmp_path / "a", MemorySource(), **training)

    config = config_for(tmp_path / "b", **training)
    hardware = distribution.set_up(config.training)
    whole = build()
    backbone, _ = models.split_at_features(whole)
    backbone.trainable = False
    cache = FeatureCache(tmp_path / "c", {})
    loaders = []
    for split, shuffle in (("train", True), ("validation", False)):
        plain = data.plain(split)
        features = feature_cache.features_of(backbone, plain, cache, batch_size=4, seed=config.seed, shuffle=shuffle)
        loaders.append(SameOrder(plain, features))
    with RunDirectory.create(config, data.manifest) as run:
        expected = supervised.fit(whole, *loaders, config.training, run, hardware=hardware)

    for ours, theirs in zip(fitted.rows, expected.rows, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    moved = 0
    fresh = build()
    for first, second, start in zip(head_only.get_weights(), whole.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)
        moved += not np.array_equal(first, start)
    assert moved > 4


def test_features_are_computed_once(tmp_path: Path) -> None:
    source = MemorySource()
    train(tmp_path, source)
    assert source.reads == 20
    train(tmp_path, source)
    assert source.reads == 20
    assert len(list((tmp_path / ".features").iterdir())) == 1


def test_an_unreadable_clip_is_left_out(tmp_path: Path) -> None:
    source = MemorySource(bad="c03.mp4")
    _, data, fitted = train(tmp_path, source)
    assert source.reads == 19
    assert data.quarantine.reasons_for("train") == {"c03.mp4": "empty file"}
    assert len(fitted.rows) == 3


def test_a_killed_computation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(MemorySource):
        def read(self, *arguments: Any, **options: Any) -> np.ndarray:
            if self.reads >= 9:
                raise KeyboardInterrupt
            return super().read(*arguments, **options)

    monkeypatch.setattr(feature_cache, "CLIPS_PER_FILE", 4)
    manifest = make_manifest(tmp_path)
    config = config_for(tmp_path)
    backbone, _ = models.split_at_features(build())
    cache = FeatureCache(tmp_path / "cache", {"a": 1})
    loader = make_inputs(config, manifest, MemorySource()).plain("train")

    original = FeatureCache.write
    calls = []

    def dying(self: FeatureCache, *arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureCache, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            feature_cache.compute(backbone, loader, cache, 4)
    again = FeatureCache(tmp_path / "cache", {"a": 1})
    assert len(again.missing(loader.clips)) == 6
    source = MemorySource()
    feature_cache.compute(backbone, make_inputs(config, manifest, source).plain("train"), again, 4)
    assert source.reads == 6

    whole = FeatureCache(tmp_path / "whole", {})
    feature_cache.compute(backbone, loader, whole, 4)
    first, second = again.read(loader.clips), whole.read(loader.clips)
    assert first[1] == second[1] == list(range(14))
    np.testing.assert_allclose(first[0], second[0], atol=1e-6)


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)
    loader = make_inputs(config_for(tmp_path), manifest, MemorySource()).plain("train")
    backbone, _ = models.split_at_features(build())
    feature_cache.compute(backbone, loader, FeatureCache(tmp_path / "cache", {}), 4)
    (path,) = (tmp_path / "cache").glob("*/*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert len(FeatureCache(tmp_path / "cache", {}).missing(loader.clips)) == 14


def test_the_key_follows_weights_view_and_files(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)
    backbone, _ = models.split_at_features(build())
    key = feature_cache.key_of(backbone, manifest, View())
    assert key == feature_cache.key_of(backbone, manifest, View())
    assert key != feature_cache.key_of(backbone, manifest, View(size=64))
    assert key != feature_cache.key_of(backbone, manifest, View(), reading=128)
    (tmp_path / "c00.mp4").write_bytes(b"new")
    assert key != feature_cache.key_of(backbone, manifest, View())
    (tmp_path / "c00.mp4").unlink()
    backbone.weights[0].assign(backbone.weights[0] + 1e-6)
    assert key != feature_cache.key_of(backbone, manifest, View())
    with pytest.raises(UserError, match="no augmentation"):
        feature_cache.key_of(backbone, manifest, View(augmentation=Augmentation()))


def test_order_depends_on_seed_and_epoch() -> None:
    features, labels = np.arange(24.0).reshape(12, 1, 2).astype("float32"), np.eye(12, dtype="float32")
    loader = feature_cache.FeatureLoader(features, labels, 5, seed=1, shuffle=True)
    orders = [tuple(loader.order(epoch)) for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    loader.set_epoch(1)
    rows = np.concatenate([labels.argmax(-1) for _, labels in loader.dataset().as_numpy_iterator()])
    assert tuple(rows) == orders[1]
    assert loader.steps == 3


def test_of_two_that_want_the_same_features_one_computes_and_the_other_waits(tmp_path: Path) -> None:
    clips = make_manifest(tmp_path).clips
    first, second = FeatureCache(tmp_path, {"key": 1}), FeatureCache(tmp_path, {"key": 1})
    begun, missed = threading.Event(), []

    def wait() -> None:
        begun.set()
        with second.alone():
            missed.append(second.missing(clips))

    waiting = threading.Thread(target=wait)
    with first.alone():
        waiting.start()
        assert begun.wait(10)
        assert not missed, "the second one waits"
        first.write(clips, [np.zeros((2, 3), np.float32)] * len(clips))
    waiting.join(10)
    assert missed == [[]]
