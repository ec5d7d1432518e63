"""Codes of a split: what the classifier sees of each view, in the order of the clips."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from keras import layers

from keras_actrec.data.manifest import Clip
from keras_actrec.errors import UserError
from keras_actrec.evaluation import embedding
from keras_actrec.evaluation.codes import encode, with_codes
from keras_actrec.evaluation.predict import predict
from keras_actrec.models.joint import with_heads

CLASSES = ("down", "jump", "up")


class FakeLoader:
    """Clips (N, V, T, H, W, C) by input name, given in an order of their own."""

    def __init__(self, inputs: dict[str, np.ndarray], clips: list[Clip], order: list[int], batch_size: int = 3) -> None:
        self.clips, self.classes = tuple(clips), CLASSES
        self.inputs, self.order, self.batch_size = inputs, order, batch_size

    def evaluation_dataset(self) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        for start in range(0, len(self.order), self.batch_size):
            chosen = np.array(self.order[start : start + self.batch_size], np.int32)
            yield {name: array[chosen] for name, array in self.inputs.items()}, chosen


def videos(count: int, views: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, views, 2, 4, 4, channels)).astype(np.float32)


def network(dtype: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(1)
    clip = keras.Input((2, 4, 4, 3), name="rgb")
    code = layers.Dense(5, name="code", dtype=dtype)(layers.Flatten(dtype=dtype)(clip))
    return keras.Model(clip, layers.Dense(3, name="logits", dtype="float32")(code))


def labelled(*labels: str | None, split: str = "test") -> list[Clip]:
    return [Clip(f"{number}.mp4", label, split) for number, label in enumerate(labels)]


def test_codes_and_logits_of_every_view() -> None:
    data, model = videos(7, views=4), network()
    loader = FakeLoader({"rgb": data}, labelled("up", "jump", "down", "up", "jump", "down", "up"), [6, 0, 2, 5, 1, 4])
    seen = []
    codes = encode(model, loader, max_clips_per_pass=5, progress=lambda *numbers: seen.append(numbers))
    assert codes.indices.tolist() == [0, 1, 2, 4, 5, 6], "the fourth could not be read"
    assert codes.labels.tolist() == [2, 1, 0, 1, 0, 2]
    assert codes.names == ("up", "jump", "down", "jump", "down", "up")
    assert seen == [(3, 7), (6, 7)]
    flat = data[codes.indices].reshape(6, 4, -1)
    kernel, bias = model.get_layer("code").get_weights()
    expected = flat @ kernel + bias
    np.testing.assert_allclose(codes.values, expected, rtol=1e-4, atol=1e-5)
    kernel, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(codes.logits, expected @ kernel + bias, rtol=1e-4, atol=1e-4)
    assert (codes.values.dtype, codes.logits.dtype, codes.indices.dtype) == (np.float32, np.float32, np.int64)
    np.testing.assert_allclose(codes.mean(), expected.mean(axis=1), rtol=1e-4, atol=1e-5)


def test_it_agrees_with_prediction_and_embedding() -> None:
    model = network()
    loader = FakeLoader({"rgb": videos(5, views=3)}, labelled(*["up"] * 5), list(range(5)))
    codes = encode(model, loader)
    np.testing.assert_allclose(codes.probabilities(), predict(model, loader).probabilities, rtol=1e-5)
    np.testing.assert_allclose(codes.mean(), embedding.extract(model, loader).values, rtol=1e-4, atol=1e-6)


def test_clips_of_unknown_classes_and_without_labels() -> None:
    clips = [*labelled("up", "swim", None), Clip("u.mp4", "up", "unknown")]
    codes = encode(network(), FakeLoader({"rgb": videos(4, 1)}, clips, [0, 1, 2, 3]))
    assert codes.labels.tolist() == [2, -1, -1, -1]
    assert codes.names == ("up", "swim", "", "up")


def test_no_clip_could_be_read() -> None:
    codes = encode(network(), FakeLoader({"rgb": videos(2, 1)}, labelled("up", "up"), []))
    assert codes.values.shape == (0, 1, 5)
    assert codes.logits.shape == (0, 1, 3)
    assert codes.mean().shape == (0, 5)


def test_several_inputs() -> None:
    clips = {f"tempo{number}": keras.Input((2, 4, 4, 3), name=f"tempo{number}") for number in (1, 2)}
    code = layers.Concatenate()([layers.Flatten()(clip) for clip in clips.values()])
    data = {name: videos(3, 2, seed=number) for number, name in enumerate(clips)}
    for given in (clips, list(clips.values())):
        model = keras.Model(given, layers.Dense(3, name="logits")(code))
        codes = encode(model, FakeLoader(data, labelled("up", "up", "up"), [0, 1, 2]))
        expected = np.concatenate([array.reshape(3, 2, -1) for array in data.values()], axis=2)
        np.testing.assert_allclose(codes.values, expected, rtol=1e-6)


def test_codes_of_mixed_precision_are_float32() -> None:
    codes = encode(network("mixed_bfloat16"), FakeLoader({"rgb": videos(2, 1)}, labelled("up", "up"), [0, 1]))
    assert codes.values.dtype == np.float32
    assert np.isfinite(codes.values).all()


def test_a_network_without_a_code_per_clip() -> None:
    clip = keras.Input((2, 4, 4, 3), name="rgb")
    frames = layers.Dense(3, name="logits")(layers.Reshape((2, 48))(clip))
    model = keras.Model(clip, layers.GlobalAveragePooling1D()(frames))
    loader = FakeLoader({"rgb": videos(2, 3)}, labelled("up", "up"), [0, 1])
    with pytest.raises(UserError, match="not one vector"):
        encode(model, loader)
    codes = encode(model, loader, codes_needed=False)
    assert codes.values.shape == (2, 3, 0)
    np.testing.assert_allclose(codes.probabilities(), predict(model, loader).probabilities, rtol=1e-5)


def test_a_network_under_training_that_tells_its_code_is_taken_as_it_is() -> None:
    model = network()
    both = keras.Model(model.input, {"logits": model.output, "code": model.get_layer("logits").input})
    loader = FakeLoader({"rgb": videos(3, 2)}, labelled("up", "up", "up"), [0, 1, 2])
    assert with_codes(both, 3)[0] is both
    np.testing.assert_allclose(encode(both, loader).values, encode(model, loader).values, rtol=1e-6)


def test_what_is_refused() -> None:
    data = videos(3, 1)
    heads = with_heads(network(), {"verb": 3, "noun": 2})
    with pytest.raises(UserError, match="the heads verb, noun"):
        encode(heads, FakeLoader({"rgb": data}, labelled("up", "up", "up"), [0, 1, 2]))
    with pytest.raises(ValueError, match="twice"):
        encode(network(), FakeLoader({"rgb": data}, labelled("up", "up", "up"), [0, 1, 1]))
    data[1] = np.nan
    with pytest.raises(UserError, match=r"NaN.*1 of 3 clips.*diverged"):
        encode(network(), FakeLoader({"rgb": data}, labelled("up", "up", "up"), [0, 1, 2]))
