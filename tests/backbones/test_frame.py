"""Frame backbones: their names, sizes, inputs and features."""

from __future__ import annotations

from typing import get_args

import keras
import numpy as np
import pytest

from keras_actrec import backbones
from keras_actrec.backbones.frame import APPLICATIONS
from keras_actrec.data import views
from keras_actrec.errors import UserError

MODULES = {
    "inception_v3": keras.applications.inception_v3,
    "resnet101": keras.applications.resnet,
    "resnet152": keras.applications.resnet,
    "densenet121": keras.applications.densenet,
    "densenet201": keras.applications.densenet,
    "efficientnet_b0": keras.applications.efficientnet,
    "efficientnet_b4": keras.applications.efficientnet,
    "efficientnet_b7": keras.applications.efficientnet,
    "mobilenet_v2": keras.applications.mobilenet_v2,
    "mobilenet_v3_small": keras.applications.mobilenet_v3,
}
# Width of the features and parameters without top, as keras.applications' documentation and model files have them.
# EfficientNet: 7 fewer, because the input's mean and variance are constants here.
SIZES = {
    "inception_v3": (2048, 21_802_784),
    "resnet101": (2048, 42_658_176),
    "resnet152": (2048, 58_370_944),
    "densenet121": (1024, 7_037_504),
    "densenet201": (1920, 18_321_984),
    "efficientnet_b0": (1280, 4_049_571 - 7),
    "efficientnet_b4": (1792, 17_673_823 - 7),
    "mobilenet_v2": (1280, 2_257_984),
    "mobilenet_v3_small": (576, 939_120),
    "tiny": (128, 102_992),
}


def normalize(name: str, frames: np.ndarray) -> np.ndarray:
    """The named normalisations, written out."""
    if name == "caffe":
        return frames[..., ::-1] - np.array([103.939, 116.779, 123.68])
    if name == "imagenet":
        return (frames / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return {"minus_one_one": frames / 127.5 - 1, "zero_one": frames / 255, "none": frames}[name]


def test_every_network_has_a_module_here() -> None:
    assert set(MODULES) == set(APPLICATIONS)
    assert set(backbones.NAMES) == {*APPLICATIONS, "tiny"}


@pytest.mark.parametrize("name", MODULES)
def test_normalization_is_what_the_weights_were_trained_with(name: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("float64")
    expected = np.asarray(MODULES[name].preprocess_input(frames.copy()))
    named = backbones.normalization(name)
    assert named in get_args(views.Normalization)
    np.testing.assert_allclose(normalize(named, frames), expected, atol=1e-4)


LARGE = {"inception_v3", "resnet101", "resnet152", "densenet201", "efficientnet_b4"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in SIZES])
def test_features_and_parameters(name: str) -> None:
    network = backbones.build_frame_backbone(name, 80)
    width, parameters = SIZES[name]
    assert network.name == name
    assert network.input_shape == (None, 80, 80, 3)
    assert network.output_shape == (None, width)
    assert network.count_params() == parameters


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v3_small"])
def test_features_are_finite(name: str) -> None:
    network = backbones.build_frame_backbone(name, 32)
    frames = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    features = keras.ops.convert_to_numpy(network(frames, training=False))
    assert np.isfinite(features).all()
    assert np.abs(features[0] - features[1]).max() > 0


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v2"])
def test_initial_weights_follow_the_global_seed(name: str) -> None:
    def weights(seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(seed)
        return backbones.build_frame_backbone(name, 32).get_weights()

    one, again, other = weights(1), weights(1), weights(2)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("name", "smallest"), [(name, APPLICATIONS[name].min_size) for name in APPLICATIONS])
def test_smallest_size_is_that_of_keras(name: str, smallest: int) -> None:
    with pytest.raises(UserError, match=f"{smallest} pixels"):
        backbones.build_frame_backbone(name, smallest - 1)
    with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
        getattr(keras.applications, APPLICATIONS[name].constructor)(
            include_top=False, weights=None, input_shape=(smallest - 1, smallest - 1, 3)
        )


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'densenet201'"):
        backbones.build_frame_backbone("densnet201", 224)
    with pytest.raises(UserError, match="Did you mean 'resnet152'"):
        backbones.normalization("resnet-152")


def test_widths_are_for_tiny_only() -> None:
    with pytest.raises(UserError, match="widths"):
        backbones.build_frame_backbone("mobilenet_v2", 32, widths=(8, 16))
    assert backbones.build_frame_backbone("tiny", 32, widths=[8, 12]).output_shape == (None, 12)
