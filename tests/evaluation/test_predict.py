import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_actrec.data.manifest import Clip
from keras_actrec.data.views import View
from keras_actrec.errors import UserError
from keras_actrec.evaluation import predict as predicting
from keras_actrec.evaluation import probes
from keras_actrec.evaluation.predict import predict

CLASSES = ("down", "jump", "up")


class FakeLoader:
    """Holds clips (N, V, T, H, W, C) in memory behind the interface of `data.pipeline.Loader`."""

    def __init__(self, videos: np.ndarray, labels: list[str], batch_size: int = 4, lost: tuple[int, ...] = ()) -> None:
        self.clips = tuple(Clip(f"{index}.mp4", label, "test") for index, label in enumerate(labels))
        self.classes = CLASSES
        self.videos, self.batch_size, self.lost = videos, batch_size, lost

    def evaluation_dataset(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        kept = np.array([index for index in range(len(self.clips)) if index not in self.lost], np.int32)
        for start in range(0, len(kept), self.batch_size):
            chosen = kept[start : start + self.batch_size]
            yield {"rgb": self.videos[chosen]}, chosen


class FirstFrames:
    """Stands for a network: logits = means of the first frame's channels. Notes the batches that it saw."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.inputs = [keras.KerasTensor((None, None, None, None, 3), name="rgb")]
        self.compiled = True

    def predict_on_batch(self, clips: np.ndarray) -> np.ndarray:
        self.sizes.append(len(clips))
        return clips[:, 0].mean(axis=(1, 2))


def videos(count: int, views: int = 1, frames: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, views, frames, 4, 4, 3)).astype(np.float32)


def tiny_network(frames: int = 2) -> keras.Model:
    clip = keras.Input((frames, 4, 4, 3), name="rgb")
    return keras.Model(clip, layers.Dense(3)(layers.Flatten()(layers.BatchNormalization()(clip))))


def test_probabilities_of_the_views_are_averaged() -> None:
    data = videos(7, views=6)
    result = predict(FirstFrames(), FakeLoader(data, ["jump"] * 7, batch_size=3))
    logits = data[:, :, 0].mean(axis=(2, 3)).astype(np.float64)
    expected = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)).mean(axis=1)
    np.testing.assert_allclose(result.probabilities, expected, rtol=1e-5)
    assert result.probabilities.dtype == np.float32
    assert result.labels.tolist() == [1] * 7
    assert result.indices.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("count", "batch", "views", "limit"), [(9, 4, 30, 32), (5, 2, 1, 32), (7, 3, 11, 10), (3, 8, 1, 1)]
)
def test_passes_are_bounded_and_of_one_size(count: int, batch: int, views: int, limit: int) -> None:
    network, data = FirstFrames(), videos(count, views)
    result = predict(network, FakeLoader(data, ["up"] * count, batch), max_clips_per_pass=limit)
    assert len(set(network.sizes)) == 1
    assert network.sizes[0] <= limit
    alone = predict(FirstFrames(), FakeLoader(data, ["up"] * count, 1), max_clips_per_pass=1000)
    np.testing.assert_allclose(result.probabilities, alone.probabilities, rtol=1e-6)


def test_a_real_network_is_traced_once() -> None:
    traced = []

    class Counting(layers.Layer):
        def call(self, inputs: object) -> object:
            traced.append(1)
            return inputs

    clip = keras.Input((2, 4, 4, 3), name="rgb")
    network = keras.Model(clip, layers.Dense(3)(layers.Flatten()(Counting()(clip))))
    data = videos(11, views=5)
    traced.clear()
    result = predict(network, FakeLoader(data, ["up"] * 11, batch_size=4), max_clips_per_pass=8)
    if keras.backend.backend() != "torch":
        assert len(traced) == 1
    direct = predicting.softmax(np.stack([keras.ops.convert_to_numpy(network(data[:, view])) for view in range(5)], 1))
    np.testing.assert_allclose(result.probabilities, direct.mean(axis=1), rtol=1e-4, atol=1e-6)


def test_lost_clips_lower_the_coverage_and_keep_the_others_apart() -> None:
    data = videos(6)
    labels = ["down", "jump", "up", "down", "jump", "up"]
    result = predict(FirstFrames(), FakeLoader(data, labels, lost=(1, 4)))
    assert result.indices.tolist() == [0, 2, 3, 5]
    assert result.labels.tolist() == [0, 2, 0, 2]
    assert result.coverage == pytest.approx(4 / 6)


def test_all_clips_lost() -> None:
    result = predict(FirstFrames(), FakeLoader(videos(2), ["up", "up"], lost=(0, 1)))
    assert result.probabilities.shape == (0, 3)
    assert result.coverage == 0.0


def test_a_diverged_network_is_named_not_scored() -> None:
    data = videos(3)
    data[1] = np.nan
    with pytest.raises(UserError, match=r"NaN.*1 of 3 clips.*diverged"):
        predict(FirstFrames(), FakeLoader(data, ["up"] * 3))


@pytest.mark.parametrize(("label", "words"), [(None, "has no label"), ("swim", "has the label 'swim'")])
def test_clips_that_cannot_be_judged_are_refused(label: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        predict(FirstFrames(), FakeLoader(videos(1), [label]))


def test_too_many_outputs_are_refused() -> None:
    loader = FakeLoader(videos(2), ["down", "jump"])
    loader.classes = ("down", "jump")
    with pytest.raises(UserError, match=r"outputs of shape \(3,\).*2 classes"):
        predict(FirstFrames(), loader)


def test_a_clip_that_comes_twice_is_a_defect() -> None:
    class Twice(FakeLoader):
        def evaluation_dataset(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
            for _ in range(2):
                yield from super().evaluation_dataset()

    with pytest.raises(ValueError, match="twice"):
        predict(FirstFrames(), Twice(videos(2), ["up", "up"]))


@pytest.mark.parametrize(("kept", "raised"), [(UserError("the disk is gone"), UserError), (None, RuntimeError)])
def test_the_first_error_of_a_worker_is_raised_itself(kept: Exception | None, raised: type[Exception]) -> None:
    class Failing(FakeLoader):
        failure = kept

        def evaluation_dataset(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
            yield {"rgb": self.videos[:1]}, np.array([0])
            raise RuntimeError("quoted by TensorFlow")

    with pytest.raises(raised, match="disk is gone" if kept else "quoted"):
        predict(FirstFrames(), Failing(videos(2), ["up", "up"]))


def test_several_inputs_are_given_by_name() -> None:
    depth, rgb = keras.Input((2, 4, 4, 1), name="depth"), keras.Input((2, 4, 4, 3), name="rgb")
    mixed = layers.Concatenate()([layers.Flatten()(depth), layers.Flatten()(rgb)])
    network = keras.Model({"depth": depth, "rgb": rgb}, layers.Dense(3)(mixed))
    data = {"rgb": videos(2)[:, 0], "depth": videos(2)[:, 0, ..., :1]}
    given = predicting.arrange(network, data)
    assert network.predict_on_batch(given).shape == (2, 3)
    with pytest.raises(UserError, match="a view named 'depth'"):
        predicting.arrange(network, {"rgb": data["rgb"]})


def test_progress_reaches_the_end() -> None:
    seen = []
    predict(FirstFrames(), FakeLoader(videos(5), ["up"] * 5, 2), progress=lambda *numbers: seen.append(numbers))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_the_probe_measures_a_sense_of_time() -> None:
    """This network sees whether brightness rises: reversed clips turn its answers round, frozen ones blind it."""
    rising = np.linspace(0, 1, 4, dtype=np.float32)[None, None, :, None, None, None]
    data = np.concatenate([np.repeat(1 - rising, 6, 0), np.repeat(rising, 6, 0)]) * np.ones(
        (12, 1, 4, 4, 4, 3), np.float32
    )
    labels = ["down"] * 6 + ["up"] * 6

    class Slope(FirstFrames):
        def predict_on_batch(self, clips: np.ndarray) -> np.ndarray:
            slope = clips[:, -1].mean(axis=(1, 2, 3)) - clips[:, 0].mean(axis=(1, 2, 3))
            return np.stack([-slope, np.full_like(slope, -9), slope], axis=1)

    def make_loader(views: tuple[View, ...]) -> FakeLoader:
        frames = {"natural": [0, 1, 2, 3], "reversed": [3, 2, 1, 0], "frozen": [1] * 4, "shuffled": [2, 0, 3, 1]}
        return FakeLoader(data[:, :, frames[views[0].order]], labels)

    views = (View(frames=4), View(name="depth", frames=4))
    result = probes.temporal_probe(Slope(), make_loader, views, groups={"pair": ("down", "up")})
    assert predict(Slope(), make_loader(views)).probabilities.argmax(axis=1).tolist() == [0] * 6 + [2] * 6
    assert result["reversed"]["top1"] == 0.0
    assert result["frozen"]["top1"] == 0.5, "one answer for all"
    assert result["reversed"]["pairs"]["each"]["pair"]["accuracy"] == 0.0
    assert result["shuffled"]["coverage"] == 1.0
    assert [view.order for view in probes.in_order(views, "frozen")] == ["frozen", "frozen"]
    assert views[0].order == "natural"


def test_under_mirrored_strategy_each_clip_has_one_row() -> None:
    script = """
import numpy as np, tensorflow as tf, sys
sys.path.insert(0, sys.argv[1])
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0],
                                           [tf.config.LogicalDeviceConfiguration()] * 2)
from test_predict import FakeLoader, predict, tiny_network, videos
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    network = tiny_network()
    network.compile("sgd", "mse", jit_compile=False)
data = videos(5, views=3)
result = predict(network, FakeLoader(data, ["up"] * 5, 2), max_clips_per_pass=4)
logits = np.asarray(network(data.reshape(15, 2, 4, 4, 3)))
shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
np.testing.assert_allclose(result.probabilities, shares.reshape(5, 3, 3).mean(axis=1), rtol=1e-4)
"""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("MirroredStrategy is TensorFlow's")
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
