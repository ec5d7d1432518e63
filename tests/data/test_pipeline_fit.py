"""The loader under Keras' own `fit`: every backend, a mirrored strategy, real video files, and the right epochs."""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_actrec.data.decode import VideoInfo
from keras_actrec.data.manifest import Clip, Manifest
from keras_actrec.data.quarantine import Quarantine
from keras_actrec.data.views import Augmentation, View

CLASSES = ("jump", "run")


class FakeSource:
    """Two kinds of videos: dark and bright ones; `cut` ones cannot be read."""

    def probe(self, clip: Clip) -> VideoInfo:
        return VideoInfo(12, 25.0, 16, 16, 0)

    def read(self, clip: Clip, indices: np.ndarray, size: object = None, modality: str = "rgb") -> np.ndarray:
        from keras_actrec.errors import UnreadableVideoError

        if "cut" in clip.path:
            raise UnreadableVideoError(clip.path, "truncated")
        rng = np.random.default_rng(sum(clip.path.encode()))
        level = 60 if clip.label == "jump" else 180
        return rng.integers(level - 50, level + 50, (len(indices), 16, 16, 3)).astype(np.uint8)


def loader(count: int = 9, source: object = None, rows: list[Clip] | None = None, **options: object) -> object:
    from keras_actrec.data.pipeline import Loader

    names = ["cut" if n == 4 else f"c{n}" for n in range(count)]
    rows = rows or [Clip(f"{name}.avi", CLASSES[n % 2], "train") for n, name in enumerate(names)]
    view = View(frames=2, size=16, selection="random_run", augmentation=Augmentation(flip=0.5, shift=0.1))
    settings = {"batch_size": 4, "seed": 1, "shuffle": True, "quarantine": Quarantine(), "workers": 2, **options}
    return Loader(rows, CLASSES, (view,), source or FakeSource(), **settings)


def model() -> object:
    import keras

    inputs = keras.Input((2, 16, 16, 3), name="rgb")
    logits = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.AveragePooling3D((1, 4, 4))(inputs)))
    return keras.Model(inputs, logits)


def fit_and_record(out: str, replicas: int = 0) -> None:
    """Fit three epochs with validation; write down losses and the epoch of every example that was made."""
    import keras

    made: list[int] = []
    one, other = loader(), loader(shuffle=False)
    plain = one._training_example

    def watched(row: np.ndarray) -> object:
        made.append(int(row[0]))
        return plain(row)

    one._training_example = watched

    class Epochs(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            one.set_epoch(epoch)
            other.set_epoch(epoch)

    def build() -> object:
        keras.utils.set_random_seed(0)
        net = model()
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        net.compile(keras.optimizers.SGD(0.05), loss, metrics=["accuracy"])
        return net

    if replicas:
        import tensorflow as tf

        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * replicas
        )
        with tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(replicas)]).scope():
            net = build()
    else:
        net = build()
    history = net.fit(one.dataset(), validation_data=other.dataset(), epochs=3, verbose=0, callbacks=[Epochs()]).history
    indices = []
    for inputs, numbers in other.evaluation_dataset():
        indices += np.asarray(numbers).tolist()
        assert np.asarray(inputs["rgb"]).shape[1:] == (1, 2, 16, 16, 3)
    seen = {"history": history, "made": made, "indices": indices, "backend": keras.backend.backend()}
    Path(out).write_text(json.dumps(seen))


def run(tmp_path: Path, backend: str, replicas: int = 0) -> dict:
    out = tmp_path / f"{backend}{replicas}.json"
    script = tmp_path / "fit.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import importlib.util
            spec = importlib.util.spec_from_file_location("fits", {__file__!r})
            fits = importlib.util.module_from_spec(spec); spec.loader.exec_module(fits)
            fits.fit_and_record({str(out)!r}, {replicas})
            """
        )
    )
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


def check(seen: dict, backend: str) -> None:
    assert seen["backend"] == backend
    assert len(seen["history"]["loss"]) == 3
    assert seen["history"]["loss"][2] < seen["history"]["loss"][0]
    # Iterators that Keras opens to build the model may read a first batch; an epoch reads each of the 9 clips once.
    for epoch in (1, 2):
        assert seen["made"].count(epoch) == 9
    assert seen["made"].count(0) >= 9 and set(seen["made"]) == {0, 1, 2}
    assert seen["indices"] == [0, 1, 2, 3, 5, 6, 7, 8]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict:
    pytest.importorskip("tensorflow")
    return run(tmp_path_factory.mktemp("plain"), "tensorflow")


def test_fit_on_tensorflow(plain: dict) -> None:
    check(plain, "tensorflow")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_fit_on_other_backends_sees_the_same_batches(plain: dict, tmp_path: Path, backend: str) -> None:
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    seen = run(tmp_path, backend)
    check(seen, backend)
    assert seen["history"].keys() == plain["history"].keys()


def test_fit_under_a_mirrored_strategy_gives_the_same_numbers(plain: dict, tmp_path: Path) -> None:
    seen = run(tmp_path, "tensorflow", replicas=2)
    check(seen, "tensorflow")
    assert np.allclose(seen["history"]["loss"], plain["history"]["loss"], atol=1e-5)
    assert np.allclose(seen["history"]["val_accuracy"], plain["history"]["val_accuracy"])


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Four real videos of 64 x 48 pixels, whose brightness rises with time, and two bad files."""
    root = tmp_path_factory.mktemp("videos")
    clips = []
    for number in range(4):
        path = root / f"v{number}.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
        for index in range(20):
            frame = np.full((48, 64, 3), 20 + 10 * index, np.uint8)
            frame[:, : 8 * (number + 1)] //= 2
            writer.write(frame)
        writer.release()
        clips.append(Clip(path.name, CLASSES[number % 2], "train"))
    (root / "empty.avi").touch()
    (root / "text.avi").write_text("no video" * 100)
    clips += [Clip("empty.avi", "jump", "train"), Clip("text.avi", "run", "train")]
    return Manifest.from_clips("real", root, 1, clips)


def test_real_videos_and_their_prepared_cache_agree(videos: Manifest, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from keras_actrec.data.pipeline import Loader
    from keras_actrec.data.prepared import prepare
    from keras_actrec.data.source import VideoSource

    source = VideoSource(videos.root, threads=1)
    quarantine = Quarantine()
    cached = prepare(videos, source, tmp_path / "cache", short_side=48, quality=95, quarantine=quarantine)
    assert set(quarantine.reasons()) == {"empty.avi", "text.avi"}
    view = View(frames=4, size=32, augmentation=Augmentation(zoom=0.1, rotation_deg=8, shift=0.2, flip=0.5))
    seen = []
    for one in (source, cached):
        losses = Quarantine()
        made = Loader(
            videos.clips, CLASSES, (view,), one, batch_size=3, seed=0, shuffle=True, quarantine=losses, workers=2
        )
        made.set_epoch(1)
        seen.append(list(made.dataset().as_numpy_iterator()))
        assert losses.reasons() == quarantine.reasons()
    for (direct, labels), (prepared, prepared_labels) in zip(*seen, strict=True):
        assert (labels == prepared_labels).all()
        assert np.abs(direct["rgb"] - prepared["rgb"]).mean() < 0.02
        assert (np.diff(direct["rgb"].mean(axis=(2, 3, 4)), axis=1) > 0).all()
    assert sum(len(labels) for _, labels in seen[0]) == 4
