"""Where the weights of a 3-D network come from, and what is said when they do not fit."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_actrec.backbones import clip_weights
from keras_actrec.errors import UserError

SHAPE = (3, 8, 8, 3)


def clip_network(classes: int = 4, width: int = 5, extra: bool = False) -> keras.Model:
    """A network over clips, of one convolution, one normalisation and a classifier."""
    clip = keras.Input(SHAPE)
    x = layers.Conv3D(width, (3, 3, 3), padding="same", use_bias=False, name="conv1_conv")(clip)
    x = layers.BatchNormalization(name="conv1_bn")(x)
    x = layers.Conv3D(width, 1, name="extra")(x) if extra else x
    x = layers.GlobalAveragePooling3D()(x)
    return keras.Model([clip], layers.Dense(classes, name="logits")(x), name="clips")


def image_network(width: int = 5, top: int = 0) -> keras.Model:
    """Its twin over images, with a bias."""
    image = keras.Input(SHAPE[1:])
    x = layers.Conv2D(width, 3, padding="same", bias_initializer="ones", name="conv1_conv")(image)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization(name="conv1_bn")(x))
    return keras.Model(image, layers.Dense(top)(x) if top else x, name="images")


def original(weights: str | None) -> keras.Model:
    keras.utils.set_random_seed(7 if weights else 8)
    return image_network()


def save(network: keras.Model, path: Path) -> str:
    network.save_weights(path) if path.name.endswith(".weights.h5") else network.save(path)
    return str(path)


def same(one: keras.Model, other: keras.Model, name: str) -> bool:
    pairs = zip(one.get_layer(name).get_weights(), other.get_layer(name).get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def assert_inflated(network: keras.Model, image: keras.Model) -> None:
    kernel, bias = image.get_layer("conv1_conv").get_weights()
    inflated = network.get_layer("conv1_conv").get_weights()[0]
    np.testing.assert_allclose(inflated, np.stack([kernel / 3] * 3), rtol=1e-6)
    _, _, mean, _ = network.get_layer("conv1_bn").get_weights()
    np.testing.assert_allclose(mean, image.get_layer("conv1_bn").get_weights()[2] - bias)


def test_none_changes_nothing() -> None:
    network = clip_network()
    before = network.get_weights()
    assert clip_weights.load(network, "none", original=original) == ()
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_imagenet_is_inflated() -> None:
    network = clip_network()
    clip_weights.load(network, "imagenet", original=original)
    assert_inflated(network, original("imagenet"))


def test_a_network_without_imagenet_weights_says_so() -> None:
    with pytest.raises(UserError, match="'clips' has no ImageNet weights"):
        clip_weights.load(clip_network(), "imagenet")


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_of_the_2d_network_is_inflated(suffix: str, tmp_path: Path) -> None:
    image = image_network()
    path = save(image, tmp_path / f"image{suffix}")
    network = clip_network()
    clip_weights.load(network, path, original=original)
    assert_inflated(network, image)


def test_a_2d_model_may_have_its_top(tmp_path: Path) -> None:
    image = image_network(top=10)
    network = clip_network()
    clip_weights.load(network, save(image, tmp_path / "image.keras"), how="mean")
    assert_inflated(network, image)


@pytest.mark.parametrize("classes", [4, 9])
def test_a_3d_file_is_taken_by_layer_name(classes: int, tmp_path: Path) -> None:
    """The classifier is left out where its number of classes differs; new layers keep their weights."""
    trained = clip_network(classes)
    trained.set_weights([weight + 1 for weight in trained.get_weights()])
    network = clip_network(4, extra=True)
    before = network.get_layer("extra").get_weights()
    kept = clip_weights.load(network, save(trained, tmp_path / "trained.keras"))
    assert kept == (("extra",) if classes == 4 else ("extra", "logits"))
    assert same(network, trained, "conv1_conv")
    assert same(network, trained, "conv1_bn")
    if classes == 4:
        assert same(network, trained, "logits")
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_layer("extra").get_weights(), strict=True))


def test_a_shape_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    network = clip_network(width=6)
    before = network.get_weights()
    with pytest.raises(UserError, match=r"layer 'conv1_conv' does not fit: expected weights \[\(3, 3, 3, 3, 6\)\]"):
        clip_weights.load(network, save(clip_network(), tmp_path / "other.keras"))
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_a_file_with_nothing_in_common_is_refused(tmp_path: Path) -> None:
    clip = keras.Input(SHAPE)
    other = keras.Model(clip, layers.Conv3D(2, 1, name="other")(clip), name="stranger")
    with pytest.raises(UserError, match="'stranger' has no layer of 'clips'"):
        clip_weights.load(clip_network(), save(other, tmp_path / "other.keras"))


def test_a_network_over_neither_is_refused(tmp_path: Path) -> None:
    text = keras.Sequential([keras.Input((5,)), layers.Dense(2)])
    with pytest.raises(UserError, match="neither a network over clips nor one over images"):
        clip_weights.load(clip_network(), save(text, tmp_path / "text.keras"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.keras", "no weights file"),
        ("text.keras", "no model that Keras can load"),
        ("word", "neither 'imagenet'"),
    ],
)
def test_files_that_are_none(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("not a model")
    with pytest.raises(UserError, match=message):
        clip_weights.load(clip_network(), str(tmp_path / name), original=original)
