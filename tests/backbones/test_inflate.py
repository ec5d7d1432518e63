"""Inflation: a clip of one repeated frame gives the 2-D network's answer."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from keras_actrec.backbones.inflate import inflate, inflate_kernel
from keras_actrec.backbones.resnet3d import Pool, ResNet3D, Stem, resnet3d_features
from keras_actrec.errors import UserError

SIZE = 64
FRAMES = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
I3D = {
    "stem": Stem((5, 7, 7), (1, 2, 2)),
    "temporal_kernels": ((3,), (3, 1), (3, 1), (1, 3)),
    "temporal_pool": Pool((2, 1, 1), (2, 1, 1), padded=False),
    "stride_on": "1x1",
}


@functools.cache
def resnet50() -> keras.Model:
    """The network of keras.applications with a random weight everywhere, moving statistics and biases included."""
    network = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            ranges = ((0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 1.5))
            layer.set_weights([rng.uniform(*ends, layer.gamma.shape) for ends in ranges])
        elif isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(rng.uniform(-0.5, 0.5, layer.bias.shape))
    return network


def build(frames: int, **changes: object) -> keras.Model:
    clip = keras.Input((frames, SIZE, SIZE, 3))
    return keras.Model(clip, resnet3d_features(clip, ResNet3D(**I3D | changes)))


def infer(network: keras.Model, x: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(network(x, training=False))


def clip_of(frames: int) -> np.ndarray:
    return np.repeat(FRAMES[:, None], frames, axis=1)


def distance(maps_3d: np.ndarray, maps_2d: np.ndarray) -> np.ndarray:
    """Largest difference per frame, relative to the largest number."""
    return np.abs(maps_3d - maps_2d[:, None]).max(axis=(0, 2, 3, 4)) / np.abs(maps_2d).max()


@pytest.mark.parametrize(
    ("how", "padding"), [("centre", "zeros"), ("centre", "edge"), ("mean", "edge"), ("first", "edge")]
)
def test_a_repeated_frame_gives_the_answer_of_the_2d_network(how: str, padding: str) -> None:
    network = build(4, temporal_padding=padding)
    inflate(resnet50(), network, how)
    answer = infer(resnet50(), FRAMES)
    assert answer.std() > 0.1
    maps = infer(network, clip_of(4))
    assert distance(maps, answer).max() < 1e-4
    np.testing.assert_allclose(maps.mean(axis=(1, 2, 3)), answer.mean(axis=(1, 2)), rtol=1e-3, atol=1e-4)


def test_zeros_beyond_the_ends_change_the_mean_only_there() -> None:
    """The stem sees two frames to either side, the one temporal convolution after it one more."""
    network = build(8, temporal_kernels=((3, 1, 1), (1,), (1,), (1,)), temporal_pool=None)
    inflate(resnet50(), network, "mean")
    apart = distance(infer(network, clip_of(8)), infer(resnet50(), FRAMES))
    assert apart[3:5].max() < 1e-4
    assert min(apart[:2].min(), apart[-2:].min()) > 1e-2


def test_an_inflated_network_sees_what_moves() -> None:
    network = build(4)
    inflate(resnet50(), network, "mean")
    clip = np.random.default_rng(2).normal(size=(2, 4, SIZE, SIZE, 3)).astype("float32")
    forwards, backwards = infer(network, clip), infer(network, clip[:, ::-1])
    assert np.abs(forwards - backwards[:, ::-1]).max() < 1e-3 * np.abs(forwards).max(), "a mean over time has no order"
    still = infer(network, np.repeat(clip[:, :1], 4, axis=1))
    assert np.abs(forwards - still).max() > 1e-2 * np.abs(still).max()


def test_kernels() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype("float32")
    mean, centre = inflate_kernel(kernel, 5, "mean"), inflate_kernel(kernel, 5, "centre")
    assert mean.shape == centre.shape == (5, 3, 3, 2, 4)
    assert mean.dtype == centre.dtype == np.float32
    np.testing.assert_allclose(mean, np.stack([kernel / 5] * 5), rtol=1e-6)
    np.testing.assert_array_equal(centre[2], kernel)
    assert not centre[[0, 1, 3, 4]].any()


@pytest.mark.parametrize(
    ("frames", "factors"),
    [(1, [1]), (2, [3 / 2, -1 / 2]), (3, [5 / 3, -1 / 3, -1 / 3]), (5, [9 / 5, -1 / 5, -1 / 5, -1 / 5, -1 / 5])],
)
def test_equation_four_of_ms3d(frames: int, factors: list[float]) -> None:
    """(2 d - 1) / d for the first slice and -1 / d for the others; they sum to the 2-D kernel, not to 1 / d of it."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype("float32")
    inflated = inflate_kernel(kernel, frames, "first")
    np.testing.assert_allclose(inflated, np.stack([factor * kernel for factor in factors]), rtol=1e-5)
    np.testing.assert_allclose(inflated.sum(axis=0), kernel, atol=1e-5)


def test_equation_four_at_the_ends_of_a_clip() -> None:
    """One pixel of brightness 6 and a kernel 1: inside 6; where a frame of zeros stands for the first slice 6 less
    10, where it stands for the last 6 plus 2."""
    layer = keras.layers.Conv3D(1, (3, 1, 1), padding="same", use_bias=False)
    layer.build((None, 5, 1, 1, 1))
    layer.set_weights([inflate_kernel(np.ones((1, 1, 1, 1), "float32"), 3, "first")])
    still = np.full((1, 5, 1, 1, 1), 6, "float32")
    np.testing.assert_allclose(infer(layer, still).ravel(), [-4, 6, 6, 6, 8], atol=1e-5)
    brighter = np.arange(5, dtype="float32").reshape(1, 5, 1, 1, 1)
    # Twice the frame before less the mean of three: 2 (t - 1) - t.
    np.testing.assert_allclose(infer(layer, brighter).ravel()[1:4], [-1, 0, 1], atol=1e-5)


@pytest.mark.parametrize(("frames", "how", "message"), [(3, "center", "Did you mean 'centre'"), (0, "mean", "got 0")])
def test_mistakes(frames: int, how: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        inflate_kernel(np.ones((1, 1, 1, 1)), frames, how)


def test_a_network_of_another_width_is_refused_and_nothing_is_changed() -> None:
    network = build(2, base_width=32)
    before = network.get_weights()
    with pytest.raises(UserError, match=r"layer 'conv1_conv' does not fit: expected weights \[\(5, 7, 7, 3, 32\)\]"):
        inflate(resnet50(), network)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_layers_that_receive_a_part_of_their_inputs() -> None:
    """The channels are taken in the order that is asked for, by kernels and normalisations alike."""
    image, clip = keras.Input((4, 4, 5)), keras.Input((2, 4, 4, 3))
    flat = keras.layers.BatchNormalization(name="a_bn")(image)
    flat = keras.Model(image, keras.layers.Conv2D(2, 3, name="a")(flat))
    deep = keras.layers.BatchNormalization(name="a_bn")(clip)
    deep = keras.Model(clip, keras.layers.Conv3D(2, (2, 3, 3), use_bias=False, name="a")(deep))
    rng = np.random.default_rng(0)
    flat.set_weights([rng.normal(size=weight.shape) for weight in flat.weights])
    inflate(flat, deep, "first", {"a": np.array([4, 0, 2]), "a_bn": np.array([4, 0, 2])})
    kernel = flat.get_layer("a").get_weights()[0]
    expected = np.stack([[1.5 * kernel[:, :, channel], -0.5 * kernel[:, :, channel]] for channel in (4, 0, 2)], axis=3)
    np.testing.assert_allclose(deep.get_layer("a").get_weights()[0], expected, rtol=1e-5)
    for ours, theirs in zip(deep.get_layer("a_bn").get_weights(), flat.get_layer("a_bn").get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs[[4, 0, 2]])
    with pytest.raises(UserError, match="it receives channel 5 of its twin's inputs, which has 5"):
        inflate(flat, deep, "first", {"a_bn": np.array([1, 5, 2])})


def test_a_network_of_other_layers_is_refused() -> None:
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="first")], name="other")
    with pytest.raises(UserError, match=r"'other' has no layer 'conv1_conv'"):
        inflate(other, build(2))
